"""Results in words and plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence

from mia_lab.reporting.tables import best_point
from mia_lab.results import AuditResult, Comparison, Evaluation, GridPoint

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


def rate(value: float | None) -> str:
    """A true positive rate as a percentage, or why there is none."""
    return NOT_RESOLVABLE if value is None else f"{100 * value:.1f} %"


def percent(fpr: str) -> str:
    """A false positive rate's key as a percentage: ``0.01`` -> ``1 %``."""
    return f"{100 * float(fpr):g} %"


def p_text(p_value: float) -> str:
    """A p-value to two digits, never a false zero."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def verdict(result: AuditResult) -> str:
    """The answer in a few sentences: can members be told, by which attack, can it be believed."""
    attacks = sorted(result.evaluations, key=lambda e: e.auc, reverse=True)
    told = any(e.auc_ci95[0] > 0.5 for e in attacks)
    can = "can be told" if told else "could not be told reliably"
    found = ", ".join(f"{e.name} attack AUC {interval(e.auc, e.auc_ci95)}" for e in attacks)
    sentences = [f"Members {can} from non-members: {found}."]
    sentences += [_blind_sentence(e) for e in result.blind]
    return " ".join(sentences)


def comparison_sentence(c: Comparison) -> str:
    """One paired comparison in words."""
    difference = interval(c.difference, c.ci95, sign="+")
    return f"{c.first} minus {c.second}: AUC difference {difference}, {p_text(c.p_value)}"


def text_table(result: AuditResult) -> str:
    """The attacks with their intervals as aligned plain text, for the terminal."""
    rates = list(result.evaluations[0].tpr_at_fpr)
    header = ["attack", "AUC [95 % interval]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    rows = [_cells(e, e.name) for e in result.evaluations]
    rows += [_cells(e, f"{e.name} alone (blind)") for e in result.blind]
    lines = _align([header, *rows])
    counts = result.evaluations[0]
    lines.insert(0, f"{counts.n_members} members, {counts.n_nonmembers} non-members")
    lines += [comparison_sentence(c) for c in result.comparisons]
    lines += [grid_sentence(result.grid)] if result.grid else []
    return "\n".join(lines)


def grid_sentence(grid: Sequence[GridPoint]) -> str:
    """The best of the grid's points, named for what it is."""
    best = grid[best_point(grid)]
    configured = grid[0]
    return (
        f"Of {len(grid)} settings of the difficulty, the best for the membership attack, chosen in "
        f"hindsight: layers {best.layers}, ridge {best.ridge}, alpha {best.alpha:g}, features of "
        f"{best.features_from}, AUC {interval(best.auc, best.auc_ci95)}; as configured "
        f"{interval(configured.auc, configured.auc_ci95)}"
    )


def _blind_sentence(e: Evaluation) -> str:
    number = f"The {e.name} alone, which never saw the victim, gives {interval(e.auc, e.auc_ci95)}"
    if e.auc_ci95[0] <= 0.5 <= e.auc_ci95[1]:
        return f"{number}, which is compatible with chance."
    return (
        f"{number}, which differs from chance (0.5): the images themselves differ, so part of an "
        "attack's AUC may not be about membership."
    )


def _cells(e: Evaluation, name: str) -> list[str]:
    return [name, interval(e.auc, e.auc_ci95), *(rate(v) for v in e.tpr_at_fpr.values())]


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column flush left, the others flush right, a rule under the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
