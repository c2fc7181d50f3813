"""Numbers and tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from mia_lab.evaluation.results import Estimate

NOT_RESOLVABLE = "not resolvable"


def interval(value: float, ci95: tuple[float, float], sign: str = "") -> str:
    """A number with its interval, three decimals: ``0.979 [0.961, 0.989]``.

    Args:
        value: the estimate.
        ci95: its interval.
        sign: "+" to show the sign of positive numbers, as of a difference.
    """
    low, high = ci95
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def rate(found: Estimate | None) -> str:
    """A true positive rate as a percentage, or why there is none."""
    return NOT_RESOLVABLE if found is None else f"{100 * found.value:.1f} %"


def rate_interval(found: Estimate | None, n_nonmembers: int) -> str:
    """A rate with its interval, ``41.0 % [33.1, 50.2]``, or why there is none."""
    if found is None:
        return f"{NOT_RESOLVABLE} with {n_nonmembers} non-members"
    low, high = found.ci95
    return f"{100 * found.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def percent(fpr: str) -> str:
    """A false positive rate's key as a percentage: ``0.01`` -> ``1 %``."""
    return f"{100 * float(fpr):g} %"


def p_text(p_value: float) -> str:
    """A p-value to two digits: ``p = 0.042``, ``p < 0.001``, ``p > 0.99``."""
    if p_value > 0.99:
        return "p > 0.99"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def p_value(value: float) -> str:
    """A p-value in a column that says so: ``0.042``, ``< 0.001``."""
    return p_text(value).removeprefix("p ").removeprefix("= ")


def aligned(rows: Sequence[Sequence[str]], flush_left: int = 1) -> list[str]:
    """Rows of cells as lines: the first columns flush left, the others flush right.

    Args:
        rows: of equal length.
        flush_left: how many columns.
    """
    widths = column_widths(rows)
    return [
        "  ".join(
            cell.rjust(width) if i >= flush_left else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The longest cell of each column, in characters."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
