"""Is the gate on the split right?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from blind import gate
from mia_lab.evaluation.decision import proportion_interval

HERE = Path(__file__).parent

MEASURED = {"real": gate.real, "null": gate.null, "power": gate.power}


VERDICTS = ("confounded", "undecidable", "sound")


def counts(file: str) -> dict[str, list[int]]:
    """How many draws of each case got each of the verdicts."""
    cases = shared.grouped(shared.rows(HERE / f"{file}.csv"), _case)
    return {
        case: [len(shared.select(rows, verdict=verdict)) for verdict in VERDICTS]
        for case, rows in cases.items()
    }


def _case(row: shared.Row) -> str:
    small = f", {row['n_members']} + {row['n_nonmembers']}" if row["n_members"] != "100" else ""
    return row["case"] + small


def planted() -> dict[str, list[int]]:
    """Those of all generated cases."""
    return {**counts("null"), **counts("power")}


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
    for case, found in planted().items():
        hits, n = found[0], sum(found)
        low, high = proportion_interval(hits, n)
        share = f"{100 * hits / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append([case, str(n), *map(str, found), share])
    heads = ["what sets the members apart", "draws", *VERDICTS, "confounded in %"]
    return shared.markdown(heads, lines)


def _origin() -> str:
    return shared.origin([row for file in MEASURED for row in shared.rows(HERE / f"{file}.csv")])


def figures() -> dict[str, Figure]:
    """Share of draws that were called confounded, with Clopper-Pearson intervals."""
    counted = {f"{case} ({sum(found)})": found for case, found in planted().items()}
    figure = shared.canvas(6, 3.6)
    axes = figure.subplots()
    for place, found in enumerate(counted.values()):
        hits, n = found[0], sum(found)
        low, high = proportion_interval(hits, n)
        axes.plot([100 * low, 100 * high], [place, place], color="#0072B2", lw=2)
        axes.plot(100 * hits / n, place, "o", color="#0072B2", ms=6)
    axes.axvline(5, color="#6E6E6E", ls=":", lw=1.2)
    axes.text(6, -0.55, "5 %", fontsize=8, color="#6E6E6E", va="center")
    axes.set_yticks(range(len(counted)), list(counted))
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="called confounded (% of draws, 95 % interval)")
    axes.set_ylabel("what sets the members apart (draws)")
    shared.style(axes, chance=None)
    return {"power": figure}
