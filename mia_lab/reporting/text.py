"""Results in words and plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from mia_lab.evaluation.blind import SOUND_BELOW
from mia_lab.evaluation.results import (
    AuditResult,
    Comparison,
    Estimate,
    Evaluation,
    GridPoint,
    Knowledge,
    Utility,
    Verdict,
)
from mia_lab.reporting.tables import best_point

NOT_RESOLVABLE = "not resolvable"

BEST = 4
"""So many attacks are in the headline."""


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
    """A p-value to two digits, never a false zero, nor a certain null."""
    if p_value > 0.99:
        return "p > 0.99"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def verdict(result: AuditResult) -> str:
    """The answer in a few sentences: can members be told, by which attack, can it be believed."""
    return f"{finding(result)} {belief(result)}"


def finding(result: AuditResult) -> str:
    """Can members be told from non-members, by which attack, how well."""
    attacks = sorted(result.evaluations, key=lambda e: e.auc, reverse=True)
    told = any(e.auc_ci95[0] > 0.5 for e in attacks)
    can = "can be told" if told else "could not be told reliably"
    found = [f"{e.name} attack AUC {interval(e.auc, e.auc_ci95)}" for e in attacks[:BEST]]
    if len(attacks) > BEST:
        found.append(f"{len(attacks) - BEST} others below")
    return f"Members {can} from non-members: {', '.join(found)}."


def belief(result: AuditResult) -> str:
    """Whether the finding is about the victim: what attacks say that never saw it."""
    blind, counts = result.blind, result.evaluations[0]
    shown = next((e.auc for e in blind.baselines if e.name == blind.best), blind.max)
    side = " reversed," if shown < 0.5 < blind.max else ""
    best = f"the best, {blind.best},{side} has AUC {blind.max:.3f}, {p_text(blind.p_value)}"
    if blind.verdict is Verdict.CONFOUNDED:
        return (
            "This split is confounded: members and non-members differ before any victim is asked "
            f"({best}), so that an attack's AUC is not about membership alone. "
            f"{_beyond(result.excess)}"
        )
    if blind.verdict is Verdict.SOUND:
        return (
            "The split is sound: attacks that never see the victim stay below AUC "
            f"{SOUND_BELOW:.2f} ({best}; 95 % upper bound {blind.upper95:.3f})."
        )
    return (
        f"Whether the split is fair is undecidable with {counts.n_members} + {counts.n_nonmembers} "
        f"images: attacks that never see the victim found no difference ({best}), but could have "
        f"missed one up to AUC {blind.upper95:.2f}."
    )


def _beyond(excess: Sequence[Comparison]) -> str:
    """What the attacks find beyond the best blind baseline."""
    gains = ", ".join(f"{c.first} {interval(c.difference, c.ci95, '+')}" for c in excess)
    if any(c.ci95[0] > 0 for c in excess):
        return f"What it finds beyond that baseline: {gains}."
    return f"No attack finds anything beyond that baseline (AUC difference: {gains})."


def comparison_sentence(c: Comparison) -> str:
    """One paired comparison in words."""
    difference = interval(c.difference, c.ci95, sign="+")
    return f"{c.first} minus {c.second}: AUC difference {difference}, {p_text(c.p_value)}"


def text_table(result: AuditResult) -> str:
    """The attacks with their intervals as aligned plain text, for the terminal."""
    rates = list(result.evaluations[0].tpr_at_fpr)
    header = ["attack", "AUC [95 % interval]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    header.append("excess over blind")
    excess = {c.first: interval(c.difference, c.ci95, "+") for c in result.excess}
    rows = [[*_cells(e, e.name), excess.get(e.name, "")] for e in result.evaluations]
    rows += [[*_cells(e, f"{e.name} (blind)"), ""] for e in result.blind.baselines]
    if has := told_knowledge(result):
        header.append("the attacker has")
        rows = [[*row, told] for row, told in zip_longest(rows, has.values(), fillvalue="")]
    lines = _ruled([header, *rows])
    counts = result.evaluations[0]
    lines.insert(0, f"{counts.n_members} members, {counts.n_nonmembers} non-members")
    lines += [comparison_sentence(c) for c in result.comparisons]
    lines += [utility_sentence(result.utility)] if result.utility else []
    lines += [claim_sentence(result)] if result.claim else []
    lines.append(belief(result))
    lines += [grid_sentence(result.grid)] if result.grid else []
    return "\n".join(lines)


def told_knowledge(result: AuditResult) -> dict[str, str]:
    """What each attacker has, by attack; nothing where none has more than one query."""
    told = {e.name: knowledge(result.knowledge[e.name]) for e in result.evaluations}
    return told if set(told.values()) != {"1 query"} else {}


def knowledge(has: Knowledge) -> str:
    """What an attacker has to have, in a few words: ``1 query, 100 images, 8 trainings``."""
    counted = ((has.queries, "quer{y}"), (has.images, "image{s}"), (has.trainings, "training{s}"))
    words = [
        f"{n} {word.format(y='y' if n == 1 else 'ies', s='' if n == 1 else 's')}"
        for n, word in counted
        if n
    ]
    return ", ".join(words) + (f" of {has.architecture}" if has.architecture else "")


def utility_sentence(found: Utility) -> str:
    """How good the victim's answers are."""
    return (
        f"Utility, on {found.n} non-members: L1 error {found.l1:.4f}, SSIM {found.ssim:.3f}, "
        f"Frechet distance {found.frechet:.0f}."
    )


def claim_sentence(result: AuditResult) -> str:
    """What the training promises, beside what the audit could show."""
    claim = result.claim
    assert claim is not None
    bounds = [p.epsilon for p in result.practice.values() if p.epsilon.value is not None]
    best = max(bounds, key=lambda bound: bound.value or 0.0, default=None)
    shown = (
        "the audit bounds nothing from below (see evaluation.guesses)"
        if best is None
        else f"the audit shows that epsilon is at least {best.value:.3f} at delta {best.delta:g}"
    )
    return (
        f"The training promises epsilon {claim.epsilon:g} at delta {claim.delta:g} (noise "
        f"{claim.noise_multiplier:.3g}, {claim.steps} steps at sampling rate "
        f"{claim.sampling_rate:.3g}); {shown}."
    )


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


def _cells(e: Evaluation, name: str) -> list[str]:
    return [name, interval(e.auc, e.auc_ci95), *(rate(v) for v in e.tpr_at_fpr.values())]


def aligned(rows: Sequence[Sequence[str]], flush_left: int = 1) -> list[str]:
    """Rows of cells as lines: the first columns flush left, the others flush right.

    Args:
        rows: of equal length.
        flush_left: how many columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= flush_left else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _ruled(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned, with a rule under the header."""
    lines = aligned(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
