"""What attacks are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mia_lab.attacks.needs import Given
from mia_lab.errors import UserError
from mia_lab.types import (
    VICTIM,
    DifficultyTable,
    Floats,
    PairBatch,
    Reconstructions,
    Role,
    Split,
    reference,
)

if TYPE_CHECKING:
    from mia_lab.victims.denoiser import Denoiser


def _no_denoiser() -> Denoiser:
    raise UserError("an attack wants the network of the model; see Needs.denoiser")


def _no_features(_: Sequence[str]) -> Floats:
    raise UserError("an attack wants pooled features, and does not say so; see Needs.features")


@dataclass(frozen=True)
class Evidence:
    """Everything an attack may look at.

    Attributes:
        known: the roles of reference models' images and of auxiliaries, never those of the
            candidates under attack (see :meth:`Split.without_candidates`).
        reconstructions: the victim's answers, the first to each image.
        difficulty: of all images.
        pairs: the images with the given ids, in batches; an attacker holds the query pairs.
        references: answers of each reference victim, under the name :data:`VICTIM`; those of
            number k were trained on ``known.ids(Role.MEMBER, model=reference(k))``.
        repeats: its further answers to the same images, one table for each repeat.
        altered: the victim's answers to altered queries; only their errors are kept.
        features: pooled features (N, F) of the images with the given ids.
        denoiser: opens the network inside a diffusion model.
        seed: of whatever an attack draws at random.
    """

    known: Split
    reconstructions: Reconstructions
    difficulty: DifficultyTable
    pairs: Callable[[Sequence[str]], Iterable[PairBatch]]
    repeats: tuple[Reconstructions, ...] = ()
    references: tuple[Reconstructions, ...] = ()
    altered: Reconstructions | None = None
    features: Callable[[Sequence[str]], Floats] = _no_features
    denoiser: Callable[[], Denoiser] = _no_denoiser
    seed: int = 0

    def given(self) -> Given:
        """How much of everything there is; of references, what can be compared is not counted."""
        return Given(
            references=len(self.references),
            unseen=len(self.references),
            seen=len(self.references),
            auxiliaries=len(self.known.ids(Role.AUXILIARY)),
            shortest_side=min(self.reconstructions.images.shape[-2:]),
            answers=len(self.answers),
            denoiser=self.denoiser is not _no_denoiser,
        )

    @property
    def answers(self) -> tuple[Reconstructions, ...]:
        """All answers of the victim, one table for each repeat."""
        return (self.reconstructions, *self.repeats)

    def errors(self, ids: Sequence[str], model: str = VICTIM) -> Floats:
        """Errors of every answer to some images: float64 (K, len(ids))."""
        return np.array([table.mean_error(ids, model) for table in self.answers])

    def drawn(self, ids: Sequence[str], model: str = VICTIM) -> NDArray[np.float32]:
        """Every answer to some images: float32 (K, len(ids), C, H, W), in [0, 1]."""
        rows = [self.reconstructions.row(i, model) for i in ids]
        return np.array([table.images[rows] for table in self.answers])

    @property
    def resolution(self) -> float:
        """The smallest error that a target of 8 bits can show: one level in one value of an image.

        A smaller error is that of a perfect answer.
        """
        return float(1 / (255 * math.prod(self.reconstructions.images.shape[1:])))

    def pool(self, number: int = 0) -> tuple[str, ...]:
        """Images that a reference victim was trained on or could have been."""
        return self.known.candidates(model=reference(number))

    def is_in(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which reference was trained on which image: bool (K, len(ids))."""
        members = (
            set(self.known.ids(Role.MEMBER, model=reference(k)))
            for k in range(len(self.references))
        )
        return np.array([[i in inside for i in ids] for inside in members], dtype=bool)

    def reference_errors(self, ids: Sequence[str]) -> Floats:
        """Errors of each reference: float64 (K, len(ids))."""
        return np.array([answers.mean_error(ids) for answers in self.references])

    def turn(self, number: int) -> Evidence:
        """What one has where a reference is the victim, and the others are its references."""
        others = [k for k in range(len(self.references)) if k != number]
        names = {reference(k): reference(index) for index, k in enumerate(others)}
        rows = np.isin(self.known.model, [*names])
        known = Split(*(getattr(self.known, field.name)[rows] for field in fields(Split)))
        renamed = np.array([names[str(m)] for m in known.model], dtype=np.str_)
        return replace(
            self,
            known=replace(known, model=renamed),
            reconstructions=self.references[number],
            repeats=(),
            denoiser=_no_denoiser,
            references=tuple(self.references[k] for k in others),
            altered=None,
        )
