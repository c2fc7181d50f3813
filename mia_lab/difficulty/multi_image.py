"""The multi-image difficulty: how badly models that never saw an image reconstruct it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mia_lab.difficulty.whole_image import table
from mia_lab.types import DifficultyTable, Reconstructions


class MultiImage:
    """Mean L1 error of the reference victims that were not trained on an image.

    Shafran et al. 2021 (arXiv:2102.07762, Table 2, "multi-image"), who train one. The membership
    error with it, at alpha 1, is the difficulty calibration of Watson et al. 2022.
    """

    version: ClassVar[int] = 1
    needs_references: ClassVar[bool] = True

    def score_references(
        self, references: Sequence[Reconstructions], members: Sequence[Sequence[str]]
    ) -> DifficultyTable:
        """Difficulty of all images that the reference victims were asked to translate.

        Args:
            references: answers of each, to the same images.
            members: what each was trained on.

        Raises:
            ValueError: all of them were trained on some image.
        """
        ids = tuple(str(i) for i in references[0].id)
        errors = np.array([answers.mean_error(ids) for answers in references])
        seen = np.array([[i in inside for i in ids] for inside in map(set, members)])
        if seen.all(0).any():
            raise ValueError("an image was in the training of every reference victim")
        return table(ids, np.nanmean(np.where(seen, np.nan, errors), axis=0))
