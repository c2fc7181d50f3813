"""Do the 95 % intervals hold, and the lower bounds of epsilon?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

import shared
from intervals import coverage, epsilon, rates

FILE = Path(__file__).with_name("coverage.csv")
RATES = FILE.with_name("rates.csv")
CLAIMS = FILE.with_name("epsilon.csv")

MEASURED = {
    "coverage": coverage.measurements,
    "rates": rates.measurements,
    "epsilon": epsilon.measurements,
}


def tables() -> dict[str, str]:
    found = shared.rows(FILE)
    alone = [row for row in found if not row["clusters"]]
    together = [row for row in found if row["clusters"]]
    return {
        "independent": _table(alone, lambda row: f"{row['n']} + {row['n']}, AUC {row['auc']}"),
        "clustered": _table(together, lambda row: f"{row['clusters']}, rho {row['rho']}"),
        "origin": shared.origin(found),
        "rates": _table(
            shared.rows(RATES), lambda row: f"{row['n']} + {row['n']}, AUC {row['auc']}"
        ),
        "approximate_dp": _claims("approximate_dp"),
        "gaussian_dp": _claims("gaussian_dp"),
        "epsilon-origin": shared.origin(shared.rows(CLAIMS)),
    }


def _table(found: Sequence[shared.Row], case: Callable[[shared.Row], str]) -> str:
    """Coverage, a line an interval, a column a case."""
    cases = [*shared.grouped(found, case)]
    lines = []
    for name, rows in shared.grouped(found, lambda row: row["interval"]).items():
        held = {case(row): f"{100 * float(row['coverage']):.1f}" for row in rows}
        lines.append([name, *(held.get(at, "-") for at in cases)])
    return shared.markdown(["interval", *cases], lines)


def _claims(bound: str) -> str:
    """Claims above the truth and the mean claim, a line a mechanism, a column a way."""
    ways: dict[str, None] = {}
    lines: dict[tuple[str, str, str], list[str]] = {}
    for row in shared.rows(CLAIMS, bound=bound):
        fixed = row["guesses"].isdigit()
        ways["half of the images" if fixed else f"`{row['guesses']}`"] = None
        line = lines.setdefault((row["mechanism"], row["n"], f"{float(row['true']):.3f}"), [])
        line.append(f"{row['above']} ({float(row['mean']):.3f})")
    return shared.markdown(
        ["mechanism", "images", "true epsilon", *ways], [[*at, *line] for at, line in lines.items()]
    )


def figures() -> dict[str, Figure]:
    return {}
