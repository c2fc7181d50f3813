"""The numbers of an audit by name, for sweeps to compare and for a gate to judge."""

from __future__ import annotations

from collections.abc import Sequence

from mia_lab.evaluation.evaluate import FPRS
from mia_lab.evaluation.results import AuditResult, Comparison

BASELINES = ("difficulty", "features", "statistics", "jpeg", "file")
"""Blind baselines that an audit may have."""

UTILITY = ("l1", "ssim", "frechet")
"""How good the victim's answers are, where that is measured."""


def summary(result: AuditResult) -> dict[str, float]:
    """``auc/membership``, ``blind/max``, ...; what could not be measured is left out."""
    numbers: dict[str, float] = {}
    for e in result.evaluations:
        numbers[f"auc/{e.name}"] = e.auc
        numbers[f"auc_ci95_low/{e.name}"], numbers[f"auc_ci95_high/{e.name}"] = e.auc_ci95
        numbers[f"p_value/{e.name}"] = e.p_value
        for fpr, tpr in e.tpr_at_fpr.items():
            if tpr is not None:
                numbers[f"tpr_at_fpr_{fpr}/{e.name}"] = tpr.value
    for name, practice in result.practice.items():
        if practice.epsilon.value is not None:
            numbers[f"epsilon/{name}"] = practice.epsilon.value
    for e in result.blind.baselines:
        numbers[f"blind/{e.name}"] = e.auc
    blind = result.blind
    numbers |= {"blind/max": blind.max, "blind/p_value": blind.p_value}
    numbers["blind/upper95"] = blind.upper95
    if result.utility is not None:
        for name in UTILITY:
            numbers[f"utility/{name}"] = getattr(result.utility, name)
    for c in result.excess:
        numbers |= _paired("excess", c)
    for c in result.comparisons:
        numbers |= _paired("difference", c)
    return numbers


def summary_names(
    attacks: Sequence[str], *, bounded: bool, files: bool, useful: bool = False
) -> list[str]:
    """What :func:`summary` may hold for an audit.

    Args:
        attacks: their names.
        bounded: whether the privacy loss is bounded from below.
        files: whether the images come from files.
        useful: whether it is measured how good the answers are.
    """
    measured = ["auc", "auc_ci95_low", "auc_ci95_high", "p_value"]
    measured += ["epsilon"] if bounded else []
    measured += [f"tpr_at_fpr_{fpr}" for fpr in FPRS]
    measured += ["excess", "excess_ci95_low", "excess_ci95_high"]
    compared = ["difference", "difference_ci95_low", "difference_ci95_high"]
    others = [a for a in attacks if "reconstruction" in attacks and a != "reconstruction"]
    return [
        *(f"{metric}/{attack}" for attack in attacks for metric in measured),
        *(f"blind/{name}" for name in BASELINES if files or name != "file"),
        *(f"blind/{name}" for name in ("max", "p_value", "upper95")),
        *(f"{metric}/{attack}" for attack in others for metric in compared),
        *(f"utility/{name}" for name in UTILITY if useful),
    ]


def _paired(name: str, c: Comparison) -> dict[str, float]:
    low, high = c.ci95
    return {
        f"{name}/{c.first}": c.difference,
        f"{name}_ci95_low/{c.first}": low,
        f"{name}_ci95_high/{c.first}": high,
    }
