"""The frozen tables that pass between the stages of an audit.

Rows are joined by id (and model), never by position. Images are float32 NCHW RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Strings = NDArray[np.str_]
Floats = NDArray[np.float64]

Layer = int | str
"""A block of a backbone, numbered 1 to 4 by its stride (4 to 32), or the name of a module."""

VICTIM = "victim"
"""The model under audit. Reference models are named ``reference-0``, ``reference-1``, ..."""

IDENTITY = "identity"
"""The transform of an image that is queried as it is."""


class Role(StrEnum):
    """What one image is to one model."""

    MEMBER = "member"
    NONMEMBER = "nonmember"
    AUXILIARY = "auxiliary"


@dataclass(frozen=True)
class PairBatch:
    """A batch of (input, target) pairs.

    Attributes:
        ids: N image ids.
        x: float32 (N, C, H, W) in [0, 1], the input domain (label map, map).
        y: float32 (N, 3, H, W) in [0, 1], the output domain (photo, satellite image).
    """

    ids: tuple[str, ...]
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        """The same batch on another device."""
        x, y = (t.to(device, non_blocking=non_blocking) for t in (self.x, self.y))
        return PairBatch(self.ids, x, y)


@dataclass(frozen=True)
class Split:
    """Which image plays which role for which model: one row per (model, image).

    The victim's rows and those of K reference models live in the same table. A model's rows with
    role ``member`` are its training set; ``nonmember`` rows are candidates it never saw;
    ``auxiliary`` rows are reserved and seen by neither victim nor attack unless asked for.

    Attributes:
        id: (R,) image ids, unique within one model.
        role: (R,) values of :class:`Role`.
        group: (R,) cluster of the image (scene, patient, city), "" where none is known.
        model: (R,) ``victim`` or ``reference-<k>``.
        content: (R,) sha256 of the decoded pair, so that a manifest is checked against the files.
    """

    id: Strings
    role: Strings
    group: Strings
    model: Strings
    content: Strings

    def ids(self, *roles: Role, model: str = VICTIM) -> tuple[str, ...]:
        """Ids of one model's images with any of the given roles, in table order."""
        rows = (self.model == model) & np.isin(self.role, [str(role) for role in roles])
        return tuple(str(i) for i in self.id[rows])

    def candidates(self, model: str = VICTIM) -> tuple[str, ...]:
        """Ids of the images under attack: members and non-members, in table order."""
        return self.ids(Role.MEMBER, Role.NONMEMBER, model=model)

    def is_member(self, ids: Sequence[str], model: str = VICTIM) -> NDArray[np.bool_]:
        """Ground truth for candidates: bool (len(ids),).

        Raises:
            KeyError: an id is not a candidate of this model.
        """
        truth = dict.fromkeys(self.ids(Role.MEMBER, model=model), True)
        truth |= dict.fromkeys(self.ids(Role.NONMEMBER, model=model), False)
        return np.array([truth[i] for i in ids], dtype=bool)

    def without_candidates(self, model: str = VICTIM) -> Split:
        """What an attacker on one model may know: reference models and auxiliaries."""
        known = (self.model != model) | (self.role == str(Role.AUXILIARY))
        return Split(*(getattr(self, field.name)[known] for field in fields(self)))


@dataclass(frozen=True)
class Reconstructions:
    """What the queried models answered: one row per (model, image, transform, repeat).

    Attributes:
        model: (R,) which model answered.
        id: (R,) image ids.
        transform: (R,) how the query was altered (``identity``, ``hflip``, ``crop-3``, ...).
        repeat: int64 (R,) index of the repeated query, for victims that answer at random.
        error: float64 (R,) mean absolute error against the target, in [0, 1] (Eq. 1 of the paper).
        images: float32 (R, 3, H, W) in [0, 1], the answers; may be a read-only memory map.
    """

    model: Strings
    id: Strings
    transform: Strings
    repeat: NDArray[np.int64]
    error: Floats
    images: NDArray[np.float32]

    def mean_error(
        self, ids: Sequence[str], model: str = VICTIM, transform: str | None = IDENTITY
    ) -> Floats:
        """Error of one model averaged over its repeats (and transforms, if None): (len(ids),).

        Raises:
            KeyError: the model was never queried with one of the ids.
        """
        rows = self.model == model
        if transform is not None:
            rows &= self.transform == transform
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for i, e in zip(self.id[rows].tolist(), self.error[rows].tolist(), strict=True):
            sums[i] = sums.get(i, 0.0) + e
            counts[i] = counts.get(i, 0) + 1
        return np.array([sums[i] / counts[i] for i in ids], dtype=np.float64)

    def row(self, image_id: str, model: str = VICTIM, transform: str = IDENTITY) -> int:
        """Index of the first answer for an image.

        Raises:
            KeyError: the model was never queried with this image.
        """
        rows = np.flatnonzero(
            (self.model == model) & (self.id == image_id) & (self.transform == transform)
        )
        if not len(rows):
            raise KeyError(image_id)
        return int(rows[0])


