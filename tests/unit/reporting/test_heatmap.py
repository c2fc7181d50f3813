"""Heat maps show each value where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from mia_lab.reporting.heatmap import colour_limits, colour_note, heatmap, panels

LAYERS = ("1,2,3,4", "2", "10", "1,2")
RIDGES = ("100", "auto", "0.01", "1e+08")


def lattice(**more: tuple[str, ...]) -> list[dict[str, str]]:
    settings: list[dict[str, str]] = [{}]
    for name, values in {"layers": LAYERS, "ridge": RIDGES, **more}.items():
        settings = [{**s, name: v} for s in settings for v in values]
    return settings


def test_axes_are_sorted_as_numbers_and_sets() -> None:
    (panel,) = panels(lattice())
    assert panel.rows == ("layers", ("2", "10", "1,2", "1,2,3,4"))
    assert panel.columns == ("ridge", ("0.01", "100", "1e+08", "auto"))
    assert panel.title == ""


def test_cells_hold_their_points() -> None:
    settings = lattice(alpha=("0.5", "1"), side=("input",))
    found = panels(settings)
    assert [p.title for p in found] == ["alpha 0.5", "alpha 1"]
    for panel in found:
        for r, row in enumerate(panel.rows[1]):
            for c, column in enumerate(panel.columns[1]):
                wanted = {"layers": row, "ridge": column, **panel.fixed, "side": "input"}
                assert settings[panel.points[r, c]] == wanted
    assert sorted(np.concatenate([p.points.ravel() for p in found])) == [*range(32)]


def test_two_longest_axes_are_shown() -> None:
    settings = [{"layers": "1", "ridge": r, "alpha": a} for r in ("1", "2") for a in "345"]
    (panel,) = panels(settings)
    assert (panel.rows[0], panel.columns[0]) == ("ridge", "alpha")


def test_missing_points_leave_empty_cells() -> None:
    (panel,) = panels(lattice()[:-1])
    assert (panel.points == -1).sum() == 1
    figure = heatmap(panel, np.linspace(0.5, 0.9, 15), "AUC")
    assert len(figure.axes[0].texts) == 15


@pytest.mark.parametrize("constant", [True, False])
def test_numbers_are_written_in_their_cells(constant: bool) -> None:
    (panel,) = panels(lattice())
    values = np.full(16, 0.75) if constant else np.linspace(-0.5, 1.0, 16)
    values[3] = np.nan
    axes = heatmap(panel, values, "AUC").axes[0]
    written = {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}
    assert len(written) == 15
    for (column, row), text in written.items():
        assert float(text) == pytest.approx(values[panel.points[row, column]], abs=5e-4)


def test_marked_cells_are_framed_and_named() -> None:
    (panel,) = panels(lattice())
    marks = {"configured": 5, "best, chosen in hindsight": 5}
    figure = heatmap(panel, np.linspace(0.5, 0.9, 16), "AUC", marks=marks)
    frames = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    row, column = np.argwhere(panel.points == 5)[0]
    for frame in frames:
        assert abs(frame.get_center() - (column, row)).max() < 1e-9
    assert len({to_hex(frame.get_edgecolor()) for frame in frames}) == 2
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [*marks]


def test_large_numbers_are_short_on_the_axis() -> None:
    (panel,) = panels(lattice())
    axes = heatmap(panel, np.linspace(0.5, 0.9, 16), "AUC").axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.01", "100", "1e8", "auto"]


def test_numbers_have_three_decimals_and_no_leading_zero() -> None:
    (panel,) = panels([{"layers": "1", "ridge": r} for r in "12345"])
    axes = heatmap(panel, np.array([0.99996, -0.5, 1.0, 0.1234, 123.456]), "AUC").axes[0]
    assert [t.get_text() for t in axes.texts] == ["1.000", "-.500", "1.000", ".123", "123.5"]


def test_colours_span_at_least_a_typical_interval() -> None:
    """So that noise is not stretched over the whole scale."""
    noise, widths = np.array([0.70, 0.71, 0.72]), np.array([0.1, 0.2, 0.9])
    limits = colour_limits(noise, widths, (0, 1))
    assert limits == pytest.approx((0.61, 0.81))
    assert colour_note(noise, widths, limits) == (
        "The values differ by at most 0.020, but the median 95 % interval is 0.200 wide. So that "
        "noise does not look like a pattern, the colours run from 0.61 to 0.81."
    )
    assert colour_limits(noise, 10 * widths, (0, 1)) == (0, 1)
    wide, widths = np.array([0.5, 0.9]), np.array([0.1, np.nan])
    limits = colour_limits(wide, widths, (0, 1))
    assert limits == pytest.approx((0.5, 0.9))
    assert colour_note(wide, widths, limits).endswith("median 95 % interval is 0.100 wide.")
    unknown = np.array([np.nan, np.nan])
    assert colour_limits(wide, unknown, (0, 1)) == pytest.approx((0.5, 0.9))
    assert colour_note(wide, unknown, limits) == "The values differ by at most 0.400."


def test_notes_are_second_lines_and_axes_may_be_chosen() -> None:
    settings = lattice(alpha=("0.5", "1"))
    found = panels(settings, ("alpha", "ridge"))
    assert [(p.rows[0], p.columns[0], p.title) for p in found][:2] == [
        ("alpha", "ridge", "layers 1,2,3,4"),
        ("alpha", "ridge", "layers 2"),
    ]
    notes = [f"n{i}" if i else "" for i in range(len(settings))]
    figure = heatmap(found[0], np.linspace(0.5, 0.9, len(settings)), "AUC", notes=notes)
    texts = [text.get_text() for text in figure.axes[0].texts]
    seconds = [text.partition("\n")[2] for text in texts]
    assert seconds == [notes[point] for point in found[0].points.ravel()]
