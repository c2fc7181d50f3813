"""Do the 95 % intervals hold, and the lower bounds of epsilon?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

import shared
from intervals import adjusted, coverage, epsilon, propensity, rates

FILE = Path(__file__).with_name("coverage.csv")
RATES = FILE.with_name("rates.csv")
CLAIMS = FILE.with_name("epsilon.csv")

ADJUSTED, PROPENSITY = (FILE.with_name(f"{name}.csv") for name in ("adjusted", "propensity"))

MEASURED = {
    "coverage": coverage.measurements,
    "rates": rates.measurements,
    "adjusted": adjusted.measurements,
    "propensity": propensity.measurements,
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
        "adjusted": _adjusted(shared.rows(ADJUSTED)),
        "adjusted-origin": shared.origin(shared.rows(ADJUSTED)),
        "propensity": _propensity(shared.rows(PROPENSITY)),
        "rates": _table(
            shared.rows(RATES), lambda row: f"{row['n']} + {row['n']}, AUC {row['auc']}"
        ),
        "approximate_dp": _claims("approximate_dp"),
        "gaussian_dp": _claims("gaussian_dp"),
        "epsilon-origin": shared.origin(shared.rows(CLAIMS)),
    }


def _adjusted(found: Sequence[shared.Row]) -> str:
    """A line a cell: the mean AUC of each way, and the coverage of its interval in %."""
    ways = ("unadjusted", "adjusted", "matched")
    lines = []
    for cell, rows in shared.grouped(found, lambda row: row["cell"]).items():
        of = {row["interval"]: row for row in rows}
        lines.append(
            [
                cell,
                f"{float(rows[0]['true']):.3f}",
                *(f"{float(of[way]['mean']):.3f}" for way in ways),
                *(f"{100 * float(of[way]['coverage']):.1f}" for way in ways),
                *(f"{_ratio(of[way]):.2f}" for way in ways[1:]),
                f"{100 * float(rows[0]['alarms']):.1f}",
                f"{float(rows[0]['pairs']):.0f} ({float(rows[0]['effective_size']):.0f})",
                f"{100 * float(rows[0]['adjustable']):.0f}",
            ]
        )
    heads = ["victim and split", "true AUC", *(f"mean, {way}" for way in ways)]
    heads += [*(f"coverage, {way}" for way in ways), *(f"width, {way}" for way in ways[1:])]
    heads += ["alarms on the pairs", "pairs (effective size)", "adjustable"]
    return shared.markdown(heads, lines)


def _ratio(row: shared.Row) -> float:
    """Mean width of an interval over what the standard deviation of the AUC asks for."""
    return float(row["width"]) / (2 * 1.96 * float(row["sd"]))


def _propensity(found: Sequence[shared.Row]) -> str:
    """Log loss and AUC, a line a way, a column a design."""
    designs = [*shared.grouped(found, lambda row: row["design"])]
    lines = [
        [way, *(f"{float(row['log_loss']):.3f} ({float(row['auc']):.3f})" for row in rows)]
        for way, rows in shared.grouped(found, lambda row: row["way"]).items()
    ]
    return shared.markdown(["log loss (AUC)", *designs], lines)


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
