"""The pictures of an audit: pure functions of its result, without pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_lab.evaluation.metrics_file import BEST_NOTE, CONFIGURED_NOTE, best_point
from mia_lab.evaluation.results import AuditReport, AuditResult, GridPoint, Overfitting
from mia_lab.reporting.audit.curves import (
    alpha_figure,
    answers_figure,
    normality_figure,
    overfitting_figure,
    reliability_figure,
    roc_figure,
    roc_log_figure,
)
from mia_lab.reporting.audit.distributions import Sample, histogram_figure, scatter_figure
from mia_lab.reporting.audit.dossiers import dossier_pictures
from mia_lab.reporting.audit.words import overfitting_sentence, verdict
from mia_lab.reporting.canvas import Picture, png
from mia_lab.reporting.heatmap import colour_limits, colour_note, heatmap, panels
from mia_lab.reporting.numbers import interval, p_text, rate


def draw(audit: AuditReport) -> tuple[Picture, ...]:
    """All pictures of an audit.

    ``roc``, ``roc-log`` and ``histogram`` always; ``scatter`` with a reconstruction attack and a
    difficulty; ``overfitting`` of a victim that was trained here; ``alpha``, ``answers``,
    ``reliability``, ``normality``, ``grid``, ``grid-2``, ... and ``dossiers-1``, ... where the
    audit has what they show.
    """
    result = audit.result
    return (
        *_roc_pictures(audit),
        *_distribution_pictures(audit),
        *_overfitting_pictures(audit.overfitting),
        *_alpha_pictures(result),
        *_answers_pictures(result),
        *_reliability_pictures(result),
        *_normality_pictures(result),
        *grid_pictures(result.grid),
        *dossier_pictures(audit.dossiers),
    )


def _roc_pictures(audit: AuditReport) -> list[Picture]:
    result = audit.result
    curves = result.evaluations, result.blind.baselines
    n = result.evaluations[0].n_nonmembers
    rates = "; ".join(
        f"{e.name} "
        + ", ".join(f"{rate(tpr)} at {100 * float(f):g} %" for f, tpr in e.tpr_at_fpr.items())
        for e in result.evaluations
    )
    return [
        Picture(
            "roc",
            "ROC curves",
            "True positive rate against false positive rate. " + verdict(audit),
            png(roc_figure(*curves)),
        ),
        Picture(
            "roc-log",
            "ROC curves on logarithmic axes",
            "The same curves at low false positive rates, those below "
            f"1/{n} marked as not resolvable. True positive rates: {rates}.",
            png(roc_log_figure(*curves)),
        ),
    ]


def _distribution_pictures(audit: AuditReport) -> list[Picture]:
    result = audit.result
    ids = result.scores[0].id.tolist()
    is_member = audit.split.is_member(ids)
    errors = {table.attack: -table.column(ids) for table in result.scores}
    samples = [
        Sample(attack, error, is_member, result.decisions[attack])
        for attack, error in errors.items()
    ]
    medians = "; ".join(
        f"{s.attack} error, median {np.median(s.error[is_member]):.4g} of members and "
        f"{np.median(s.error[~is_member]):.4g} of non-members"
        for s in samples
    )
    found = [
        Picture(
            "histogram",
            "Errors of members and non-members",
            f"Distributions of each attack's error. {medians[:1].upper()}{medians[1:]}.",
            png(histogram_figure(samples)),
        )
    ]
    if "reconstruction" in errors and np.isfinite(result.difficulty).all():
        error = errors["reconstruction"]
        correlation = _correlation(error, result.difficulty)
        found.append(
            Picture(
                "scatter",
                "Error against difficulty",
                "Each image's reconstruction error against its difficulty, members and "
                f"non-members; correlation {correlation:.2f}.",
                png(scatter_figure(error, result.difficulty, is_member, result.alpha)),
            )
        )
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary."""
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread else 0.0


