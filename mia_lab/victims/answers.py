"""A victim's answers, kept on disk as they come, so that no query is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.types import IDENTITY
from mia_lab.victims.blackbox import BlackBox

DAMAGES = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a file that is missing, cut off or altered may raise."""


class Unanswered(UserError):
    """A black box that failed on a batch, with what it did answer.

    Attributes:
        answers: answers by their place in the batch, each float32 (3, H, W) in [0, 1].
    """

    def __init__(self, message: str, answers: dict[int, Tensor]) -> None:
        super().__init__(message)
        self.answers = answers


class CachedAnswers:
    """A black box around another one that never asks it the same question twice.

    Every answer is a file ``<2 hex digits>/<sha256>.npz`` that appears whole, by one rename, before
    the next question is asked. Several processes may share the folder. A damaged file counts as no
    answer.

    Args:
        box: who is asked; it must check its answers itself, as they are kept for good.
        folder: where answers are kept, of this one victim; made when first needed.

    Attributes:
        asked: how many images the box was asked to translate.
        transport: how the box's answers travel, see :mod:`mia_lab.victims.blackbox`.
    """

    def __init__(self, box: BlackBox, folder: Path) -> None:
        self._box = box
        self._folder = folder
        self.asked = 0
        self.transport: str | None = getattr(box, "transport", None)

    def translate(self, x: Tensor, transform: str = IDENTITY, repeat: int = 0) -> Tensor:
        """Translate a batch; what was not answered before is asked for at once.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU.
            transform: how the inputs were altered.
            repeat: asks a victim that answers at random again.

        Returns:
            float32 (N, 3, H, W) in [0, 1]; the same bits each time.

        Raises:
            UserError: the box failed; what it did answer is kept. Or the folder cannot be written.
        """
        keys = [question_key(image, transform, repeat) for image in x]
        answers = {key: self._load(key, x.shape[2:]) for key in dict.fromkeys(keys)}
        missing = [key for key, answer in answers.items() if answer is None]
        if missing:
            answers |= self._ask(missing, x[[keys.index(key) for key in missing]])
        return torch.stack([answer for key in keys if (answer := answers[key]) is not None])

    def describe(self) -> str:
        """How much is kept, for messages."""
        count = sum(1 for _ in self._folder.glob("??/*.npz"))
        return f"{count} answer{'' if count == 1 else 's'} kept"

    def _ask(self, keys: list[str], x: Tensor) -> dict[str, Tensor]:
        self.asked += len(x)
        try:
            found = dict(zip(keys, self._box.translate(x), strict=True))
        except Unanswered as error:
            for place, answer in error.answers.items():
                self._save(keys[place], answer)
            raise UserError(f"{error}; the same command goes on, {self.describe()}") from error
        for key, answer in found.items():
            self._save(key, answer)
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npz"

    def _load(self, key: str, size: torch.Size) -> Tensor | None:
        """A kept answer; None if there is none or its checksum does not match."""
        try:
            # numpy leaves a damaged file open unless it was given one
            with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                answer = torch.from_numpy(archive["answer"])
        except DAMAGES:
            return None
        if answer.shape != (3, *size):
            return None
        return answer.float() / 255 if answer.dtype == torch.uint8 else answer

    def _save(self, key: str, answer: Tensor) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez_compressed(file, answer=_compact(answer))
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise UserError(
                f"{path}: an answer cannot be kept ({error.strerror}); make room or choose another "
                f"paths.store; the same command goes on, {self.describe()}"
            ) from error


def question_key(image: Tensor, transform: str, repeat: int) -> str:
    """What tells one question from another: sha256, in hexadecimal.

    Args:
        image: float32 (C, H, W) in [0, 1].
        transform: how it was altered.
        repeat: index of the repeated query.
    """
    array = np.ascontiguousarray(image.numpy(), dtype="<f4")
    header = json.dumps([list(array.shape), "float32", transform, repeat])
    return hashlib.sha256(header.encode() + b"\n" + array.tobytes()).hexdigest()


def _compact(answer: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.uint8]]:
    """The answer in 8 bits where those say exactly the same."""
    levels = (answer * 255).round().to(torch.uint8)
    same: bool = torch.equal(levels.float() / 255, answer)
    return (levels if same else answer).numpy()
