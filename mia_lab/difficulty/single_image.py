"""The single-image difficulty score: it needs the image pair alone, no victim and no other image.

Source: Shafran, Peleg, Hoshen, ICCV 2021, arXiv:2102.07762, Eq. 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from annotated_types import Ge, MinLen

from mia_lab.backbones.backbone import Backbone, fastest_batch
from mia_lab.difficulty.features import bytes_per_image, extract, input_size
from mia_lab.difficulty.probe import Ridge
from mia_lab.difficulty.protocol import PixelProtocol
from mia_lab.difficulty.score import (
    FactorBatch,
    Scores,
    Setting,
    check_ridge,
    names_key,
    score_batch,
)
from mia_lab.errors import UserError
from mia_lab.hardware import on_cores
from mia_lab.parameters import RUNTIME, NonNegative, PositiveInt, Side
from mia_lab.types import DifficultyTable, Layer, PairBatch

PRECISIONS = {"float64": torch.float64, "float32": torch.float32}

Layers = Annotated[Sequence[Layer], MinLen(1)]
RidgeSetting = NonNegative | Literal["auto"]


class SingleImageDifficulty:
    """Scores every pair by how badly a linear probe predicts its target from deep features.

    Args:
        backbone: the network whose features the probe reads.
        layers: block numbers (1 to 4) or module names, concatenated.
        ridge: the probe's penalty (scikit-learn's ``alpha``: summed squared error), 0 for least
            squares, or ``auto``: chosen for each image by generalised cross-validation.
        features_from: which image of the pair the features are of.
        preprocess: see :func:`~mia_lab.difficulty.features.prepare`.
        grid_size: side of the pixel grid on which the target is predicted.
        protocol, folds, repeats, error: see :class:`~mia_lab.difficulty.protocol.PixelProtocol`.
        precision: of the probe's sums over pixels. In float32 scores
            differ by less than 1e-4 of themselves from a penalty of 1 on; penalties that drown in
            its rounding, and ``auto``, are refused.
        maps: keep the error of every pixel; needs ``kfold``.
        keep_gb: factors are stored up to so many GB, so that another layer or penalty needs no
            second look at the images.
        batch_size: images a forward pass; moves scores by float32 rounding only (below 1e-5).
            None: as many as are fastest, 32 on a GPU and 2 on each core of a CPU.
        grid: lists of further ``layers`` and ``ridge``; every combination is scored.
        device: where backbone and probe run.

    Raises:
        UserError: arguments do not go together, or the backbone does not have a layer.
    """

    version: ClassVar[int] = 2
    needs_backbone: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        layers: Layers = (1, 2, 3, 4),
        ridge: RidgeSetting = 1.0,
        features_from: Side = "input",
        preprocess: Literal["aligned", "official"] = "aligned",
        grid_size: Annotated[int, Ge(8)] = 56,  # one cell of block 4, whose stride is 32
        protocol: Literal["holdout", "kfold"] = "holdout",
        folds: Annotated[int, Ge(2)] = 5,
        repeats: PositiveInt = 1,
        error: Literal["l1", "l2"] = "l1",
        precision: Literal["float64", "float32"] = "float64",
        maps: bool = False,
        keep_gb: Annotated[NonNegative, RUNTIME] = 2.0,
        batch_size: Annotated[PositiveInt | None, RUNTIME] = None,
        grid: Mapping[str, Sequence[Any]] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if maps and protocol != "kfold":
            raise UserError(
                f"difficulty.maps=true with difficulty.protocol={protocol} would leave pixels "
                "without a held-out error; use difficulty.protocol=kfold"
            )
        if protocol == "kfold" and folds > grid_size**2:
            raise UserError(f"difficulty.folds={folds}: there are only {grid_size**2} pixels")
        self.protocol = PixelProtocol(protocol, folds, repeats, error)
        self.settings = _lattice(layers, ridge, grid or {})
        if precision != "float64" and any(s.ridge == "auto" for s in self.settings):
            raise UserError(
                f"difficulty.precision={precision}: a penalty of auto, in difficulty.ridge or "
                "difficulty.grid.ridge, weighs eigenvalues that drown in its rounding; use float64"
            )
        self.features_from = features_from
        self.preprocess = preprocess
        self.grid_size = grid_size
        self.precision = precision
        self.maps = maps
        self.keep_gb = keep_gb
        self.backbone = backbone.to(device)
        self.batch_size = batch_size or fastest_batch(self.backbone)
        wanted = tuple(dict.fromkeys(layer for s in self.settings for layer in s.layers))
        configured, size = self.settings[0].layers, input_size(preprocess, grid_size)
        backbone.check_layers(configured, size)
        others = [layer for layer in wanted if layer not in configured]
        backbone.check_layers(others, size, "difficulty.grid.layers")
        self.wanted_layers: tuple[Layer, ...] = wanted
        # All numbered blocks together, so that what is stored serves every choice of them.
        numbered = [*backbone.blocks] if any(isinstance(layer, int) for layer in wanted) else []
        named = [layer for layer in wanted if isinstance(layer, str)]
        self.stored_layers: tuple[Layer, ...] = (*numbered, *named)

    def mapping(self) -> Self:
        """The configured setting alone, with the error of every pixel: over folds, undivided."""
        found = copy.copy(self)
        found.settings = self.settings[:1]
        found.wanted_layers = found.settings[0].layers
        found.protocol = PixelProtocol("kfold", self.protocol.folds, 1, self.protocol.error)
        found.maps = True
        return found

    def bytes_per_image(self) -> int:
        """What the factors of one pair take."""
        return bytes_per_image(self.backbone, self.stored_layers, self.preprocess, self.grid_size)

    def factors(
        self, batches: Iterable[PairBatch], layers: Sequence[Layer] | None = None
    ) -> Iterator[FactorBatch]:
        """Compact factors of pairs, batch by batch, whatever their number.

        Args:
            batches: the pairs, in any order and in batches of any size.
            layers: of which layers; default those that the settings use.

        Raises:
            UserError: a pair holds NaN or infinite values; the message names it.
        """
        extracted = partial(
            extract,
            self.backbone,
            layers=self.wanted_layers if layers is None else layers,
            features_from=self.features_from,
            preprocess=self.preprocess,
            grid_size=self.grid_size,
        )
        parts = (part for batch in batches for part in batch.split(self.batch_size))
        return on_cores(self.backbone.device)(extracted, parts)

    def score(
        self,
        factors: Iterable[FactorBatch],
        seed: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> DifficultyTable:
        """Difficulty of every pair under every setting.

        Args:
            factors: of at least one pair, as :meth:`factors` gives them; held batch by batch.
            seed: seed of the pixel divisions.
            on_progress: called with the number of pairs done so far.

        Returns:
            One row a pair in the order they came; the configured setting first.

        Raises:
            UserError: a score is not finite, or a penalty too small for the precision.
            ValueError: an id comes twice.
        """
        ids: list[str] = []
        found: list[Scores] = []
        device = self.backbone.device
        # One image at a time keeps the caches of a CPU warm; a GPU wants many.
        size = 1 if device.type == "cpu" else self.batch_size
        parts = (part for batch in factors for part in batch.split(size))

        def scored(part: FactorBatch) -> tuple[tuple[str, ...], Scores]:
            return part.ids, self._score(part.to(device), seed)

        for names, scores in on_cores(device)(scored, parts):
            found.append(scores)
            ids.extend(names)
            if on_progress is not None:
                on_progress(len(ids))
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise ValueError(f"image id {twice!r} comes twice")
        n = len(self.settings)
        return DifficultyTable(
            id=np.array(ids, dtype=np.str_),
            backbone=np.array([self.backbone.label] * n, dtype=np.str_),
            features_from=np.array([self.features_from] * n, dtype=np.str_),
            layers=np.array([names_key(s.layers) for s in self.settings], dtype=np.str_),
            ridge=np.array([ridge_key(s.ridge) for s in self.settings], dtype=np.str_),
            score=np.concatenate([s.score for s in found]),
            penalty=np.concatenate([s.penalty for s in found]),
            rank=np.concatenate([s.rank for s in found]),
            map=np.concatenate([s.map for s in found]),
        )

    def _score(self, batch: FactorBatch, seed: int) -> Scores:
        dtype = PRECISIONS[self.precision]
        return score_batch(batch, self.settings, self.protocol, seed, dtype, maps=self.maps)


def ridge_key(ridge: Ridge) -> str:
    """A penalty as a word."""
    return ridge if isinstance(ridge, str) else f"{ridge:.12g}"


def _lattice(
    layers: Sequence[Layer], ridge: Ridge, grid: Mapping[str, Sequence[Any]]
) -> tuple[Setting, ...]:
    """The configured setting, then every other combination of layers and penalties."""
    subsets = [_checked(layers, "difficulty.layers")]
    subsets += [_checked(choice, "difficulty.grid.layers") for choice in grid.get("layers", ())]
    penalties = [check_ridge(ridge)]
    penalties += [check_ridge(r, "difficulty.grid.ridge") for r in grid.get("ridge", ())]
    return tuple(dict.fromkeys(Setting(s, r) for s in subsets for r in penalties))


def _checked(layers: Any, key: str) -> tuple[Layer, ...]:
    """One subset of layers in a fixed order: it is a set, however it is written."""
    if isinstance(layers, int | str) or not isinstance(layers, Sequence):
        raise UserError(f"{key}={layers}: give a list, such as [{layers}]")
    shown = f"{key}={list(layers)}"
    if not layers:
        raise UserError(f"{shown}: name at least one layer, such as [1]")
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, int | str):
            raise UserError(f"{shown}: {layer} is no layer; give numbers or module names")
        if layers.count(layer) > 1:
            raise UserError(f"{shown}: {layer} is there twice")
    numbers = sorted(layer for layer in layers if isinstance(layer, int))
    return (*numbers, *(layer for layer in layers if not isinstance(layer, int)))
