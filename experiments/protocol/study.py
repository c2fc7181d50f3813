"""How much of the published protocol's effect does an attacker get who never asks the victim?

It reads the audits of table1. Audits of its own, of the same victims, adjust the attacks for what
the blind baselines see.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from mia_lab.evaluation.adjusted import NEEDED
from table1 import study as table1

HERE = Path(__file__).parent

RUNS = {
    experiment: line for experiment, line in table1.RUNS.items() if experiment.endswith("_pix2pix")
}
"""As in table1, so that its victims are not trained again."""

SPLITS = {"official": "published folders", "resplit": "random re-split"}


def _cells() -> list[tuple[str, str, str, dict[str, list[shared.Row]]]]:
    """Those of table1, by victim and dataset."""
    return sorted(
        table1.cells(), key=lambda cell: (cell[1], [*shared.NAMES].index(cell[2]), cell[0])
    )


def tables() -> dict[str, str]:
    lines = []
    for split, victim, data, found in _cells():
        member, plain = found["membership"], found["reconstruction"]
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
    return {
        "table": shared.markdown(heads, lines),
        "origin": shared.origin(table1.rows()),
        "adjusted": _adjusted(),
    }


def _adjusted() -> str:
    """Adjusted AUCs beside those after a re-split, an audit of each a line."""
    files = [HERE / f"{experiment}.csv" for experiment in RUNS]
    rows = [row for file in files if file.is_file() for row in shared.rows(file, blind="False")]
    lines = []
    for (data, seed), found in shared.grouped(rows, lambda r: (r["data"], r["seed"])).items():
        of = {
            (shared.override(row, "data.protocol"), row["attack"]): row
            for row in found
            if row["attack"] in table1.ATTACKS
        }
        official = of["official", "membership"]
        for attack, name in zip(table1.ATTACKS, ("L_rec", "L_mem"), strict=True):
            row = of["official", attack]
            lines.append(
                [
                    f"{shared.NAMES[data]}, {seed}",
                    name,
                    shared.interval(row, "auc"),
                    *(_or_not(row, column) for column in ("adjusted_auc", "matched_auc")),
                    f"{official['matched_pairs']} ({float(official['effective_size']):.0f})",
                    _blind(official),
                    shared.interval(of["resplit", attack], "auc"),
                ]
            )
    if not lines:
        return "Not measured yet."
    heads = [
        *("data, seed", "attack", "published folders", "adjusted", "matched"),
        *("pairs (effective size)", "best blind AUC on the pairs", "random re-split"),
    ]
    return shared.markdown(heads, lines)


def _or_not(row: shared.Row, column: str) -> str:
    return shared.interval(row, column) if row[column] else f"not adjustable (below {NEEDED})"


def _blind(row: shared.Row) -> str:
    if not row["matched_blind_max"]:
        return "-"
    area, p_value = (float(row[f"matched_blind_{key}"]) for key in ("max", "p_value"))
    return f"{area:.3f}, p = {p_value:.2g}"


def figures() -> dict[str, Figure]:
    figure = shared.canvas(7.2, 3.2)
    victims = list(dict.fromkeys(victim for _, victim, _, _ in _cells()))
    panels = figure.subplots(1, len(victims), sharey=True)
    colours = shared.colours(["membership", "difficulty"])
    for axes, victim in zip(panels, victims, strict=True):
        shown = [cell for cell in _cells() if cell[1] == victim]
        for place, (_, _, _, scores) in enumerate(shown):
            member = scores["membership"]
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
