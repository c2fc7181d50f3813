"""What do defences hide, from whom, and what do they cost?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

VICTIM = "+experiment=maps_pix2pix data.source=folder demo_epochs=20"

RUNS = {
    "kinds": f"{VICTIM} defense=none,output_noise,quantisation,jpeg,smoothing,resizing"
    " evaluation.utility=true 'attack.names=[reconstruction,adaptive,membership]' seed=0,1,2",
    "noise": f"{VICTIM} defense=output_noise defense.sigma=0,0.1,0.2,0.4,0.8"
    " 'attack.names=[reconstruction,adaptive,membership]' seed=0,1,2",
    "private": "+experiment=maps_pix2pix victim=dp_unet data.source=folder demo_epochs=80"
    " victim.epsilon=1,1000 evaluation.utility=true seed=0,1,2",
}

ATTACKS = ("reconstruction", "adaptive", "membership")


def _utility(rows: list[shared.Row]) -> list[str]:
    return [
        f"{shared.mean(rows, 'utility_l1').value:.4f}",
        f"{shared.mean(rows, 'utility_ssim').value:.3f}",
        f"{shared.mean(rows, 'utility_frechet').value:.0f}",
    ]


def _table(file: str, axis: str, head: str, attacks: tuple[str, ...]) -> str:
    found = shared.rows(HERE / f"{file}.csv", blind="False")
    lines = []
    for value, mine in shared.grouped(found, lambda row: shared.override(row, axis)).items():
        scores = [shared.select(mine, attack=name) for name in attacks]
        aucs = [
            shared.text(shared.mean(rows, "auc"))
            if len(rows) > 1
            else shared.interval(*rows, "auc")
            for rows in scores
        ]
        lines.append([value.replace("_", " "), *aucs, *_utility(scores[0])])
    heads = [head, *(f"AUC {name}" for name in attacks), "L1", "SSIM", "Frechet distance"]
    return shared.markdown(heads, lines)


def tables() -> dict[str, str]:
    everything = [row for file in RUNS for row in shared.rows(HERE / f"{file}.csv")]
    return {
        "kinds": _table("kinds", "defense", "defence", ATTACKS),
        "noise": _table("noise", "defense.sigma", "deviation", ATTACKS),
        "private": _table("private", "victim.epsilon", "epsilon", ("reconstruction", "membership")),
        "origin": shared.origin(everything),
    }


def figures() -> dict[str, Figure]:
    return {"noise": _noise(), "utility": _leakage()}


def _noise() -> Figure:
    figure = shared.canvas(5.2, 3.0)
    axes = figure.subplots()
    colours = shared.colours(ATTACKS)
    for name in ATTACKS:
        found = shared.grouped(
            shared.rows(HERE / "noise.csv", attack=name),
            lambda row: float(shared.override(row, "defense.sigma")),
        )
        shared.line(axes, found, colours[name], name)
    axes.set(xlabel="deviation of the noise, of a range of 1", ylabel="AUC; a dot a seed")
    shared.style(axes)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _leakage() -> Figure:
    """Each defence: what the attacks find, against how good the answers are."""
    figure = shared.canvas(5.6, 3.4)
    axes = figure.subplots()
    colours = shared.colours(ATTACKS)
    found = shared.rows(HERE / "kinds.csv", blind="False")
    for kind, mine in shared.grouped(found, lambda row: shared.override(row, "defense")).items():
        x = shared.mean(mine, "utility_ssim").value
        values = {
            name: shared.mean(shared.select(mine, attack=name), "auc").value for name in ATTACKS
        }
        axes.plot([x, x], [min(values.values()), max(values.values())], color="#CCCCCC", lw=1)
        for name, value in values.items():
            axes.plot(x, value, "o", ms=5, color=colours[name])
        axes.annotate(
            kind.replace("_", " "),
            (x, max(values.values())),
            xytext=(0, 6),
            rotation=90,
            ha="center",
            va="bottom",
            textcoords="offset points",
            fontsize=8,
        )
    for name in ATTACKS:
        axes.plot([], [], "o", color=colours[name], label=name)
    axes.set(
        xlabel="structural similarity of the answers to the photos", ylabel="AUC, mean of seeds"
    )
    axes.margins(x=0.08, y=0.1)
    axes.set_ylim(0.48, 1.0)
    shared.style(axes)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure
