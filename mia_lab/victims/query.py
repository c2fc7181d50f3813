"""Queries of a black box, and the reconstruction error of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mia_lab.data.dataset import PairDataset
from mia_lab.data.transforms import altered, in_levels
from mia_lab.defenses import Defense
from mia_lab.errors import UserError
from mia_lab.hardware import enough_gpu_memory
from mia_lab.progress import progress_bar
from mia_lab.seeding import derive_seed
from mia_lab.store import ArrayFile
from mia_lab.types import (
    ADAPTIVE,
    IDENTITY,
    VICTIM,
    Determinism,
    Floats,
    PairBatch,
    Reconstructions,
)
from mia_lab.victims.answers import CachedAnswers
from mia_lab.victims.blackbox import BlackBox, RecordedAnswers, Sampler, Victim


def reconstruction_error(reconstruction: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """Mean absolute error of each image over pixels and channels.

    Shafran et al. 2021 (arXiv:2102.07762), Eq. 1. Answers and targets of 8 bits are compared in
    whole levels, see :func:`~mia_lab.data.transforms.in_levels`, so that errors that are equal in
    exact arithmetic are equal.

    Args:
        reconstruction, y: (N, C, H, W) in [0, 1].

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ValueError: the shapes differ.

    Examples:
        >>> import numpy as np
        >>> reconstruction_error(np.full((2, 3, 8, 8), 0.75), np.full((2, 3, 8, 8), 0.5))
        array([0.25, 0.25])
    """
    if reconstruction.shape != y.shape:
        raise ValueError(f"shapes differ: {reconstruction.shape} and {y.shape}")
    found = [
        np.abs(in_levels(a) - in_levels(b)).mean() / 255  # one by one, within the processor's cache
        for a, b in zip(reconstruction, y, strict=True)
    ]
    return np.array(found)


@dataclass(frozen=True)
class Questioner:
    """Queries one victim, each time with random numbers that the query alone decides.

    A :class:`~mia_lab.victims.blackbox.Sampler` is given a seed for each image, from the run's
    seed, the image's id and the index of the repeat. Any other victim that answers at random is
    queried one image at a time, and draws from PyTorch's generator, seeded likewise.

    Attributes:
        victim: the victim, or its recorded answers.
        seed: of the run.
        defense: applied to the answers.
    """

    victim: Victim
    seed: int
    defense: Defense | None = None

    def __call__(
        self, batch: PairBatch, repeat: int = 0, alteration: str = IDENTITY
    ) -> NDArray[np.float32]:
        """The answers to a batch: float32 (N, C, H, W) in [0, 1].

        Args:
            batch: the images, already altered.
            repeat: index of the answer, where an image is queried several times.
            alteration: name of what was done to the images.

        Raises:
            UserError: an answer has the wrong shape, or values that are not finite or not in
                [0, 1]; or the GPU has too little memory.
        """
        names: list[str | int] = [] if alteration == IDENTITY else [alteration]
        names += [f"repeat {repeat}"] if repeat else []
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.seed, "query", *names, *batch.ids))
            with enough_gpu_memory("set a smaller query.batch_size"):
                answer = self._answer(batch, repeat, names)
            if self.defense is None:
                return _check(answer, batch)
            return _check(self.defense.apply(torch.from_numpy(_check(answer, batch))), batch)

    def _answer(self, batch: PairBatch, repeat: int, names: list[str | int]) -> object:
        victim = self.victim
        if isinstance(victim, RecordedAnswers):
            return victim.recall(batch.ids)
        if isinstance(victim, Sampler):
            seeds = [derive_seed(self.seed, "query", *names, i) for i in batch.ids]
            return victim.sample(batch.condition, seeds, batch.prompts)
        if isinstance(victim, CachedAnswers):
            return victim.translate(batch.condition, repeat)
        return victim.translate(batch.condition)


def query(
    ask: Questioner, dataset: PairDataset, batch_size: int, folder: Path, repeat: int = 0
) -> Reconstructions:
    """Query a victim with every image of a dataset once.

    Args:
        ask: queries the victim.
        dataset: the candidates.
        batch_size: images per query. Answers depend on it only by float32 rounding.
        folder: folder of the answers, which are written batch by batch to ``images.npy``.
        repeat: index of the answers, where the images are queried several times.

    Raises:
        UserError: an answer has the wrong shape, or values that are not finite or not in [0, 1]; or
            the disk has no room for the answers.
    """
    n = len(dataset)
    path = folder / "images.npy"
    errors: list[Floats] = []
    what = f"querying the victim, answer {repeat + 1}" if repeat else "querying the victim"
    with progress_bar(what, n) as bar, ArrayFile(path, n) as images:
        for batch in dataset.batches(batch_size):
            answer = ask(batch, repeat)
            images.append(answer)
            errors.append(reconstruction_error(answer, batch.y.numpy()))
            bar.update(len(batch))
    return Reconstructions(
        model=np.array([VICTIM] * n),
        id=np.array(dataset.ids),
        transform=np.array([IDENTITY] * n),
        repeat=np.full(n, repeat, dtype=np.int64),
        error=np.concatenate(errors),
        images=np.load(path, mmap_mode="r", allow_pickle=False),
    )


def errors_of(ask: Questioner, dataset: PairDataset, batch_size: int) -> Floats:
    """Reconstruction errors of one answer to each image, which is not kept: float64 (N,).

    Raises:
        UserError: an answer has the wrong shape, or values that are not finite or not in [0, 1].
    """
    return np.concatenate(
        [reconstruction_error(ask(batch), batch.y.numpy()) for batch in dataset.batches(batch_size)]
    )


def repeat_queries(victim: BlackBox, dataset: PairDataset) -> Determinism:
    """Query a victim with the same images again, alone and in company.

    The first two images are queried alone, twice, and then all together once.

    Args:
        victim: the victim; its answers must not be cached.
        dataset: a few images, which are queried together.

    Raises:
        UserError: an answer has the wrong shape, or values that are not finite or not in [0, 1].
    """
    (together,) = dataset.batches(len(dataset))
    single = list(dataset.subset(dataset.ids[:2]).batches(1))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(0, "repeat", *dataset.ids))
        first, second = (
            np.concatenate([_check(victim.translate(batch.condition), batch) for batch in single])
            for _ in range(2)
        )
        company = _check(victim.translate(together.condition), together)[: len(single)]

    def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        return float(np.abs(np.subtract(a, b, dtype=np.float64)).max())

    alone = difference(first, second)
    return Determinism(alone, difference(first, company), len(dataset))


def query_altered(
    ask: Questioner,
    dataset: PairDataset,
    names: Sequence[str],
    batch_size: int,
    averaged: int = 1,
) -> Reconstructions:
    """Query a victim with altered images; the result holds only the errors, not the answers.

    With the name :data:`ADAPTIVE` the images are not altered, but queried repeatedly. The error
    then compares the mean answer with the target after the expected effect of the defence.

    Args:
        ask: queries the victim.
        dataset: the images.
        names: names of alterations, see :func:`mia_lab.data.transforms.altered`.
        batch_size: see :func:`query`.
        averaged: number of answers that an adaptive query averages.

    Raises:
        UserError: an answer has the wrong shape, or values that are not finite or not in [0, 1].
    """
    errors: list[Floats] = []
    total = len(names) * len(dataset)
    with progress_bar("querying the victim, altered", total) as bar:
        for name in names:
            for batch in dataset.batches(batch_size):
                if name == ADAPTIVE:
                    answers = [ask(batch, repeat) for repeat in range(averaged)]
                    found: NDArray[np.floating] = np.mean(answers, axis=0, dtype=np.float64)
                    target = ask.defense.expected(batch.y) if ask.defense else batch.y
                else:
                    inputs = altered(batch, name)
                    found, target = ask(inputs, alteration=name), inputs.y
                errors.append(reconstruction_error(found, target.numpy()))
                bar.update(len(batch))
    n = len(names) * len(dataset)
    return Reconstructions(
        model=np.array([VICTIM] * n),
        id=np.array([*dataset.ids] * len(names)),
        transform=np.repeat(np.array(names), len(dataset)),
        repeat=np.zeros(n, dtype=np.int64),
        error=np.concatenate(errors),
        images=np.empty((n, dataset.out_channels, 0, 0), dtype=np.float32),
    )


def _check(answer: object, batch: PairBatch) -> NDArray[np.float32]:
    """The answer as an array, if it has the shape of the targets and lies in [0, 1]."""
    first = batch.ids[0]
    if not isinstance(answer, Tensor):
        raise UserError(
            f"victim: answered {first} with a {type(answer).__name__}; an answer must be "
            "a torch.Tensor"
        )
    if answer.shape != batch.y.shape:
        raise UserError(
            f"victim: answered {first} with shape {tuple(answer.shape)}, expected "
            f"{tuple(batch.y.shape)}; an answer must have one image of the target's size and "
            f"channels for each input, which has {batch.condition.shape[1]} channels (see "
            "data.image_size, data.input_channels and data.target_channels)"
        )
    numbers: NDArray[np.float32] = answer.detach().float().cpu().numpy()
    if not np.isfinite(numbers).all():
        raise UserError(
            f"victim: the answer to {first} or its batch is not finite; check the model"
        )
    if numbers.min() < 0 or numbers.max() > 1:
        raise UserError(
            f"victim: the answer to {first} or its batch is outside [0, 1] ({numbers.min():.9g} to "
            f"{numbers.max():.9g}); answers must be in [0, 1]"
        )
    return numbers
