"""Do the 95 % intervals hold?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

import shared
from intervals import coverage, rates

FILE = Path(__file__).with_name("coverage.csv")
RATES = FILE.with_name("rates.csv")

MEASURED = {"coverage": coverage.measurements, "rates": rates.measurements}


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
    }


def _table(found: Sequence[shared.Row], case: Callable[[shared.Row], str]) -> str:
    """Coverage, a line an interval, a column a case."""
    cases = [*shared.grouped(found, case)]
    lines = []
    for name, rows in shared.grouped(found, lambda row: row["interval"]).items():
        held = {case(row): f"{100 * float(row['coverage']):.1f}" for row in rows}
        lines.append([name, *(held.get(at, "-") for at in cases)])
    return shared.markdown(["interval", *cases], lines)


def figures() -> dict[str, Figure]:
    return {}
