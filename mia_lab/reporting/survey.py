"""A survey of difficulty as pictures, files and sentences."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mia_lab.data.picture import visible
from mia_lab.evaluation.results import Extremes, Survey
from mia_lab.reporting.canvas import (
    Picture,
    colour_bar,
    new_figure,
    png,
    shortened,
    shown_channels,
    tidy,
)
from mia_lab.reporting.files import write_csv, write_json, write_pictures
from mia_lab.reporting.frames import (
    agreement_frame,
    difficulty_frame,
    setting_axes,
    setting_labels,
)
from mia_lab.reporting.heatmap import Panel, heatmap, panels
from mia_lab.types import Floats

READABLE_SETTINGS = 16
"""Most settings whose correlations with each other fit one picture."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def draw(survey: Survey) -> tuple[Picture, ...]:
    """All pictures: ``histogram``, ``gallery`` and, for several settings, ``agreement``."""
    score = survey.difficulty.mean()[:, 0]
    alt = f"Number of images by difficulty, from {score.min():.4f} to {score.max():.4f}."
    pictures = [Picture("histogram", "Distribution", alt, png(histogram_figure(score)))]
    ends = ", ".join(survey.easiest.ids), ", ".join(survey.hardest.ids)
    alt = f"The easiest images: {ends[0]}. The hardest: {ends[1]}."
    if note := _note(survey.easiest):
        alt = f"{alt} Shown are {note}."
    figure = gallery_figure(survey.easiest, survey.hardest)
    title = "Easiest and hardest images"
    pictures.append(Picture("gallery", title, alt, png(figure), private=True))
    return (*pictures, *_agreement_pictures(survey))


def histogram_figure(score: Floats) -> Figure:
    """Number of images by their difficulty."""
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    bins = int(np.clip(np.sqrt(len(score)), 5, 60))
    axes.hist(score, bins=bins, color="#0072B2", edgecolor="white", lw=0.5)
    axes.axvline(float(np.median(score)), color="#D55E00", lw=1.5, ls="--", label="median")
    axes.set_xlabel("difficulty (error of the probe on held-out pixels)")
    axes.set_ylabel("images")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return figure


def _note(group: Extremes) -> str:
    return shown_channels(group.x.shape[1], group.y.shape[1])


def gallery_figure(easiest: Extremes, hardest: Extremes) -> Figure:
    """The easiest and the hardest images side by side: input, target and, if kept, error map."""
    groups = (("Easiest", easiest), ("Hardest", hardest))
    shown = [kind for kind in ("x", "y", "map") if getattr(easiest, kind).shape[-1]]
    n = max(len(easiest.ids), len(hardest.ids))
    maps = np.concatenate([easiest.map.ravel(), hardest.map.ravel()])
    # Not the very largest: a few pixels would leave the rest in the dark.
    brightest = max(float(np.quantile(maps, 0.99)), 1e-6) if len(maps) else 1.0
    # Placed by hand, in inches, so that pictures of all groups line up.
    tile, gap, left, head, foot = 0.95, 0.04, 0.62, 0.5, 0.62 if "map" in shown else 0.06
    tile_height = tile * easiest.x.shape[2] / easiest.x.shape[3]
    band = head + len(shown) * (tile_height + gap)
    note = _note(easiest)
    foot += 0.18 if note else 0
    width, height = left + n * (tile + gap), 2 * band + foot
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    for row, (title, group) in enumerate(groups):
        top = height - row * band
        figure.text(
            0.06 / width, (top - 0.12) / height, title, fontsize=10.5, va="top", weight="bold"
        )
        for i, (image_id, score) in enumerate(zip(group.ids, group.score, strict=True)):
            x = left + i * (tile + gap)
            words = f"{score:.4f}\n{shortened(image_id, 15)}"
            place = (x + tile / 2) / width, (top - head + 0.05) / height
            figure.text(*place, words, fontsize=7.5, ha="center", va="bottom", parse_math=False)
            for line, kind in enumerate(shown):
                bottom = top - head - (line + 1) * tile_height - line * gap
                box = x / width, bottom / height, tile / width, tile_height / height
                axes = figure.add_axes(box, xticks=[], yticks=[])
                _show(axes, getattr(group, kind)[i], brightest)
        for line, kind in enumerate(shown):
            centre = top - head - line * (tile_height + gap) - tile_height / 2
            name = {"x": "input", "y": "target", "map": "error"}[kind]
            figure.text(
                (left - 0.08) / width, centre / height, name, fontsize=9, ha="right", va="center"
            )
    if note:
        figure.text(left / width, 0.05 / height, note, fontsize=7.5, va="bottom")
    if "map" in shown:
        box = (0.25, (foot - 0.22) / height, 0.5, 0.08 / height)
        colour_bar(figure, figure.axes[len(shown) - 1].images[0], box, "error of each pixel")
    return figure


def _show(axes: Any, picture: Any, brightest: float) -> None:
    if picture.ndim == 2:
        colours: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": brightest}
        # A grid of G x G pixels over the whole picture, whatever its aspect ratio.
        axes.imshow(picture, interpolation="nearest", aspect="auto", **colours)
    else:
        axes.imshow(visible(picture).transpose(1, 2, 0))
    axes.set_axis_off()


