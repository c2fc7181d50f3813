from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mia_lab.reporting import draw
from mia_lab.reporting.figures import (
    ATTACK_COLOURS,
    attack_colours,
    roc_figure,
    samples_figure,
    scatter_figure,
)
from mia_lab.results import Gallery


def test_all_pictures_have_alternative_texts(result):
    pictures = {p.name: p for p in draw(result)}
    assert list(pictures) == ["roc", "scatter", "samples"]
    assert f"{result.evaluations[1].auc:.3f}" in pictures["roc"].alt
    assert "facade-0001, non-member, error 0.102" in pictures["samples"].alt


def test_pictures_without_their_data_are_left_out(result):
    empty = np.zeros((0, 3, 8, 8), dtype=np.float32)
    bare = dataclasses.replace(
        result,
        scores=result.scores[1:],
        evaluations=result.evaluations[1:],
        gallery=Gallery((), (), empty, empty, empty),
    )
    assert [p.name for p in draw(bare)] == ["roc"]
    unknown = dataclasses.replace(result, difficulty=np.full(80, np.nan))
    assert [p.name for p in draw(unknown)] == ["roc", "samples"]


def test_roc_legend_names_every_curve(result):
    figure = roc_figure(result.evaluations, result.blind)
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert [t.split(",")[0] for t in texts] == [
        "reconstruction", "membership", "difficulty alone (blind)", "chance",
    ]  # fmt: skip
    e = result.evaluations[0]
    assert f"{e.auc:.3f} [{e.auc_ci95[0]:.3f}, {e.auc_ci95[1]:.3f}]" in texts[0]
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), e.roc.fpr)
    np.testing.assert_array_equal(line.get_ydata(), e.roc.tpr)


def test_scatter_line_separates_at_the_best_threshold():
    difficulty = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    error = 0.5 * difficulty + np.array([0.00, 0.01, 0.02, 0.04, 0.05, 0.06])
    figure = scatter_figure(error, difficulty, np.arange(6) < 3, alpha=0.5)
    (line,) = figure.axes[0].lines
    assert line.get_slope() == 0.5
    assert line.get_xy1() == pytest.approx((0, 0.03))
    assert "best in hindsight" in line.get_label()


def test_attacks_keep_their_colours():
    alone, beside = attack_colours(["membership"]), attack_colours(["shadow", "membership"])
    assert alone["membership"] == beside["membership"] == ATTACK_COLOURS["membership"]
    assert len(set(beside.values())) == len(beside)


def test_samples_show_the_error_map_and_odd_captions():
    rng = np.random.default_rng(0)
    x, y, v = rng.uniform(size=(3, 1, 3, 6, 8)).astype(np.float32)
    gallery = Gallery(("50$ or <b>$x_\u6f22",), ("member",), x, y, v)
    figure = samples_figure(gallery)
    shown = [axes.images[0].get_array() for axes in figure.axes[:4]]
    np.testing.assert_array_equal(shown[0], x[0].transpose(1, 2, 0))
    np.testing.assert_allclose(shown[3], np.abs(v - y)[0].mean(axis=0))
    assert figure.texts[0].get_text() == "member: 50$ or <b>$x_\u6f22"


def test_samples_keep_the_end_of_a_long_id():
    image = np.zeros((1, 3, 4, 4), dtype=np.float32)
    figure = samples_figure(
        Gallery(("folder/" * 9 + "0042.png",), ("member",), image, image, image)
    )
    shown = figure.texts[0].get_text()
    assert shown.startswith("member: ...")
    assert shown.endswith("/0042.png")
    assert len(shown) == len("member: ") + 36


def test_odd_ids_and_perfect_answers_are_drawn(result):
    ids = ("50$ or <b>$x_\u6f22", *result.gallery.ids[1:])
    gallery = dataclasses.replace(result.gallery, ids=ids, reconstruction=result.gallery.y)
    pictures = draw(dataclasses.replace(result, gallery=gallery))
    assert pictures[2].png.startswith(b"\x89PNG")


def test_grid_has_one_picture_an_alpha_and_marks_what_was_chosen(result, grid):
    with_grid = dataclasses.replace(result, grid=grid)
    pictures = {p.name: p for p in draw(with_grid)}
    assert list(pictures) == ["roc", "scatter", "samples", "grid", "grid-2"]
    assert pictures["grid"].title.endswith("alpha 0.5")
    assert pictures["grid-2"].title.endswith("alpha 1")
    assert "0.700 as configured, at most 0.830" in pictures["grid"].alt
