"""A cache of a victim's answers on disk, so that each query is sent once."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.store.disk import full_disk
from mia_lab.store.permissions import share
from mia_lab.types import IDENTITY
from mia_lab.victims.blackbox import BlackBox, Sampler

HEADERS = 2**16
"""Bytes in an answer's file besides the numbers, at most."""


class Unanswered(UserError):
    """The failure of a black box on a batch, with the answers that it gave.

    Attributes:
        answers: answers by their index in the batch, each float32 (C, H, W) in [0, 1].
    """

    def __init__(self, message: str, answers: dict[int, Tensor]) -> None:
        super().__init__(message)
        self.answers = answers


class CachedAnswers:
    """A black box that caches the answers of another one, and never repeats a query.

    Each answer is a file ``<2 hex digits>/<sha256>.npz``, written by an atomic rename before the
    next query. Several processes may share the folder. A damaged file counts as a missing answer.

    Args:
        box: the black box to query; it must check its answers, because they are cached for good.
        folder: folder of this victim's answers; created at the first query.
        channels: of the answers.

    Attributes:
        asked: number of images that the box was queried with.
        transport: transport of the box's answers, see :mod:`mia_lab.victims.blackbox`.
    """

    def __init__(self, box: BlackBox | Sampler, folder: Path, channels: int) -> None:
        self._box = box
        self._folder = folder
        self._channels = channels
        self.asked = 0
        self.transport: str | None = getattr(box, "transport", None)

    def translate(self, x: Tensor, repeat: int = 0) -> Tensor:
        """Translate a batch; the images without a cached answer are sent in one query.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU.
            repeat: index of the repeated query, for victims with random answers.

        Returns:
            float32 (N, C', H, W) in [0, 1]; the same bits each time.

        Raises:
            UserError: the box failed (the answers that it gave are cached), or the folder cannot be
                written.
        """
        keys = [query_key(image, repeat) for image in x]
        return self._recalled(keys, x, lambda rows: cast(BlackBox, self._box).translate(x[rows]))

    def _recalled(self, keys: list[str], x: Tensor, ask: Callable[[list[int]], Tensor]) -> Tensor:
        """The cached answers under some keys; the box is asked for the missing rows."""
        shape = torch.Size((self._channels, *x.shape[2:]))
        answers = {key: self._load(key, shape) for key in dict.fromkeys(keys)}
        missing = [key for key, answer in answers.items() if answer is None]
        if missing:
            answers |= self._query(missing, lambda: ask([keys.index(key) for key in missing]))
        return torch.stack([answer for key in keys if (answer := answers[key]) is not None])

    def describe(self) -> str:
        """Number of cached answers, for messages."""
        count = sum(1 for _ in self._folder.glob("??/*.npz"))
        return f"{count} answer{'' if count == 1 else 's'} cached"

    def _query(self, keys: list[str], ask: Callable[[], Tensor]) -> dict[str, Tensor]:
        self.asked += len(keys)
        try:
            found = dict(zip(keys, ask(), strict=True))
            _check_range(found.values())
        except Unanswered as error:
            for index, answer in error.answers.items():
                self._save(keys[index], answer)
            raise UserError(
                f"{error}; run the same command again to continue ({self.describe()})"
            ) from error
        for key, answer in found.items():
            self._save(key, answer)
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npz"

    def _load(self, key: str, shape: torch.Size) -> Tensor | None:
        """A cached answer; None if it is missing, or its file is damaged.

        Raises:
            PermissionError: it may not be read.
        """
        try:
            # NumPy does not close a damaged file that it opened itself.
            with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                unpacked = sum(member.file_size for member in archive.zip.infolist())
                if unpacked > 4 * shape.numel() + HEADERS:
                    return None
                answer = torch.from_numpy(archive["answer"])
        except PermissionError:  # another user's: asked again, it might cost again
            raise
        except Exception:  # of NumPy's parser, zipfile and zlib
            return None
        if answer.shape != shape:
            return None
        return answer.float() / 255 if answer.dtype == torch.uint8 else answer

    def _save(self, key: str, answer: Tensor) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{uuid.uuid4().hex}.partial")
            try:
                with partial.open("xb") as file:
                    np.savez_compressed(file, answer=_compact(answer))
                    file.flush()
                    os.fsync(file.fileno())
                share(self._folder, path.parent, partial)
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            if full := full_disk(error, self._folder):
                raise full from error
            raise UserError(
                f"{path}: an answer cannot be written ({error.strerror}); free disk space or set "
                "another paths.store, and run the same command again to continue "
                f"({self.describe()})"
            ) from error


class CachedSamples(CachedAnswers):
    """The same for a :class:`~mia_lab.victims.blackbox.Sampler`: each draw is cached."""

    def sample(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Tensor:
        """Draw answers; only those that are not cached are drawn. Raises as :meth:`translate`."""
        texts = list(prompts) or [""] * len(x)
        keys = [query_key(*query) for query in zip(x, seeds, texts, strict=True)]

        def ask(rows: list[int]) -> Tensor:
            chosen = [seeds[row] for row in rows], [texts[row] for row in rows]
            return cast(Sampler, self._box).sample(x[rows], *chosen)

        return self._recalled(keys, x, ask)


def _check_range(answers: Iterable[Tensor]) -> None:
    """Refuse answers that must not be kept for good.

    Raises:
        UserError: one is not finite, or not in [0, 1].
    """
    for answer in answers:
        if not (answer.isfinite().all() and answer.min() >= 0 and answer.max() <= 1):
            raise UserError(
                "victim: an answer has values that are not finite or not in [0, 1], and was not "
                "kept; check the model (victim.dtype=float32 for a pipeline in float16)"
            )


def query_key(image: Tensor, draw: int, prompt: str = "") -> str:
    """Identifier of a query: sha256, in hexadecimal.

    Args:
        image: float32 (C, H, W) in [0, 1].
        draw: index of the repeated query, or seed of the answer.
        prompt: the text that is sent beside the image.
    """
    array = np.ascontiguousarray(image.numpy(), dtype="<f4")
    texts = [prompt] if prompt else []
    header = json.dumps([list(array.shape), "float32", IDENTITY, draw, *texts])
    return hashlib.sha256(header.encode() + b"\n" + array.tobytes()).hexdigest()


def _compact(answer: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.uint8]]:
    """The answer in 8 bits if that is lossless, else in float32."""
    levels = (answer * 255).round().to(torch.uint8)
    lossless: bool = torch.equal(levels.float() / 255, answer)
    return (levels if lossless else answer).numpy()
