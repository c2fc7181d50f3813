"""The frozen tables that the stages of an audit exchange.

Rows are joined by id (and model), never by position. Images are float32 NCHW in [0, 1], of any
number of channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_PLAIN: dict[type[np.generic], tuple[type, ...]] = {
    np.str_: (str,),
    np.float64: (float, int),
    np.int64: (int,),
    np.bool_: (bool,),
}
"""Types of Python that become those of NumPy."""


@dataclass(frozen=True)
class StoredAs:
    """How pydantic stores an array: as nested lists of values of one type."""

    dtype: type[np.generic]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._array,
            serialization=core_schema.plain_serializer_function_ser_schema(np.ndarray.tolist),
        )

    def _array(self, values: Any) -> NDArray[Any]:
        if not isinstance(values, np.ndarray):
            self._check(values)
        return np.asarray(values, dtype=self.dtype)

    def _check(self, values: Any) -> None:
        """NumPy would read null as NaN, a text as a number, and a number as a text."""
        if not isinstance(values, list | tuple):
            raise ValueError(f"{values!r} is no list")
        for value in values:
            if isinstance(value, list | tuple):
                self._check(value)
            elif type(value) not in _PLAIN[self.dtype]:
                raise ValueError(f"holds {value!r}")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        kinds = {np.str_: "string", np.float64: "number", np.int64: "integer", np.bool_: "boolean"}
        return {"type": "array", "items": {"type": kinds[self.dtype]}}


Strings = Annotated[NDArray[np.str_], StoredAs(np.str_)]
Floats = Annotated[NDArray[np.float64], StoredAs(np.float64)]
Integers = Annotated[NDArray[np.int64], StoredAs(np.int64)]
Booleans = Annotated[NDArray[np.bool_], StoredAs(np.bool_)]

Layer = int | str
"""A block of a backbone, numbered 1 to 4 by its stride (4 to 32), or the name of a module."""

VICTIM = "victim"
"""The model under audit."""


def reference(number: int) -> str:
    """Name of a reference model: ``reference-0``, ``reference-1``, ..."""
    return f"reference-{number}"


IDENTITY = "identity"
"""The transform of a query without alteration."""

ADAPTIVE = "adaptive"
"""The transform of repeated queries by an attacker who knows the defence."""


class Role(StrEnum):
    """The role of an image for a model; that of a candidate is unknown."""

    MEMBER = "member"
    NONMEMBER = "nonmember"
    AUXILIARY = "auxiliary"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class PairBatch:
    """A batch of (input, target) pairs.

    Attributes:
        ids: N image ids.
        x: float32 (N, C, H, W) in [0, 1], the input domain (label map, map) as a picture.
        y: float32 (N, C, H, W) in [0, 1], the output domain (photo, satellite image).
        encoded: float32 (N, K, H, W) in [0, 1], x as one-hot labels, optionally with instance
            boundaries as the last channel; None if x is the victim's input.
        prompts: N texts for victims that take one, "" for none; empty if no image has one.
    """

    ids: tuple[str, ...]
    x: Tensor
    y: Tensor
    encoded: Tensor | None = None
    prompts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, size: int) -> Iterator[PairBatch]:
        """The same pairs in batches of at most ``size``."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            encoded = None if self.encoded is None else self.encoded[rows]
            yield PairBatch(self.ids[rows], self.x[rows], self.y[rows], encoded, self.prompts[rows])

    @property
    def condition(self) -> Tensor:
        """The victim's input: float32 (N, C, H, W) in [0, 1]."""
        return self.x if self.encoded is None else self.encoded

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PairBatch:
        """The same batch on another device."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        encoded = None if self.encoded is None else moved(self.encoded)
        return PairBatch(self.ids, moved(self.x), moved(self.y), encoded, self.prompts)


@dataclass(frozen=True)
class Split:
    """The role of each image for each model: one row per (model, image).

    The table holds the rows of the victim and of K reference models. A model's rows with role
    ``member`` are its training set; ``nonmember`` rows are candidates outside its training set;
    ``auxiliary`` rows are reserved, and used by neither victim nor attack unless requested;
    ``candidate`` rows are images to be scored, whose membership is unknown.

    Attributes:
        id: (R,) image ids, unique within one model.
        role: (R,) values of :class:`Role`.
        group: (R,) cluster of the image (scene, patient, city), "" if unknown.
        model: (R,) ``victim`` or ``reference-<k>``.
        content: (R,) sha256 of the decoded pair, with which a manifest is checked.
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

    def groups(self, ids: Sequence[str], model: str = VICTIM) -> Strings:
        """Groups of the given images, "" if unknown: (len(ids),).

        Raises:
            KeyError: an id is not in the table.
        """
        rows = self.model == model
        known = dict(zip(self.id[rows].tolist(), self.group[rows].tolist(), strict=True))
        return np.array([known[i] for i in ids], dtype=np.str_)

    def __or__(self, other: Split) -> Split:
        """A table with the rows of both tables."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Split(*(np.concatenate(pair) for pair in pairs))

    def without_candidates(self, model: str = VICTIM) -> Split:
        """The rows that an attacker on a model may know: reference models and auxiliaries."""
        known = (self.model != model) | (self.role == str(Role.AUXILIARY))
        return Split(*(getattr(self, field.name)[known] for field in fields(self)))


@dataclass(frozen=True)
class Reconstructions:
    """The answers of queried models: one row per (model, image, transform, repeat).

    Attributes:
        model: (R,) names of the queried models.
        id: (R,) image ids.
        transform: (R,) alterations of the queries (``identity``, ``hflip``, ``crop-3``, ...).
        repeat: int64 (R,) index of the repeated query, for victims with random answers.
        error: float64 (R,) mean absolute error against the target, in [0, 1] (Eq. 1 of the paper).
        images: float32 (R, C, H, W) in [0, 1], the answers; may be a read-only memory map, or
            (R, C, 0, 0) if only the errors are stored.
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
class Determinism:
    """How far the answers of a victim to the same images lie apart.

    Attributes:
        alone: largest difference of a pixel between two answers to an image queried alone, in
            [0, 1].
        company: the same between the answers to an image queried alone and queried together with
            the others.
        images: number of images queried together.
    """

    alone: float
    company: float
    images: int

    TOLERANCE: ClassVar[float] = 1.5 / 255
    """Larger differences count: more than one level of 8 bits.

    A victim that computes the same twice may differ by one level: if its answers travel in 8 bits,
    float32 rounding moves a pixel that lies between two levels, and reduced precision (TF32,
    float16) on other batch sizes differs by up to 1e-3. Active dropout and batch statistics differ
    by many levels.
    """

    @property
    def is_random(self) -> bool:
        """Whether an answer depends on more than its image, so that queries are sent one by one."""
        return max(self.alone, self.company) > self.TOLERANCE

    def __str__(self) -> str:
        if self.alone > self.TOLERANCE:
            return f"repeated queries are answered differently, by up to {self.alone:.2g}"
        if self.company > self.TOLERANCE:
            return (
                "answers depend on the other images of a query, and differ by up to "
                f"{self.company:.2g}"
            )
        return f"repeated queries are answered alike, within {max(self.alone, self.company):.1g}"