@dataclass(frozen=True)
class DifficultyTable:
    """Difficulty of every image under every setting; the configured setting comes first.

    Attributes:
        id: (N,) image ids.
        backbone: (S,) whose features, such as "tf_efficientnet_lite0 (packaged)"; "" where there
            are none. So for the other columns that name a setting.
        features_from: (S,) of which image of the pair, "input" or "target".
        layers: (S,) of which layers, such as "1,2,3,4".
        ridge: (S,) the penalty asked for, such as "1" or "auto".
        score: float64 (N, S, T), T repeats; same unit as the reconstruction error.
        penalty: float64 (N, S, T), the penalty used, which differs where ``auto`` chose it.
        rank: int64 (N, S, T), rank of the probe's columns where the penalty is 0, else -1.
        map: float32 (N, G, G), error of each pixel under the first setting; (N, 0, 0) unless asked
            for.
    """

    id: Strings
    backbone: Strings
    features_from: Strings
    layers: Strings
    ridge: Strings
    score: Floats
    penalty: Floats
    rank: NDArray[np.int64]
    map: NDArray[np.float32]

    def mean(self) -> Floats:
        """Scores averaged over the repeats: (N, S)."""
        mean: Floats = np.asarray(self.score.mean(axis=2))
        return mean

    def column(self, ids: Sequence[str], setting: int = 0) -> Floats:
        """Difficulty (len(ids),), mean over repeats, under one setting (default: the configured).

        Raises:
            KeyError: an id is not in the table.
        """
        rows = {str(i): j for j, i in enumerate(self.id)}
        mean: Floats = self.score[[rows[i] for i in ids], setting].mean(axis=1)
        return mean


@dataclass(frozen=True)
class Evidence:
    """Everything an attack may look at.

    Attributes:
        known: the roles of reference models' images and of auxiliaries, never those of the
            candidates under attack (see :meth:`Split.without_candidates`).
        reconstructions: answers of the victim and of reference models.
        difficulty: of all images.
        pairs: the images with the given ids, in batches; an attacker holds the query pairs.
    """

    known: Split
    reconstructions: Reconstructions
    difficulty: DifficultyTable
    pairs: Callable[[Sequence[str]], Iterable[PairBatch]]


@dataclass(frozen=True)
class ScoreTable:
    """The outcome of one attack on one model; higher means more likely a member.

    Attributes:
        attack: name of the attack.
        model: the model under attack.
        id: (N,) image ids.
        score: float64 (N,), finite.
    """

    attack: str
    model: str
    id: Strings
    score: Floats

    def column(self, ids: Sequence[str]) -> Floats:
        """Scores of the given images: (len(ids),).

        Raises:
            KeyError: an id has no score.
        """
        rows = {str(i): j for j, i in enumerate(self.id)}
        return np.asarray(self.score, dtype=np.float64)[[rows[i] for i in ids]]


@dataclass(frozen=True)
class Roc:
    """An exact ROC curve, from (0, 0) to (1, 1), one point per distinct score.

    Attributes:
        fpr, tpr: float64 (P,), non-decreasing, in [0, 1].
        threshold: float64 (P,), non-increasing; "member" means score >= threshold; starts at +inf.
    """

    fpr: Floats
    tpr: Floats
    threshold: Floats


