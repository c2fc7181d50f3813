"""A difficulty learned from labels, such as how long people search an image."""

from __future__ import annotations

import csv
import logging
import math
import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.data.reading import MAX_MEGAPIXELS, REFUSE, Reading, decode
from mia_lab.data.transforms import ResizeMode, Resizing, in_unit
from mia_lab.errors import UserError
from mia_lab.parameters import (
    RUNTIME,
    File,
    ImageSize,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Side,
    Text,
    ValueRanges,
    both_ranges,
)
from mia_lab.store import files_below
from mia_lab.types import Floats, PairBatch

log = logging.getLogger(__name__)

LABELS_FILE = "labels.csv"
FEWEST = 10
PENALTIES = np.logspace(-1, 5, 13)
"""Of the ridge regression, which leave-one-out errors choose from."""


class Supervised:
    """Ridge regression from pooled deep features to the difficulty of labelled pictures.

    Shafran et al. 2021 (arXiv:2102.07762, Table 2, "supervised"), after Tudor Ionescu et al. 2016,
    "How hard can it be? Estimating the difficulty of visual search in an image", whose labels are
    response times of people. Scores are in the labels' unit: choose ``attack.alpha`` accordingly.

    Args:
        backbone: whose features.
        folder: holds ``labels.csv`` with the columns ``file`` and ``difficulty``, and the files.
        image_size, resize: of the pictures to score; labelled ones are resized likewise, so that
            they are as sharp.
        of: which picture of a pair is scored.
        value_range, input_channels, target_channels, alpha, exif, page, max_megapixels: as of
            :class:`mia_lab.data.pairs.FolderPairs`; labelled pictures are read as those that are
            scored.

    Raises:
        UserError: the labels cannot be read; or, with the first score, a picture cannot.
    """

    version: ClassVar[int] = 1
    needs_backbone: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        folder: File,
        image_size: ImageSize,
        of: Side = "target",
        resize: ResizeMode = "squash",
        value_range: ValueRanges | None = None,
        input_channels: PositiveInt | None = None,
        target_channels: PositiveInt | None = None,
        alpha: Text = REFUSE,
        exif: Literal["refuse", "apply"] = "refuse",
        page: NonNegativeInt | None = None,
        max_megapixels: Annotated[Positive, RUNTIME] = MAX_MEGAPIXELS,
    ) -> None:
        self.backbone, self.of = backbone, of
        self._resizing = Resizing.of(image_size, resize)
        side = ("input", "target").index(of)
        span, channels = both_ranges(value_range)[side], (input_channels, target_channels)[side]
        self._reading = Reading(span, channels, alpha, exif, page, max_megapixels, "difficulty")
        self._labels = _read(Path(folder))
        self._weights: tuple[Floats, float] | None = None

    def score_images(self, batch: PairBatch) -> Floats:
        if self._weights is None:
            self._weights = self._fit()
        coefficients, intercept = self._weights
        pictures = batch.y if self.of == "target" else batch.x
        scores: Floats = pool(self.backbone, pictures) @ coefficients + intercept
        return scores

    def _fit(self) -> tuple[Floats, float]:
        """Weights of the features as they are, and intercept."""
        rows = []
        for path in self._labels:
            small = self._resizing(decode(path, reading=self._reading))
            rows.append(pool(self.backbone, in_unit([small])))
        scaler = StandardScaler()
        x, y = scaler.fit_transform(np.concatenate(rows)), np.array([*self._labels.values()])
        fit = RidgeCV(PENALTIES, store_cv_results=True).fit(x, y)
        left_out = float(fit.cv_results_[:, int(np.argmin(fit.cv_results_.mean(0)))].mean())
        log.info(
            "difficulty from %d labels: left-one-out R2 %.2f, penalty %g",
            *(len(y), 1 - left_out / max(float(y.var()), 1e-300), fit.alpha_),
        )
        coefficients: Floats = fit.coef_ / scaler.scale_
        return coefficients, float(fit.intercept_ - scaler.mean_ @ coefficients)


def _read(folder: Path) -> dict[Path, float]:
    """Difficulty of each labelled picture.

    Raises:
        UserError: the file of labels is missing, damaged, or too short.
    """
    path = folder / LABELS_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"difficulty.folder={folder}: {path} cannot be read ({error})") from error
    # The same as the key is a hash of; others could change without a new key.
    inside = set(files_below(folder, os.path.isfile))
    labels: dict[Path, float] = {}
    for number, row in enumerate(rows, start=2):
        try:
            picture, value = folder / row["file"], float(row["difficulty"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}, line {number}: needs the columns file and difficulty, a number"
            ) from error
        if not math.isfinite(value):
            raise UserError(f"{path}, line {number}: difficulty={value} is not finite")
        if picture in labels:
            raise UserError(f"{path}, line {number}: names {row['file']} again; label it once")
        labels[picture] = value
        if picture not in inside:
            raise UserError(f"{path}, line {number}: {row['file']}: no such file in {folder}")
    if len(labels) < FEWEST:
        raise UserError(f"{path}: {len(labels)} labels are too few to learn from; give {FEWEST}")
    return labels
