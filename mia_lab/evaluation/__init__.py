"""Statistics of attacks: performance measures, intervals and tests, as functions of arrays."""

from mia_lab.evaluation.blind import judge_split
from mia_lab.evaluation.evaluate import compare_attacks, evaluate
from mia_lab.evaluation.metrics import FPRS
from mia_lab.evaluation.roc import auc, roc_curve, tpr_at_fpr
from mia_lab.evaluation.uncertainty import auc_interval, compare

__all__ = [
    "FPRS",
    "auc",
    "auc_interval",
    "compare",
    "compare_attacks",
    "evaluate",
    "judge_split",
    "roc_curve",
    "tpr_at_fpr",
]
