"""Pictures show what was measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import same_color

from audits import changed, make_overfitting
from mia_lab.evaluation import roc_curve
from mia_lab.evaluation.results import AnswersCurve, AuditReport, AuditResult, Gallery, Roc
from mia_lab.reporting.audit.curves import (
    alpha_figure,
    answers_figure,
    on_log_axes,
    overfitting_figure,
    reliability_figure,
    roc_figure,
    roc_log_figure,
)
from mia_lab.reporting.audit.distributions import Sample, histogram_figure, scatter_figure
from mia_lab.reporting.audit.dossiers import (
    common_scales,
    dossier_pictures,
    gallery_alt,
    samples_figure,
)
from mia_lab.reporting.audit.figures import draw
from mia_lab.reporting.canvas import ATTACK_COLOURS, Picture, attack_colours
from mia_lab.reporting.files import write_files
from mia_lab.reporting.numbers import interval

NAMES = [
    "roc",
    "roc-log",
    "histogram",
    "scatter",
    "overfitting",
    "alpha",
    "reliability",
    "dossiers-1",
]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_all_pictures_have_alternative_texts(
    audit: AuditReport, result: AuditResult, pictures: tuple[Picture, ...]
) -> None:
    named = {p.name: p for p in pictures}
    assert list(named) == NAMES
    assert f"{result.evaluations[1].auc:.3f}" in named["roc"].alt
    assert "1/40 marked as not resolvable" in named["roc-log"].alt
    brier = result.decisions["reconstruction"].calibration.brier
    assert f"Brier scores: reconstruction {brier:.3f}" in named["reliability"].alt
    assert "facade-0001, non-member, error 0.102" in named["dossiers-1"].alt
    assert named["dossiers-1"].title == audit.dossiers[0].title
    assert all(p.alt and p.png.startswith(b"\x89PNG") for p in pictures)


def test_the_course_of_a_training_shows_both_errors_and_the_loss() -> None:
    found = make_overfitting()
    figure = overfitting_figure(found)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["training loss (L1)"].get_ydata(), found.loss)
    assert legend(figure) == [
        "training loss (L1)",
        "error of 30 non-members",
        "error of 32 members",
    ]
    members = [mean.members.value for mean in found.means]
    (drawn,) = [line for line in figure.axes[0].lines if list(line.get_ydata()) == members]
    assert list(drawn.get_xdata()) == [1, 2, 4, 8]
    assert figure.axes[0].get_xscale() == "linear"
    assert overfitting_figure(make_overfitting((1, 32))).axes[0].get_xscale() == "log"


def test_only_pictures_of_images_are_private(pictures: tuple[Picture, ...]) -> None:
    assert {p.name for p in pictures if p.private} == {"dossiers-1"}


def test_pictures_without_their_data_are_left_out(audit: AuditReport, result: AuditResult) -> None:
    bare = changed(
        audit,
        overfitting=None,
        scores=result.scores[1:],
        evaluations=result.evaluations[1:],
        alpha_curve=None,
        decisions={
            k: dataclasses.replace(v, calibration=None) for k, v in result.decisions.items()
        },
        dossiers=(),
    )
    assert [p.name for p in draw(bare)] == ["roc", "roc-log", "histogram"]
    unknown = changed(audit, difficulty=np.full(80, np.nan))
    assert [p.name for p in draw(unknown)] == [n for n in NAMES if n != "scatter"]


def test_the_same_result_gives_the_same_bytes(
    audit: AuditReport, pictures: tuple[Picture, ...], tmp_path: Path
) -> None:
    write_files(audit, pictures, tmp_path)
    assert [p.png for p in draw(audit)] == [(tmp_path / f"{n}.png").read_bytes() for n in NAMES]


@pytest.mark.parametrize("make", [roc_figure, roc_log_figure])
def test_roc_legend_names_every_curve(result: AuditResult, make) -> None:
    figure = make(result.evaluations, result.blind.baselines)
    texts = legend(figure)
    assert [t.split(",")[0] for t in texts] == [
        "reconstruction", "membership", "difficulty (blind)", "statistics (blind)", "chance",
        "95 % band at each rate",
    ]  # fmt: skip
    for e, text in zip((*result.evaluations, *result.blind.baselines), texts, strict=False):
        assert text.endswith(f"AUC {interval(e.auc, e.auc_ci95)}")


def test_roc_shows_exact_curves_bands_and_blind_baselines_dashed(result: AuditResult) -> None:
    axes = roc_figure(result.evaluations, result.blind.baselines).axes[0]
    shown = (*result.evaluations, *result.blind.baselines)
    for e, line in zip(shown, axes.lines, strict=False):
        np.testing.assert_array_equal(line.get_xdata(), e.roc.fpr)
        np.testing.assert_array_equal(line.get_ydata(), e.roc.tpr)
    styles = [line.is_dashed() for line in axes.lines[: len(shown)]]
    assert styles == [False, False, True, True]
    dashes = {line._unscaled_dash_pattern[1] for line in axes.lines[2:4]}
    assert len(dashes) == 2  # greys alone would not tell them apart
    bands = [c for c in axes.collections if len(c.get_paths()) and len(c.get_paths()[0].vertices)]
    assert len(bands) == len(result.evaluations)
    for e, band in zip(result.evaluations, bands, strict=True):
        points = {tuple(np.round(v, 12)) for v in band.get_paths()[0].vertices}
        wanted = zip(e.band.fpr, e.band.low, strict=True)
        assert {tuple(np.round(v, 12)) for v in wanted} <= points
        assert same_color(band.get_facecolor()[0][:3], ATTACK_COLOURS[e.name])


def test_log_axes_shade_what_cannot_be_resolved(result: AuditResult) -> None:
    axes = roc_log_figure(result.evaluations, result.blind.baselines).axes[0]
    lowest = 1 / result.evaluations[0].n_nonmembers
    (span,) = axes.patches
    assert span.get_x() + span.get_width() == pytest.approx(lowest)
    assert axes.get_xlim()[0] < lowest
    assert axes.texts[0].get_text() == "below 1/40: not resolvable"
    for line in axes.lines[:4]:
        assert line.get_xdata().min() == lowest


def test_ties_are_straight_on_linear_axes_only() -> None:
    """All scores tied: the curve is the diagonal, on logarithmic axes as well."""
    fpr, tpr = on_log_axes(Roc(np.array([0.0, 1]), np.array([0.0, 1]), np.array([np.inf, 0])), 0.1)
    inside = fpr > 0.1
    np.testing.assert_allclose(fpr[inside], tpr[inside])
    assert len(fpr) > 50


def test_a_curve_starts_on_log_axes_with_what_is_found_at_the_lowest_rate() -> None:
    is_member = np.array([True, True, True, False, True] + 9 * [False])
    roc = roc_curve(-np.arange(14.0), is_member)
    fpr, tpr = on_log_axes(roc, 0.1)
    assert (fpr[0], tpr[0]) == (0.1, 1.0)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)
    assert on_log_axes(roc, 0.05)[1][0] == 0.75


def test_histogram_shows_every_image_members_to_the_left(
    audit: AuditReport, result: AuditResult
) -> None:
    is_member = audit.split.is_member(result.scores[0].id.tolist())
    samples = [
        Sample(t.attack, -t.score, is_member, result.decisions[t.attack]) for t in result.scores
    ]
    figure = histogram_figure(samples)
    for axes, sample in zip(figure.axes, samples, strict=True):
        assert axes.get_xlabel() == f"{sample.attack} error (members to the left)"
        bars = [p for p in axes.patches if type(p).__name__ == "Rectangle"]
        assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
        thresholds = [line.get_xdata()[0] for line in axes.lines]
        fixed = sample.decisions.fixed_threshold["0.1"]
        assert thresholds == [-fixed.threshold, -sample.decisions.hindsight.threshold]
    assert legend(figure) == [
        "non-members (40)", "members (40)", "threshold from auxiliaries, FPR 10 %",
        "best threshold, in hindsight",
    ]  # fmt: skip


def test_scatter_line_separates_at_the_best_threshold() -> None:
    difficulty = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    error = 0.5 * difficulty + np.array([0.00, 0.01, 0.02, 0.04, 0.05, 0.06])
    figure = scatter_figure(error, difficulty, np.arange(6) < 3, alpha=0.5)
    (line,) = figure.axes[0].lines
    assert line.get_slope() == 0.5
    assert line.get_xy1() == pytest.approx((0, 0.02))
    assert line.get_label() == "membership error = 0.02, best in hindsight"


def test_alpha_curve_marks_what_was_configured(result: AuditResult) -> None:
    curve = result.alpha_curve
    axes = alpha_figure(curve, result.alpha).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), curve.auc)
    marked = [line for line in axes.lines if "configured" in str(line.get_label())]
    at = curve.alpha.tolist().index(result.alpha)
    assert marked[0].get_xydata().tolist() == [[0.5, curve.auc[at]]]
    low, high = axes.get_ylim()
    assert low <= curve.low.min() < curve.high.max() <= high


def test_answers_are_drawn_against_their_number(audit: AuditReport) -> None:
    auc, low, high = np.array([[0.6, 0.65, 0.7], [0.5, 0.55, 0.6], [0.7, 0.75, 0.8]])
    curve = AnswersCurve("least error", np.arange(1, 4), auc, low, high)
    axes = answers_figure([curve]).axes[0]
    (drawn,) = axes.containers
    np.testing.assert_array_equal(drawn[0].get_ydata(), auc)
    ends = np.array(drawn[2][0].get_segments())[:, :, 1]
    np.testing.assert_allclose(ends, np.stack([low, high], axis=1))
    pictures = {p.name: p for p in draw(changed(audit, answers=(curve,), dossiers=()))}
    assert "up to 3: least error, from 0.600 to 0.700 [0.600, 0.800]" in pictures["answers"].alt


def test_further_answers_stand_beside_the_first(audit: AuditReport) -> None:
    found = audit.dossiers[0]
    gallery = found.gallery
    others = np.stack([gallery.y, gallery.x, gallery.y, gallery.x], axis=1)
    figure = samples_figure(dataclasses.replace(gallery, others=others), found.difficulty)
    titles = [text.get_text() for text in figure.texts[:8]]
    assert titles == [
        *("input x", "target y", "answer V(x)", "answer 2", "answer 3", "answer 4"),
        *("|V(x) - y|", "difficulty"),
    ]
    shown = [np.asarray(image.get_array()) for image in figure.axes[0].images[:8]]
    np.testing.assert_array_equal(shown[3], shown[1])
    np.testing.assert_array_equal(shown[4], shown[0])
    assert shown[6].ndim == 2


def test_reliability_shows_every_bin(result: AuditResult) -> None:
    found = {name: p.calibration for name, p in result.decisions.items()}
    axes = reliability_figure(found).axes[0]
    for bars, calibration in zip(axes.containers, found.values(), strict=True):
        np.testing.assert_array_equal(bars[0].get_ydata(), calibration.observed)
        np.testing.assert_allclose(bars[0].get_xdata(), calibration.predicted, atol=0.01)
        ends = np.array(bars[2][0].get_segments())[:, :, 1]
        np.testing.assert_allclose(ends, calibration.observed_ci95)


def test_attacks_keep_their_colours() -> None:
    alone, beside = attack_colours(["membership"]), attack_colours(["shadow", "membership"])
    assert alone["membership"] == beside["membership"] == "#D55E00"
    assert alone["reconstruction"] == "#0072B2"
    assert len(set(beside.values())) == len(beside)


def gallery(image_id: str) -> Gallery:
    x, y, v = np.random.default_rng(0).uniform(size=(3, 1, 3, 6, 6)).astype(np.float32)
    return Gallery((image_id,), ("member, error 0.1",), x, y, v)


def test_dossiers_show_both_errors_and_odd_captions() -> None:
    shown = gallery("50$ or <b>$x_\u6f22")
    maps = np.random.default_rng(1).uniform(size=(1, 4, 4)).astype(np.float32)
    figure = samples_figure(shown, maps)
    images = [image.get_array() for image in figure.axes[0].images]
    np.testing.assert_array_equal(images[0], shown.x[0].transpose(1, 2, 0))
    np.testing.assert_allclose(images[3], np.abs(shown.reconstruction - shown.y)[0].mean(axis=0))
    np.testing.assert_array_equal(images[4], maps[0])
    texts = [text.get_text() for text in figure.texts]
    assert texts[:5] == ["input x", "target y", "answer V(x)", "|V(x) - y|", "difficulty"]
    assert texts[5:] == ["50$ or <b>$x_\u6f22", "member, error 0.1"]


@pytest.mark.parametrize("maps", [None, np.zeros((1, 0, 0), dtype=np.float32)])
def test_dossiers_without_difficulty_maps_have_no_such_column(maps) -> None:
    figure = samples_figure(gallery("a"), maps)
    assert len(figure.axes[0].images) == 4
    assert len(figure.axes) == 1 + 1  # of all images, and one colour scale
    assert "difficulty" not in [text.get_text() for text in figure.texts]


def test_dossiers_keep_the_end_of_a_long_id() -> None:
    figure = samples_figure(gallery("folder/" * 12 + "0042.png"))
    (shown,) = [t.get_text() for t in figure.texts if t.get_text().endswith("0042.png")]
    assert shown.startswith("...")
    assert len(shown) == 60


@pytest.mark.parametrize(
    ("channels", "note"),
    [
        ((1, 3), ""),
        ((2, 3), "input: mean of 2 channels"),
        ((4, 12), "input: channels 1 to 3 of 4 as RGB; target: channels 1 to 3 of 12 as RGB"),
    ],
)
def test_dossiers_say_which_channels_they_show(channels: tuple[int, int], note: str) -> None:
    rng = np.random.default_rng(0)
    x, y, v = (rng.uniform(size=(1, n, 6, 9)).astype(np.float32) for n in (*channels, channels[1]))
    shown = Gallery(("a",), ("member",), x, y, v)
    figure = samples_figure(shown)
    texts = [text.get_text() for text in figure.texts]
    assert texts[4:] == [note, "a", "member"] if note else ["a", "member"]
    assert note in gallery_alt(shown)
    pictures = [image.get_array() for image in figure.axes[0].images[:3]]
    for picture, side in zip(pictures, (x, y, v), strict=True):
        wanted = side[0, :3] if side.shape[1] > 2 else side[0].mean(0, keepdims=True)
        np.testing.assert_allclose(picture, np.broadcast_to(wanted, (3, 6, 9)).transpose(1, 2, 0))
    figure.draw_without_rendering()
    tile = figure.axes[0].images[0].get_window_extent()
    assert tile.height / tile.width == pytest.approx(6 / 9)


def test_colours_mean_the_same_in_all_dossiers(audit: AuditReport) -> None:
    bright, dark = audit.dossiers[0], audit.dossiers[0]
    dark = dataclasses.replace(
        dark,
        gallery=dataclasses.replace(dark.gallery, reconstruction=dark.gallery.y),
        difficulty=bright.difficulty / 10,
    )
    scales = common_scales([bright, dark])
    limits = []
    for found in (bright, dark):
        figure = samples_figure(found.gallery, found.difficulty, scales)
        limits += [[i.get_clim() for i in figure.axes[0].images[first::5]] for first in (3, 4)]
    assert set(limits[0]) == set(limits[2]) == {(0, scales.error)}
    assert set(limits[1]) == set(limits[3]) == {(0, scales.difficulty)}
    assert scales.error <= np.abs(bright.gallery.reconstruction - bright.gallery.y).max()


def test_perfect_answers_are_drawn(audit: AuditReport) -> None:
    found = audit.dossiers[0]
    same = dataclasses.replace(found.gallery, reconstruction=found.gallery.y)
    dossiers = (dataclasses.replace(found, gallery=same),)
    (drawn,) = dossier_pictures(dossiers)
    assert drawn.png.startswith(b"\x89PNG")


def test_grid_has_one_picture_an_alpha_and_marks_what_was_chosen(audit, grid) -> None:
    with_grid = changed(audit, grid=grid, dossiers=())
    pictures = {p.name: p for p in draw(with_grid)}
    assert list(pictures) == [*NAMES[:-1], "grid", "grid-2"]
    assert pictures["grid"].title.endswith("alpha 0.5")
    assert pictures["grid-2"].title.endswith("alpha 1")
    assert "0.700 as configured, at most 0.830" in pictures["grid"].alt
