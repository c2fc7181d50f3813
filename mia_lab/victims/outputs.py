"""Answers that a model has given already, as pictures in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from PIL import ExifTags
from torch import Tensor

from mia_lab.data.pictures import pictures
from mia_lab.data.reading import MAX_MEGAPIXELS, REFUSE, Reading, decode, opened
from mia_lab.errors import UserError, nearest_folder
from mia_lab.parameters import (
    RUNTIME,
    ImageSize,
    NonNegativeInt,
    PathName,
    Positive,
    PositiveInt,
    Text,
    ValueRanges,
    both_ranges,
    size_text,
    width_height,
)
from mia_lab.store import Contents

PLACES = ("", "images/")
"""Sub-folders in which an answer may be."""

ENDINGS = ("", "_fake_B", "_fake", "_synthesized_image")
"""Suffixes that the name of an answer may add to the name of the input. The programs of pix2pix and
pix2pixHD write those that are not empty; their other pictures (``_real_A``, ``_input_label``) are
not answers."""

LOSSY = ("JPEG", "WEBP", "JPEG2000", "AVIF")
"""Formats of Pillow that may change pixels."""

LOSSLESS = (".npy", ".tif", ".tiff")
"""Endings of formats that keep pixels, some of which Pillow does not open."""


class Outputs:
    """Pictures that a model has generated already.

    The answer for id ``train/0001`` is ``train/0001.*`` below the folder, or ``0001.*`` in it;
    either may be in a sub-folder ``images`` and have an ending of :data:`ENDINGS`. So the folder
    may be one of results that the programs of pix2pix or pix2pixHD wrote. It is an error if two
    pictures could be the answer.

    Args:
        folder: where the pictures are.
        image_size: the size that the pictures must have, in pixels.
        out_channels: the number of channels that the pictures must have; None: that of the first.
        value_range, alpha, exif, page, max_megapixels: as of
            :class:`mia_lab.data.pairs.FolderPairs`, whose targets they are compared with.
        channels: to convert the pictures to; grey becomes RGB, and RGB grey. None: they stay as
            they are.

    Attributes:
        transport: how the answers travelled.

    Raises:
        UserError: there is no such folder, or it holds no pictures.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False

    # The folder counts by the pictures that are used, see fingerprint().
    def __init__(
        self,
        folder: Annotated[PathName, RUNTIME],
        image_size: ImageSize,
        value_range: ValueRanges | None = None,
        alpha: Text = REFUSE,
        out_channels: Annotated[PositiveInt | None, RUNTIME] = None,
        channels: PositiveInt | None = None,
        exif: Literal["refuse", "apply"] = "refuse",
        page: NonNegativeInt | None = None,
        max_megapixels: Annotated[Positive, RUNTIME] = MAX_MEGAPIXELS,
    ) -> None:
        self._folder = Path(folder)
        self._size = width_height(image_size)
        if not self._folder.is_dir():
            raise UserError(f"victim.folder={folder}: no such folder{nearest_folder(Path(folder))}")
        self._files = pictures(self._folder)
        self._contents = Contents()
        self._out_channels = out_channels
        span = both_ranges(value_range)[1]
        self._reading = Reading(span, channels, alpha, exif, page, max_megapixels, "victim")
        self.transport = "pictures"

    def check(self, ids: Sequence[str]) -> None:
        """Make sure that there is one picture for each id, and of the right size.

        The first picture is decoded. Of others this reads the header, which is enough for most
        formats; :meth:`recall` checks the rest.

        Raises:
            UserError: some have none or two, or two share one, or one has another size; or the
                first one cannot be decoded, or has other channels.
        """
        missing = [i for i in ids if self._file(i) is None]
        if missing:
            name = missing[0].rpartition("/")[2]
            like = [found for found in self._files if name in found] or [*self._files]
            there = ", ".join(str(self._files[n].relative_to(self._folder)) for n in like[:3])
            raise UserError(
                f"victim.folder={self._folder}: has no picture {missing[0]}.* "
                f"({len(missing)} of {len(ids)} are missing), but it has {there}; name them like "
                "the inputs"
            )
        owners: dict[Path, str] = {}
        for image_id in ids:
            path = self._path(image_id)
            if owners.setdefault(path, image_id) != image_id:
                raise UserError(
                    f"{path}: is it the answer to {owners[path]} or to {image_id}? "
                    "Keep the folders of the inputs"
                )
        lossy = [self._is_lossy(path) for path in owners]
        self.recall(ids[:1])
        if any(lossy):
            self.transport = "pictures, some of them lossy (JPEG or WebP, say)"

    def _is_lossy(self, path: Path) -> bool:
        if path.suffix.lower() in LOSSLESS:
            return False
        # This decodes the header only.
        with opened(path, self._contents.read, self._reading.max_megapixels) as picture:
            if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                self._check_size(*picture.size, path)
            return picture.format in LOSSY

    def _check_size(self, width: int, height: int, path: Path) -> None:
        if (width, height) != self._size:
            raise UserError(
                f"{path}: {width} x {height} pixels, but the data have {self._size[0]} x "
                f"{self._size[1]}; set data.image_size={size_text([width, height])}, the size of "
                "the answers"
            )

    def fingerprint(self, ids: Sequence[str]) -> str:
        """sha256 over the files of these ids."""
        digest = hashlib.sha256()
        for image_id in ids:
            content = self._contents.sha256(self._path(image_id))
            digest.update(f"{image_id}\t{content}\n".encode())
        return digest.hexdigest()

    def recall(self, ids: Sequence[str]) -> Tensor:
        """The pictures of some ids: float32 (N, C, H, W) in [0, 1].

        Raises:
            UserError: one cannot be decoded, or has another size or other channels; nothing is
                resized.
        """
        answers: list[Tensor] = []
        expected = self._out_channels
        for image_id in ids:
            path = self._path(image_id)
            picture = decode(path, self._contents.read, self._reading)
            self._check_size(picture.width, picture.height, path)
            expected = expected or picture.channels
            if picture.channels != expected:
                raise self._other_channels(picture.channels, expected, path)
            answers.append(torch.from_numpy(picture.unit()))
        return torch.stack(answers)

    def _other_channels(self, found: int, expected: int, path: Path) -> UserError:
        whose = "the targets have" if self._out_channels else "the other answers have"
        remedy = f"give answers and targets of {expected} (victim.channels, data.target_channels)"
        if {found, expected} == {1, 3}:
            kinds = {1: "RGB to grey", 3: "grey to RGB"}
            remedy = (
                f"set victim.channels={expected}, which converts {kinds[expected]}, or "
                f"data.target_channels={expected} for answers and targets"
            )
        return UserError(f"{path}: number of channels is {found}, but {whose} {expected}; {remedy}")

    def _file(self, image_id: str) -> Path | None:
        names = dict.fromkeys((image_id, image_id.rpartition("/")[2]))
        found = [
            self._files[name]
            for parts in product(PLACES, names, ENDINGS)
            if (name := "".join(parts)) in self._files
        ]
        if len(found) > 1:
            raise UserError(
                f"{found[0]}: is this the answer to {image_id}, or {found[1]}? Remove one"
            )
        return found[0] if found else None

    def _path(self, image_id: str) -> Path:
        path = self._file(image_id)
        if path is None:
            raise UserError(f"victim.folder={self._folder}: has no picture {image_id}.*")
        return path
