"""The numbers of an audit by name, which sweeps compare and ``fail_if`` tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mia_lab.evaluation.metrics import FPRS, estimate_columns, metric_columns, metric_names
from mia_lab.evaluation.results import AuditResult

BASELINES = ("difficulty", "features", "statistics", "jpeg", "file")
"""Blind baselines of an audit; ``file`` only where the images come from files."""

BLIND = ("max", "p_value", "upper95")
"""Numbers of all blind baselines together."""

UTILITY = ("l1", "ssim", "frechet")
"""Quality of the victim's outputs, if it is measured."""


def summary(result: AuditResult) -> dict[str, float]:
    """``auc/membership``, ``blind/max``, ...; without the numbers that could not be measured."""
    numbers: dict[str, float | None] = {}
    for e in result.evaluations:
        numbers |= _of(e.name, metric_columns(e.metrics))
    for name, quality in result.decisions.items():
        numbers[f"epsilon/{name}"] = quality.epsilon.approximate_dp.value
        numbers[f"epsilon_gaussian/{name}"] = quality.epsilon.gaussian_dp.value
    blind = result.blind
    numbers |= {f"blind/{e.name}": e.auc for e in blind.baselines}
    numbers |= {f"blind/{name}": getattr(blind, name) for name in BLIND}
    if result.adjustment is not None:
        for name, of in result.adjustment.attacks.items():
            numbers |= _of(name, estimate_columns("adjusted_auc", of.adjusted))
            numbers |= _of(name, estimate_columns("matched_auc", of.matched))
    if result.utility is not None:
        numbers |= {f"utility/{name}": getattr(result.utility, name) for name in UTILITY}
    numbers["correspondence/share"] = result.correspondence.share
    for c in result.excess:
        numbers |= _of(c.first, estimate_columns("excess", c.estimate))
    for c in result.comparisons:
        numbers |= _of(c.first, estimate_columns("difference", c.estimate))
    return {name: value for name, value in numbers.items() if value is not None}


def summary_names(
    attacks: Sequence[str],
    *,
    bounded: bool,
    files: bool,
    useful: bool = False,
    adjusted: bool = False,
    fprs: Sequence[float] = FPRS,
) -> list[str]:
    """The names that :func:`summary` may return for an audit.

    Args:
        attacks: their names.
        bounded: whether the privacy loss is bounded from below.
        files: whether the images come from files.
        useful: whether the quality of the victim's outputs is measured.
        adjusted: whether the attacks are adjusted for what the blind baselines see.
        fprs: false positive rates at which the true positive rate is measured.
    """
    measured = [*metric_names(fprs), *(["epsilon", "epsilon_gaussian"] if bounded else [])]
    measured += estimate_columns("excess", None)
    for name in ("adjusted_auc", "matched_auc") if adjusted else ():
        measured += estimate_columns(name, None)
    others = [a for a in attacks if "reconstruction" in attacks and a != "reconstruction"]
    return [
        *(f"{metric}/{attack}" for attack in attacks for metric in measured),
        *(f"blind/{name}" for name in BASELINES if files or name != "file"),
        *(f"blind/{name}" for name in BLIND),
        *(f"{c}/{attack}" for attack in others for c in estimate_columns("difference", None)),
        *(f"utility/{name}" for name in UTILITY if useful),
        "correspondence/share",
    ]


def _of(attack: str, columns: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"{column}/{attack}": value for column, value in columns.items()}