@dataclass(frozen=True)
class DifficultyTable:
    """Difficulty of every image under every setting; the configured setting comes first.

    Attributes:
        id: (N,) image ids.
        backbone: (S,) label of the backbone, such as "tf_efficientnet_lite0 (packaged)"; "" for a
            score without a backbone. The other columns that describe a setting are "" likewise.
        features_from: (S,) image of the pair that gives the features, "input" or "target".
        layers: (S,) layers of the features, such as "1,2,3,4".
        ridge: (S,) configured penalty, such as "1" or "auto".
        score: float64 (N, S, T), T repeats; in the unit of the reconstruction error (its square
            with ``difficulty.error=l2``).
        penalty: float64 (N, S, T), the penalty used, which ``auto`` chooses per image; with several
            folds, the geometric mean.
        rank: int64 (N, S, T), rank of the probe's columns if the penalty is 0, else -1.
        map: float32 (N, G, G), error of each pixel under the first setting; (N, 0, 0) if maps are
            not requested.
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
class BlindFeatures:
    """Features of images that need no query of a victim.

    Attributes:
        id: (N,) image ids.
        baseline: (F,) blind baseline that uses the column, such as "jpeg".
        name: (F,) names of the columns.
        value: float64 (N, F), finite.
    """

    id: Strings
    baseline: Strings
    name: Strings
    value: Floats

    def sets(self, ids: Sequence[str]) -> dict[str, Floats]:
        """The columns of each baseline for the given images: (len(ids), F_b), by name.

        Raises:
            KeyError: an id is not in the table.
        """
        rows = {str(i): j for j, i in enumerate(self.id)}
        value = np.asarray(self.value)[[rows[i] for i in ids]]
        names = dict.fromkeys(self.baseline.tolist())
        return {name: value[:, self.baseline == name] for name in names}


@dataclass(frozen=True)
class BlindFits:
    """Scores of fitted blind baselines, and their AUCs under permuted labels.

    Attributes:
        name: (B,) names of the baselines.
        score: float64 (B, N) scores of the candidates, higher = more likely a member.
        null: float64 (P, B), AUCs of the refitted baselines under P permutations of the labels.
    """

    name: Strings
    score: Floats
    null: Floats


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one attack on one model; higher means more likely a member.

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
class PrivacyClaim:
    """The guarantee of a differentially private training: an upper bound on the privacy loss.

    Attributes:
        epsilon, delta: with probability 1 - delta, no image changes the odds of an outcome by more
            than the factor e^epsilon.
        noise_multiplier: standard deviation of the noise, in units of the gradient bound.
        sampling_rate: probability that an image is in a batch.
        steps: number of batches.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    sampling_rate: float
    steps: int
