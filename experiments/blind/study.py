"""Is the gate on the split right?"""

from __future__ import annotations

from pathlib import Path

import shared
from blind import gate
from matplotlib.figure import Figure

from mia_lab.evaluation.decision import proportion_interval

HERE = Path(__file__).parent

MEASURED = {"real": gate.real, "null": gate.null, "power": gate.power}


def alarms(file: str) -> dict[str, tuple[int, int]]:
    """How often each case was called confounded, and of how many draws."""
    return {
        case: (len(shared.select(rows, verdict="confounded")), len(rows))
        for case, rows in _cases(file).items()
    }


def _cases(file: str) -> dict[str, list[shared.Row]]:
    return shared.grouped(shared.rows(HERE / f"{file}.csv"), lambda row: row["case"])


def tables() -> dict[str, str]:
    lines = []
    for row in shared.rows(HERE / "real.csv"):
        name, protocol = row["case"].split()
        lines.append(
            [
                f"{shared.NAMES[name]}, {protocol}",
                f"{row['n_members']} + {row['n_nonmembers']}",
                row["verdict"],
                f"{float(row['p_value']):.2g}",
                row["best"],
                f"{float(row['max']):.3f}",
                f"{float(row['upper95']):.3f}",
            ]
        )
    heads = ["images", "number", "verdict", "p", "best baseline", "its AUC", "95 % upper bound"]
    return {"real": shared.markdown(heads, lines), "planted": _verdicts(), "origin": _origin()}


def _verdicts() -> str:
    lines = []
    for case, rows in (_cases("null") | _cases("power")).items():
        counts = [
            len(shared.select(rows, verdict=verdict))
            for verdict in ("confounded", "undecidable", "sound")
        ]
        low, high = proportion_interval(counts[0], len(rows))
        name = "nothing" if case == "null" else case
        interval = f"{counts[0] / len(rows):.1%} [{low:.1%}, {high:.1%}]"
        lines.append([name, str(len(rows)), *map(str, counts), interval])
    heads = ["what sets the members apart", "draws", "confounded", "undecidable", "sound"]
    return shared.markdown([*heads, "called confounded, 95 % interval"], lines)


def _origin() -> str:
    return shared.origin([row for file in MEASURED for row in shared.rows(HERE / f"{file}.csv")])


def figures() -> dict[str, Figure]:
    """Share of draws that were called confounded, with Clopper-Pearson intervals."""
    counted = {"nothing (200 draws)": alarms("null")["null"], **alarms("power")}
    figure = shared.canvas(6, 3.6)
    axes = figure.subplots()
    for place, (hits, n) in enumerate(counted.values()):
        low, high = proportion_interval(hits, n)
        axes.plot([100 * low, 100 * high], [place, place], color="#0072B2", lw=2)
        axes.plot(100 * hits / n, place, "o", color="#0072B2", ms=6)
    axes.axvline(5, color="#6E6E6E", ls=":", lw=1.2)
    axes.text(6, -0.55, "5 %", fontsize=8, color="#6E6E6E", va="center")
    axes.set_yticks(range(len(counted)), list(counted))
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="called confounded (% of draws, 95 % interval)")
    axes.set_ylabel("what sets the members apart")
    shared.style(axes, chance=None)
    return {"power": figure}