@dataclass(frozen=True)
class Evaluation:
    """How well one score tells members from non-members.

    Attributes:
        name: name of the attack or blind baseline.
        auc: area under the ROC curve, in [0, 1].
        auc_ci95: 95 % confidence interval of the AUC.
        tpr_at_fpr: true positive rate at each false positive rate (keys as in "0.01"); None where
            the non-members are too few to resolve that rate.
    """

    name: str
    n_members: int
    n_nonmembers: int
    auc: float
    auc_ci95: tuple[float, float]
    tpr_at_fpr: Mapping[str, float | None]
    roc: Roc


@dataclass(frozen=True)
class Comparison:
    """Paired difference of two AUCs on the same images: AUC(first) - AUC(second)."""

    first: str
    second: str
    difference: float
    ci95: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class GridPoint:
    """The membership attack under one setting of the difficulty score.

    Attributes:
        backbone, features_from, layers, ridge: the setting, see :class:`DifficultyTable`.
        alpha: weight of the difficulty.
        auc: of the membership error.
        auc_ci95: its 95 % confidence interval.
    """

    backbone: str
    features_from: str
    layers: str
    ridge: str
    alpha: float
    auc: float
    auc_ci95: tuple[float, float]


@dataclass(frozen=True)
class Reliability:
    """What remains of a score when its random part is drawn again.

    Attributes:
        n_repeats: T, draws of each image.
        within_sd: standard deviation of one image's score over the draws.
        between_sd: standard deviation of the images' true scores.
        icc_single: intraclass correlation of a single draw, ICC(1,1); 1 is perfect.
        icc_mean: of the mean of the T draws, ICC(1,k).
        rank_correlation: Spearman's, mean over pairs of draws.
    """

    n_repeats: int
    within_sd: float
    between_sd: float
    icc_single: float
    icc_mean: float
    rank_correlation: float


@dataclass(frozen=True)
class Gallery:
    """A few images to look at, chosen by the pipeline.

    Attributes:
        ids: N image ids.
        captions: N short texts ("member, error 0.081").
        x, y, reconstruction: float32 (N, 3, H, W) in [0, 1].
    """

    ids: tuple[str, ...]
    captions: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    reconstruction: NDArray[np.float32]


@dataclass(frozen=True)
class AuditResult:
    """The verdict on one victim, and what the report needs to explain it.

    Attributes:
        name: the run's name, e.g. ``facades_pix2pix``.
        split: the roles of all images.
        scores: one table per attack; rows of all tables share ids.
        difficulty: float64 per candidate, in the order of ``scores[0].id``.
        alpha: weight of the difficulty in the membership error (Eq. 3).
        evaluations: one per attack.
        comparisons: each attack against the plain reconstruction error.
        blind: attacks that never saw the victim.
        near_duplicates: pairs of ids in different roles that look alike, with their distance.
        gallery: images to look at.
        grid: the membership attack under other settings, the configured first; empty if none.
        timing_s: seconds each stage took in this run.
        record: what was run: versions, weights, seeds, data fingerprint (plain strings).
    """

    name: str
    split: Split
    scores: tuple[ScoreTable, ...]
    difficulty: Floats
    alpha: float
    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]
    blind: tuple[Evaluation, ...]
    near_duplicates: tuple[tuple[str, str, int], ...]
    gallery: Gallery
    grid: tuple[GridPoint, ...]
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Survey:
    """How difficult the images of a folder are; no victim is involved.

    Attributes:
        name: the run's name.
        difficulty: of N images under S settings.
        correlation: (S, S) Spearman's between settings; NaN where a setting scores all alike.
        reliability: of the configured setting; None where it was not repeated.
        easiest, hardest: the images at either end, the extreme first.
        timing_s, record: as in :class:`AuditResult`.
    """

    name: str
    difficulty: DifficultyTable
    correlation: Floats
    reliability: Reliability | None
    easiest: Extremes
    hardest: Extremes
    timing_s: Mapping[str, float]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Extremes:
    """Some images with their difficulty.

    Attributes:
        ids: K image ids.
        score: (K,) difficulty.
        x, y: float32 (K, 3, H, W) in [0, 1].
        map: float32 (K, G, G) error of each pixel, or (K, 0, 0).
    """

    ids: tuple[str, ...]
    score: Floats
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    map: NDArray[np.float32]
