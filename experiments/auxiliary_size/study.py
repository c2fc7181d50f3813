"""How many other images does an attacker need?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

FILE = Path(__file__).with_name("results.csv")

RUNS = {
    "results": (
        "+experiment=maps_pix2pix data.source=folder demo_epochs=20 reference.count=2 "
        "data.n_auxiliary=10,25,50,100,200 "
        "'attack.names=[reconstruction,membership,watson,shadow]' seed=0,1,2"
    )
}

ATTACKS = ("reconstruction", "membership", "watson", "shadow")


def by_size(attack: str) -> dict[int, list[shared.Row]]:
    found = shared.rows(FILE, attack=attack)
    return shared.grouped(found, lambda row: int(shared.override(row, "data.n_auxiliary")))


def tables() -> dict[str, str]:
    scores = {name: by_size(name) for name in ATTACKS}
    lines = [
        [str(size), *(shared.text(shared.mean(scores[name][size], "auc")) for name in ATTACKS)]
        for size in scores["membership"]
    ]
    heads = ["auxiliaries", *(f"AUC {name}" for name in ATTACKS)]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(shared.rows(FILE))}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(5.2, 3.2)
    axes = figure.subplots()
    colours = shared.colours(ATTACKS)
    for name in ATTACKS:
        found = by_size(name)
        needs = name in ("watson", "shadow")
        shared.line(axes, found, colours[name], name, "-" if needs else "--")
    axes.set_xscale("log")
    axes.set_xticks([*found], [str(size) for size in found])
    axes.minorticks_off()
    axes.set(xlabel="auxiliary images, halved between two references", ylabel="AUC; a dot a seed")
    shared.style(axes)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return {"auc-size": figure}
