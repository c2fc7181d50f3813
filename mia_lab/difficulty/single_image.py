"""The single-image difficulty score: it needs the image pair alone, no victim and no other image.

Source: Shafran, Peleg, Hoshen, ICCV 2021, arXiv:2102.07762, Eq. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mia_lab.difficulty.backbones import Backbone, Layer
from mia_lab.difficulty.features import PREPROCESSES, extract, input_size, resize
from mia_lab.difficulty.probe import check_ridge, repeated_scores
from mia_lab.errors import UserError
from mia_lab.types import DifficultyTable, PairBatch

SIDES = ("input", "target")


class SingleImageDifficulty:
    """Scores every pair by how badly a linear probe predicts its target from deep features.

    Args:
        backbone: the network whose features the probe reads.
        layers: block numbers (1 to 4) or module names, concatenated.
        ridge: the probe's penalty, above 0 (scikit-learn's ``alpha``: summed squared error).
        features_from: which image of the pair the features are of, ``input`` or ``target``.
        preprocess: ``aligned`` or ``official``, see :func:`~mia_lab.difficulty.features.prepare`.
        grid_size: side of the pixel grid on which the target is predicted.
        repeats: number of pixel splits.
        batch_size: images a forward pass; moves scores by float32 rounding only (below 1e-5).
        device: where the backbone runs. The probe runs on the CPU, in float64.

    Raises:
        UserError: an argument is out of range, or the backbone does not have a layer.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[Layer] = (1, 2, 3, 4),
        ridge: float = 1.0,
        features_from: str = "input",
        preprocess: str = "aligned",
        grid_size: int = 56,
        repeats: int = 1,
        batch_size: int = 32,
        device: str | torch.device = "cpu",
    ) -> None:
        if isinstance(layers, int | str):
            raise UserError(f"difficulty.layers={layers}: give a list, such as [{layers}]")
        _check_choice("features_from", features_from, SIDES)
        _check_choice("preprocess", preprocess, PREPROCESSES)
        _check_at_least("grid_size", grid_size, 8)  # one cell of block 4, whose stride is 32
        _check_at_least("repeats", repeats, 1)
        _check_at_least("batch_size", batch_size, 1)
        self.ridge = check_ridge(ridge)
        self.layers = tuple(layers)
        self.features_from = features_from
        self.preprocess = preprocess
        self.grid_size = grid_size
        self.repeats = repeats
        self.batch_size = batch_size
        self.backbone = backbone.to(device)
        backbone.check_layers(self.layers, input_size(preprocess, grid_size))

    def score(
        self,
        batches: Iterable[PairBatch],
        seed: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> DifficultyTable:
        """Difficulty of every pair. One batch is held at a time, whatever their number.

        Args:
            batches: the pairs, in any order and in batches of any size.
            seed: seed of the pixel splits.
            on_progress: called with the number of pairs done so far.

        Returns:
            One row a pair in the order they came, one setting, ``repeats`` scores each.

        Raises:
            UserError: a pair holds NaN or infinite values; the message names it.
            ValueError: an id comes twice.
        """
        scores: dict[str, list[float]] = {}
        for batch in self._chunks(batches):
            self._check_finite(batch)
            for image_id, features, target in self._pieces(batch):
                if image_id in scores:
                    raise ValueError(f"image id {image_id!r} comes twice")
                scores[image_id] = repeated_scores(
                    features,
                    target,
                    ridge=self.ridge,
                    seed=seed,
                    image_id=image_id,
                    repeats=self.repeats,
                )
            if on_progress is not None:
                on_progress(len(scores))
        values = np.array(list(scores.values()), dtype=np.float64)
        return DifficultyTable(
            id=np.array(list(scores), dtype=np.str_),
            layers=np.array([",".join(map(str, self.layers))], dtype=np.str_),
            ridge=np.array([f"{self.ridge:.12g}"], dtype=np.str_),
            score=values.reshape(len(scores), 1, self.repeats),
        )

    def _chunks(self, batches: Iterable[PairBatch]) -> Iterator[PairBatch]:
        for batch in batches:
            for start in range(0, len(batch), self.batch_size):
                rows = slice(start, start + self.batch_size)
                yield PairBatch(batch.ids[rows], batch.x[rows], batch.y[rows])

    def _pieces(self, batch: PairBatch) -> Iterator[tuple[str, list[Tensor], Tensor]]:
        """Each pair's id, feature maps (C, s, s) and target (3, G, G), on the CPU."""
        images = batch.x if self.features_from == "input" else batch.y
        maps = extract(
            self.backbone,
            images,
            self.layers,
            preprocess=self.preprocess,
            grid_size=self.grid_size,
        )
        maps = [m.cpu() for m in maps]
        targets = resize(batch.y, self.grid_size, self.grid_size).cpu()
        for row, image_id in enumerate(batch.ids):
            yield image_id, [m[row] for m in maps], targets[row]

    @staticmethod
    def _check_finite(batch: PairBatch) -> None:
        for side, images in (("input", batch.x), ("target", batch.y)):
            finite = torch.isfinite(images).flatten(1).all(dim=1).tolist()
            if not all(finite):
                raise UserError(
                    f"image {batch.ids[finite.index(False)]!r}: its {side} holds NaN or infinite "
                    "values; repair or remove the file"
                )


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"difficulty.{key}={value}: choose from {', '.join(choices)}")


def _check_at_least(key: str, value: int, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UserError(f"difficulty.{key}={value}: must be a whole number of at least {minimum}")