def _agreement_pictures(survey: Survey) -> list[Picture]:
    """Rank correlations: with the configured setting over the grid, and of all with each other."""
    table, correlation = survey.difficulty, survey.correlation
    settings = [setting_axes(table, i) for i in range(len(table.layers))]
    if len(settings) < 2:
        return []
    pictures = []
    with_configured = correlation[0]
    for number, panel in enumerate(panels(settings), start=1):
        limits = _limits(with_configured)
        marks = {"configured": 0}
        figure = heatmap(panel, with_configured, "rank correlation", limits=limits, marks=marks)
        title = "Agreement with the configured setting"
        title += f": {panel.title}" if panel.title else ""
        alt = (
            "Spearman's rank correlation with the configured setting, for each "
            f"{panel.rows[0]} and {panel.columns[0]}."
        )
        name = "agreement" if number == 1 else f"agreement-{number}"
        pictures.append(Picture(name, title, alt, png(figure)))
    if len(settings) <= READABLE_SETTINGS:
        labels = tuple(setting_labels(table))
        every = np.arange(correlation.size).reshape(correlation.shape)
        panel = Panel(("setting", labels), ("", labels), {}, every)
        figure = heatmap(
            panel, correlation.ravel(), "rank correlation", limits=_limits(correlation)
        )
        alt = "Spearman's rank correlation between all settings."
        pictures.append(Picture("agreement-all", "Agreement of all settings", alt, png(figure)))
    return pictures


def _limits(values: Floats) -> tuple[float, float]:
    """From the smallest correlation, at most 0, to 1: colours mean the same in every picture."""
    finite = values[np.isfinite(values)]
    return (min(float(finite.min()), 0.0) if len(finite) else 0.0), 1.0


def write_files(survey: Survey, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``difficulty.csv``, ``agreement.csv`` if it applies, ``metrics.json`` and pictures.

    Args:
        survey: the result.
        pictures: from :func:`draw`.
        folder: where to write; exists.
    """
    write_json(metrics(survey), folder / "metrics.json")
    write_csv(difficulty_frame(survey.difficulty), folder / "difficulty.csv")
    agreement = agreement_frame(survey)
    if len(agreement):
        write_csv(agreement, folder / "agreement.csv")
    write_pictures(pictures, folder)


def metrics(survey: Survey) -> dict[str, Any]:
    """The content of ``metrics.json``, of plain types only."""
    table = survey.difficulty
    score = table.mean()[:, 0]
    labels = setting_labels(table)
    reliability = survey.reliability
    return {
        "name": survey.name,
        "n_images": len(score),
        "difficulty": {
            "mean": float(score.mean()),
            "sd": float(score.std()),
            "quantiles": {f"{q:g}": float(np.quantile(score, q)) for q in QUANTILES},
        },
        "reliability": None if reliability is None else vars(reliability),
        "rank_correlation_with_configured": {
            label: _defined(value)
            for label, value in zip(labels[1:], survey.correlation[0, 1:], strict=True)
        },
        "timing_s": dict(survey.timing_s),
        "record": dict(survey.record),
    }


def summary(survey: Survey) -> list[str]:
    """The findings in sentences."""
    score = survey.difficulty.mean()[:, 0]
    n, size = len(score), f"at {survey.image_size}"
    if n == 1:
        return [f"One image {size}, {survey.easiest.ids[0]}: difficulty {score[0]:.3g}."]
    low, middle, high = (np.quantile(score, q) for q in (0.05, 0.5, 0.95))
    lines = [
        f"{n} images {size}: median difficulty {middle:.3g}, 90 % of them between {low:.3g} and "
        f"{high:.3g}.",
        f"Easiest: {', '.join(survey.easiest.ids[: min(3, n // 2)])}. "
        f"Hardest: {', '.join(survey.hardest.ids[: min(3, n // 2)])}.",
        _reliability_sentence(survey),
    ]
    others = survey.correlation[0, 1:]
    if np.isfinite(others).any():
        least = int(np.nanargmin(others)) + 1
        lines.append(
            f"Of {len(others)} other settings, {setting_labels(survey.difficulty)[least]} agrees "
            f"least with the configured setting: rank correlation {others[least - 1]:.3f}."
        )
    return lines


def _reliability_sentence(survey: Survey) -> str:
    found = survey.reliability
    if survey.difficulty.score.shape[2] == 1:
        return (
            "Reliability: not measured. difficulty.repeats=5 repeats each score with five "
            "divisions of the pixels."
        )
    if found is None or found.icc_single <= 0:
        return (
            "Reliability: not measurable, because scores of different images differ no more than "
            "scores of one image under different divisions of its pixels."
        )
    return (
        f"Reliability: the score of one image has a standard deviation of {found.within_sd:.2g} "
        f"over random divisions of its pixels; the scores of different images have one of "
        f"{found.between_sd:.2g}. The intraclass correlation is {found.icc_single:.3f} for one "
        f"division and {found.icc_mean:.3f} for the mean of {found.n_repeats}."
    )


def _defined(value: float) -> float | None:
    """A correlation, or None where a setting scores all images alike."""
    return float(value) if np.isfinite(value) else None