def _overfitting_pictures(found: Overfitting | None) -> list[Picture]:
    if found is None:
        return []
    return [
        Picture(
            "overfitting",
            "Errors in the course of the training",
            "Mean error of members and of non-members, and the training loss, by epoch. "
            + overfitting_sentence(found),
            png(overfitting_figure(found)),
        )
    ]


def _alpha_pictures(result: AuditResult) -> list[Picture]:
    curve = result.alpha_curve
    if curve is None:
        return []
    best = int(np.argmax(curve.auc))
    at = int(np.argmin(np.abs(curve.alpha - result.alpha)))
    limits = float(curve.low[at]), float(curve.high[at])
    return [
        Picture(
            "alpha",
            "The weight of the difficulty",
            "AUC of the membership error against alpha: "
            f"{curve.auc[0]:.3f} at alpha {curve.alpha[0]:g}, "
            f"{interval(float(curve.auc[at]), limits)} at the configured {result.alpha:g}, "
            f"at most {curve.auc[best]:.3f}, at {curve.alpha[best]:.3g}.",
            png(alpha_figure(curve, result.alpha)),
        )
    ]


def _answers_pictures(result: AuditResult) -> list[Picture]:
    if not result.answers:
        return []
    last = "; ".join(
        f"{curve.name}, from {curve.auc[0]:.3f} to "
        f"{interval(float(curve.auc[-1]), (float(curve.low[-1]), float(curve.high[-1])))}"
        for curve in result.answers
    )
    return [
        Picture(
            "answers",
            "Further answers to the same image",
            f"AUC against the number of answers to each image, up to {len(result.answers[0].auc)}: "
            f"{last}.",
            png(answers_figure(result.answers)),
        )
    ]


def _reliability_pictures(result: AuditResult) -> list[Picture]:
    found = {
        name: quality.calibration
        for name, quality in result.decisions.items()
        if quality.calibration is not None
    }
    if not found:
        return []
    scores = ", ".join(f"{name} {c.brier:.3f}" for name, c in found.items())
    return [
        Picture(
            "reliability",
            "Predicted probabilities and shares of members",
            f"Share of members in bins of predicted probability. Brier scores: {scores}.",
            png(reliability_figure(found)),
        )
    ]


def _normality_pictures(result: AuditResult) -> list[Picture]:
    found = result.normality
    if found is None:
        return []
    return [
        Picture(
            "normality",
            "Distribution of the log errors of reference models",
            f"Quantiles of {found.n} residuals of log errors from each image's mean: skewness "
            f"{found.skewness:.2f}, excess kurtosis {found.excess_kurtosis:.2f}, "
            f"{p_text(found.p_value)} by Shapiro and Wilk's test.",
            png(normality_figure(found)),
        )
    ]


def grid_pictures(grid: Sequence[GridPoint]) -> list[Picture]:
    """The AUC of the membership error over the grid, a heat map for each pair of its longest axes.

    All share one colour scale; the configured point and the best are framed.
    """
    if not grid:
        return []
    settings = [point.axes for point in grid]
    values = np.array([point.auc for point in grid])
    best = best_point(grid)
    marks = {CONFIGURED_NOTE: 0, BEST_NOTE: best}
    widths = np.array([high - low for low, high in (point.auc_ci95 for point in grid)])
    limits = colour_limits(values, widths, (0, 1))
    caption = colour_note(values, widths, limits)
    found = []
    for number, panel in enumerate(panels(settings), start=1):
        figure = heatmap(
            panel,
            values,
            "AUC of the membership error",
            limits=limits,
            marks=marks,
        )
        title = "Other settings of the difficulty" + (f": {panel.title}" if panel.title else "")
        alt = (
            f"AUC of the membership error for each {panel.rows[0]} and {panel.columns[0]}: "
            f"{values[0]:.3f} as configured, at most {values[best]:.3f}"
        )
        name = "grid" if number == 1 else f"grid-{number}"
        found.append(Picture(name, title, alt, png(figure), caption=caption))
    return found
