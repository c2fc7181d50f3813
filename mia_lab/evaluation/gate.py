"""``fail_if``: conditions on an audit's numbers, each of which fails the audit."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence

from mia_lab.errors import UserError, listed, nearest
from mia_lab.evaluation.results import Correspondence, Gate, Outcome

COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

SWAPPED = "are the roles swapped, data.direction reversed, or the targets inverted?"
"""What to look for where an AUC is significantly below 0.5."""

UNRELATED = (
    "is data.direction reversed, the size or the range of values wrong, or the victim hardly "
    "trained?"
)
"""What to look for where the answers do not belong to their targets."""

CLEARLY_REVERSED = 0.4
"""An AUC whose interval lies below this tells members from non-members in the wrong direction."""

ADJUSTED = ("adjusted_auc", "matched_auc")
"""AUCs that have their own intervals."""

_CONDITION = re.compile(r"\s*(?P<metric>[^<>=]*[^<>=\s])\s*(?P<sign>[<>]=?)\s*(?P<bound>\S+)\s*")


def conditions(fail_if: str) -> list[str]:
    """Split ``fail_if`` into its conditions.

    Example:
        >>> conditions("auc/membership > 0.6 or epsilon/membership > 1")
        ['auc/membership > 0.6', 'epsilon/membership > 1']
    """
    return re.split(r"\s+or\s+", fail_if.strip())


def parse(condition: str) -> tuple[str, str, float]:
    """Metric, comparison and bound of one condition, such as ``auc/membership > 0.6``.

    Raises:
        UserError: it is not of this form.
    """
    found = _CONDITION.fullmatch(condition)
    try:
        bound = float(found["bound"]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or not math.isfinite(bound):
        if re.search(r"\sand\s|&", condition):
            raise UserError(
                f"fail_if={condition}: joins conditions by and, but an audit fails if any of its "
                "conditions holds; join them by or"
            )
        raise UserError(
            f"fail_if={condition}: is not a metric, one of {' '.join(COMPARISONS)} and a number; "
            "write fail_if='auc/membership > 0.6', and join several conditions by or"
        )
    return found["metric"], found["sign"], bound


def check(fail_if: str, metrics: Sequence[str]) -> None:
    """Refuse conditions on metrics that the audit does not have, and limits beyond their range.

    Raises:
        UserError: a condition is malformed, its metric is unknown, or its limit out of range.
    """
    for condition in conditions(fail_if):
        metric, _, bound = parse(condition)
        if metric not in metrics:
            values = [name for name in metrics if "_ci95_" not in name]
            raise UserError(
                f"fail_if={condition}: this audit has no {metric}; there are {listed(values)}"
                f"{nearest(metric, metrics)}"
            )
        _check_limit(condition, metric, bound)


def _check_limit(condition: str, metric: str, bound: float) -> None:
    """Refuse a limit that no audit reaches, such as 60 for 60 %: every model would pass."""
    name = metric.partition("/")[0]
    least = -1.0 if name.startswith(("excess", "difference")) else 0.0
    if name.startswith(_UP_TO_ONE) and not least <= bound <= 1:
        raise UserError(
            f"fail_if={condition}: {metric} lies between {least:g} and 1; write 0.6 for 60 %"
        )


_UP_TO_ONE = (
    *("auc", "advantage", "p_value", "tpr_at_", "adjusted_auc", "matched_auc", "excess"),
    *("difference", "blind", "correspondence"),
)
"""What the names of numbers begin with that are at most 1."""


def decide(
    fail_if: str, numbers: Mapping[str, float], correspondence: Correspondence | None = None
) -> Gate:
    """Whether one of the conditions holds; one whose number is missing counts as if it held.

    A limit from above passes no attack that would exceed it in the other direction: with roles
    swapped, ``auc/membership = 0.02`` is 0.98. Its interval has to lie below 0.5; for the rates and
    the excess of an attack, below `CLEARLY_REVERSED`.

    Args:
        fail_if: conditions as in :func:`parse`, joined by ``or``.
        numbers: of the audit, see :func:`mia_lab.evaluation.summary.summary`.
        correspondence: of answers and targets, without which nothing passes; None: not asked for.

    Raises:
        UserError: a condition is malformed.
    """
    outcomes = tuple(_outcome(c, numbers, correspondence) for c in conditions(fail_if))
    return Gate(fail_if, any(outcome.failed for outcome in outcomes), outcomes)


def _outcome(
    condition: str, numbers: Mapping[str, float], correspondence: Correspondence | None
) -> Outcome:
    metric, sign, bound = parse(condition)
    value = numbers.get(metric)
    holds = value is None or math.isnan(value) or COMPARISONS[sign](value, bound)
    is_reversed = sign in (">", ">=") and _exceeds_if_mirrored(metric, sign, bound, numbers)
    is_unrelated = correspondence is not None and not correspondence.holds
    return Outcome(
        condition,
        value,
        bool(holds or is_reversed or is_unrelated),
        bool(is_reversed and not holds),
        bool(is_unrelated and not holds and not is_reversed),
    )


def _exceeds_if_mirrored(
    metric: str, sign: str, bound: float, numbers: Mapping[str, float]
) -> bool:
    """Whether an attack exceeds a limit in the wrong direction."""
    name, _, attack = metric.partition("/")
    area = next((kind for kind in ADJUSTED if name.startswith(kind)), "auc")
    highest = numbers.get(f"{area}_ci95_high/{attack}", 1.0)
    if name == area:
        mirrored = 1 - numbers.get(metric, 1.0)
        return highest < 0.5 and bool(COMPARISONS[sign](mirrored, bound))
    is_about_members = name.startswith((f"{area}_", "tpr_at_fpr_", "excess"))
    return is_about_members and highest < CLEARLY_REVERSED


def sentence(gate: Gate) -> str:
    """The outcome as text: ``auc/membership = 0.841 > 0.6``; only what failed, if anything did."""
    decisive = [outcome for outcome in gate.outcomes if outcome.failed is gate.failed]
    return "; ".join(map(_sentence, decisive))


def _sentence(outcome: Outcome) -> str:
    metric, sign, bound = parse(outcome.condition)
    if outcome.value is None:
        reasons = {
            "tpr_at_fpr_": "the non-members are too few to measure this rate",
            "adjusted_auc": "the split is not adjustable",
            "matched_auc": "the split is not adjustable",
            "epsilon": "no theorem gives a bound, see evaluation.guesses and evaluation.delta",
        }
        known = (reason for name, reason in reasons.items() if metric.startswith(name))
        reason = next(known, "not measured here")
        return f"{metric} {sign} {bound:g} cannot be decided, which counts as failed: {reason}"
    if outcome.reversed:
        return (
            f"{metric} = {outcome.value:.6g} is not {sign} {bound:g}, but the attack's AUC is "
            "significantly below 0.5, which counts as failed: it tells members from non-members in "
            f"the wrong direction; {SWAPPED}"
        )
    if outcome.unrelated:
        return (
            f"{metric} = {outcome.value:.6g} is not {sign} {bound:g}, but the answers were not "
            f"found to belong to their targets, which counts as failed: {UNRELATED}"
        )
    return f"{metric} = {outcome.value:.6g}{'' if outcome.failed else ', not'} {sign} {bound:g}"
