"""Does averaging the error over flips and crops help, and does it hang on the victim's training?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

ATTACKS = ("reconstruction", "augmented", "membership")
NAMES = "'attack.names=[reconstruction,augmented,membership]'"

RUNS = {
    "plain": f"+experiment=maps_pix2pix data.source=folder demo_epochs=20 seed=0,1,2 {NAMES}",
    "jittered": (
        "+experiment=maps_pix2pix data.source=folder demo_epochs=80 scale.load_scale=1.12 "
        f"scale.flip=true seed=0,1,2 {NAMES}"
    ),
}

VICTIMS = {
    "plain": "no jitter, no mirroring; 20 epochs",
    "jittered": "jitter and mirroring, as published; 80 epochs",
}


def tables() -> dict[str, str]:
    lines, everything = [], []
    for name, victim in VICTIMS.items():
        found = shared.rows(HERE / f"{name}.csv")
        everything += found
        mine = {attack: shared.select(found, attack=attack) for attack in ATTACKS}
        lines.append(
            [
                victim,
                *(shared.text(shared.mean(mine[attack], "auc")) for attack in ATTACKS),
                shared.text(shared.mean(mine["augmented"], "difference"), "+"),
            ]
        )
    heads = ["victim's training", *(f"AUC {a}" for a in ATTACKS), "augmented less reconstruction"]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(everything)}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(5.6, 2.6)
    axes = figure.subplots()
    colours = shared.colours(ATTACKS)
    for place, name in enumerate(reversed(VICTIMS)):
        found = shared.rows(HERE / f"{name}.csv")
        for offset, attack in zip((0.2, 0, -0.2), ATTACKS, strict=True):
            mine = shared.select(found, attack=attack)
            label = attack if place == 0 else None
            shared.dots(axes, mine, "auc", place + offset, colours[attack], label)
    labels = [victim.replace("; ", "\n") for victim in reversed(VICTIMS.values())]
    axes.set_yticks(range(len(VICTIMS)), labels, fontsize=8)
    axes.set_xlabel("AUC; a dot a seed, a bar their mean")
    shared.style(axes, chance="x")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"auc": figure}
