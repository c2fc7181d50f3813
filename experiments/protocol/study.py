"""How much of the published protocol's effect does an attacker get who never asks the victim?"""

from __future__ import annotations

from pathlib import Path

import shared
from matplotlib.figure import Figure

TABLE1 = Path(__file__).parents[1] / "table1"

RUNS: dict[str, str] = {}
"""It reads the audits of table1."""

VICTIMS = ("pix2pix", "pix2pixhd")

SPLITS = {"official": "published folders", "resplit": "random re-split"}


def _rows() -> list[shared.Row]:
    files = [TABLE1 / f"{data}_{victim}.csv" for victim in VICTIMS for data in shared.NAMES]
    return [row for file in files for row in shared.rows(file)]


def cells() -> list[tuple[str, str, str, list[shared.Row], list[shared.Row]]]:
    """Split, victim, dataset, rows of the membership and of the reconstruction score."""
    found = shared.select(_rows(), blind="False")
    made = []
    for victim in VICTIMS:
        for data in shared.NAMES:
            for split in SPLITS:
                rows = [
                    row
                    for row in shared.select(found, victim=victim, data=data)
                    if shared.override(row, "data.protocol") == split
                ]
                if rows:
                    both = (shared.select(rows, attack=n) for n in ("membership", "reconstruction"))
                    made.append((split, victim, data, *both))
    return made


def tables() -> dict[str, str]:
    lines = []
    for split, victim, data, member, plain in cells():
        best = sorted({row["blind_best"] for row in member})
        verdicts = sorted({row["blind_verdict"] for row in member})
        lines.append(
            [
                f"{victim}, {shared.NAMES[data]}",
                SPLITS[split],
                shared.text(shared.mean(member, "blind_max")),
                ", ".join(best),
                ", ".join(verdicts),
                shared.text(shared.mean(plain, "auc")),
                shared.text(shared.mean(member, "auc")),
                shared.text(shared.mean(member, "excess"), "+"),
            ]
        )
    heads = [
        *("victim, data", "split", "best blind AUC", "which", "verdict"),
        *("AUC L_rec", "AUC L_mem", "L_mem's excess over blind"),
    ]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(_rows())}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(7.2, 3.2)
    panels = figure.subplots(1, len(VICTIMS), sharey=True)
    colours = shared.colours(["membership", "difficulty"])
    for axes, victim in zip(panels, VICTIMS, strict=True):
        shown = [cell for cell in cells() if cell[1] == victim]
        for place, (_, _, _, member, _) in enumerate(shown):
            blind = shared.mean(member, "blind_max").value
            found = shared.mean(member, "auc").value
            axes.bar(place, blind, color=colours["difficulty"], width=0.62)
            axes.plot([place - 0.31, place + 0.31], [found] * 2, color=colours["membership"], lw=3)
            seeds = [float(row["auc"]) for row in member]
            axes.plot([place] * len(seeds), seeds, ".", color=colours["membership"], ms=6)
        names = [f"{shared.NAMES[data]}\n{split}" for split, _, data, *_ in shown]
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=45)
        axes.set_title(victim, fontsize=9)
        axes.set_ylim(0.4, 1.02)
        shared.style(axes)
    panels[0].set_ylabel("AUC, mean of seeds")
    handles = [
        panels[0].bar(0, 0, color=colours["difficulty"], label="best attack without the victim"),
        *panels[0].plot([], [], "-o", ms=3, color=colours["membership"], label="membership error"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return {"blind": figure}
