"""Which images are easy, and which are hard? Generated ones, so that they may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import shared
from mia_lab.config import build
from mia_lab.config.compose import composed
from mia_lab.data.source import PairSource

HERE = Path(__file__).parent

RUNS = {data: f"+experiment={data}_pix2pix demo_epochs=8 seed=0" for data in shared.NAMES}
SCORES = tuple(RUNS)

SHOWN = 4
"""Of the easiest and of the hardest."""


def ordered(data: str) -> list[shared.Row]:
    """All scored images, easiest first."""
    found = shared.rows(HERE / f"{data}-scores.csv")
    return sorted(found, key=lambda row: (float(row["difficulty"]), row["id"]))


def _source(data: str) -> PairSource:
    return build.source(composed(*RUNS[data].split()).data)


LOOKS = {
    "brightness": lambda pixels: pixels.mean(),
    "contrast": lambda pixels: pixels.std(axis=(0, 1)).mean(),
    "detail": lambda pixels: sum(np.abs(np.diff(pixels, axis=axis)).mean() for axis in (0, 1)),
}
"""Of a target's pixels (H, W, 3): their mean, deviation, and difference of neighbours."""


def looks() -> Iterator[shared.Measurement]:
    """Of each scored image's target."""
    for data in RUNS:
        yield {"data": data, "seed": 0}, partial(_looks, data)


def _looks(data: str) -> Iterator[dict[str, str | float]]:
    source = _source(data)
    for row in shared.read(HERE / f"{data}-scores.csv"):
        pixels = source.load(row["id"]).y.pixels.astype(float)
        yield {"id": row["id"], **{name: look(pixels) for name, look in LOOKS.items()}}


MEASURED = {"looks": looks}


def tables() -> dict[str, str]:
    lines, ranks = [], []
    for data, name in shared.NAMES.items():
        images = ordered(data)
        found = [float(row["difficulty"]) for row in images]
        spread = [f"{found[round(q * (len(found) - 1))]:.4f}" for q in (0, 0.25, 0.5, 0.75, 1)]
        lines.append([name, *spread])
        seen = {row["id"]: row for row in shared.rows(HERE / "looks.csv", data=data)}
        ranks.append([name])
        for look in LOOKS:
            values = [float(seen[row["id"]][look]) for row in images]
            ranks[-1].append(f"{spearmanr(found, values).statistic:+.2f}")
    heads = ["generated", "easiest", "quarter", "median", "three quarters", "hardest"]
    everything = [row for data in RUNS for row in shared.rows(HERE / f"{data}.csv")]
    return {
        "table": shared.markdown(heads, lines),
        "looks": shared.markdown(["generated", *LOOKS], ranks),
        "origin": shared.origin(everything),
    }


def figures() -> dict[str, Figure]:
    return {data: _pictures(data) for data in RUNS}


def _pictures(data: str) -> Figure:
    """Inputs above targets."""
    source, found = _source(data), ordered(data)
    figure = shared.canvas(7.2, 2.5)
    panels = figure.subplots(2, 2 * SHOWN)
    for column, row in enumerate([*found[:SHOWN], *found[-SHOWN:]]):
        pair = source.load(row["id"])
        for axes, picture in zip(panels[:, column], (pair.x, pair.y), strict=True):
            axes.imshow(picture.image())
            axes.axis("off")
        panels[0, column].set_title(f"{float(row['difficulty']):.3f}", fontsize=9)
    figure.text(0.25, 0.99, "easiest", ha="center", va="top", fontsize=9)
    figure.text(0.75, 0.99, "hardest", ha="center", va="top", fontsize=9)
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.93))
    return figure
