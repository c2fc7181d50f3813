"""The numbers of an audit by name, for sweeps to compare and for a gate to judge."""

from __future__ import annotations

from collections.abc import Sequence

from mia_lab.evaluation.evaluate import FPRS
from mia_lab.results import AuditResult


def summary(result: AuditResult) -> dict[str, float]:
    """``auc/membership``, ``blind/difficulty``, ...; a rate that is not resolvable is left out."""
    numbers: dict[str, float] = {}
    for e in result.evaluations:
        numbers[f"auc/{e.name}"] = e.auc
        numbers[f"auc_ci95_low/{e.name}"], numbers[f"auc_ci95_high/{e.name}"] = e.auc_ci95
        for fpr, tpr in e.tpr_at_fpr.items():
            if tpr is not None:
                numbers[f"tpr_at_fpr_{fpr}/{e.name}"] = tpr
    for e in result.blind:
        numbers[f"blind/{e.name}"] = e.auc
    for c in result.comparisons:
        numbers[f"difference/{c.first}"] = c.difference
        numbers[f"difference_ci95_low/{c.first}"] = c.ci95[0]
        numbers[f"difference_ci95_high/{c.first}"] = c.ci95[1]
    return numbers


def summary_names(attacks: Sequence[str]) -> list[str]:
    """What :func:`summary` may hold for an audit with these attacks."""
    measured = ["auc", "auc_ci95_low", "auc_ci95_high", *(f"tpr_at_fpr_{fpr}" for fpr in FPRS)]
    compared = ["difference", "difference_ci95_low", "difference_ci95_high"]
    others = [a for a in attacks if "reconstruction" in attacks and a != "reconstruction"]
    return [
        *(f"{metric}/{attack}" for attack in attacks for metric in measured),
        "blind/difficulty",
        *(f"{metric}/{attack}" for attack in others for metric in compared),
    ]
