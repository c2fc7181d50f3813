"""Pairs of pictures in folders: side by side in one file, or one folder per domain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tqdm import tqdm

from mia_lab.data import labels
from mia_lab.data.encoding import checked_palette
from mia_lab.data.picture import Picture
from mia_lab.data.pictures import matched, pictures
from mia_lab.data.reading import MAX_MEGAPIXELS, REFUSE, Reading, stored
from mia_lab.data.source import Pair
from mia_lab.errors import UserError
from mia_lab.parameters import (
    MIN_SIDE,
    RUNTIME,
    NonNegativeInt,
    PathName,
    Positive,
    PositiveInt,
    Text,
    ValueRanges,
    both_ranges,
)
from mia_lab.store import Contents


class FolderPairs:
    """Pairs stored in folders.

    ``side_by_side``: ``<root>/<train>/NAME.jpg`` holds A in its left and B in its right half.
    ``two_folders``: ``<root>/<train>A/NAME.*`` and ``<root>/<train>B/NAME.*``.
    ``image_label``: label ids, photos and instance ids; see :mod:`mia_lab.data.labels`.
    Pictures are of any size, type and number of channels, see :mod:`mia_lab.data.reading`. An id is
    ``<train>/NAME``.

    Args:
        root: the dataset's folder.
        layout: how pairs lie in it.
        direction: ``AtoB`` takes A as input and B as target; ``BtoA`` the other way round.
        train, test: names of the two parts; "" or "." where the pictures lie in the root itself.
        palette: [red, green, blue] of every label id, for ``image_label`` alone.
        value_range: the values that mean 0 and 1: [low, high], or one such range for the input and
            one for the target. None: 0 and the largest value of unsigned integers of 8 and 16
            bits; other types have no such range.
        input_channels, target_channels: of the pictures; grey becomes RGB, and RGB grey. None:
            those of the files.
        alpha: what becomes of transparent pixels: ``refuse``, ``keep`` alpha as a channel, or the
            name of a colour to lay them over.
        exif: ``refuse`` pictures that are stored rotated, or ``apply`` the rotation.
        page: of files with several pages; None: such files are refused.
        max_megapixels: largest picture, in millions of pixels.

    Attributes:
        has_instances: whether pairs of the train part come with instance ids.

    Raises:
        UserError: ``image_label`` without a palette, or from photo to label.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        root: Annotated[PathName, RUNTIME],
        layout: Literal["side_by_side", "two_folders", "image_label"],
        direction: Literal["AtoB", "BtoA"],
        train: Text = "train",
        test: Text = "test",
        palette: Sequence[Sequence[int]] | None = None,
        value_range: ValueRanges | None = None,
        input_channels: PositiveInt | None = None,
        target_channels: PositiveInt | None = None,
        alpha: Text = REFUSE,
        exif: Literal["refuse", "apply"] = "refuse",
        page: NonNegativeInt | None = None,
        max_megapixels: Annotated[Positive, RUNTIME] = MAX_MEGAPIXELS,
    ) -> None:
        self.root = Path(root)
        self.layout = layout
        self.direction = direction
        self.has_instances = False
        self._parts = {"train": train, "test": test}
        self._files: dict[str, tuple[Path, ...]] = {}
        self._contents = Contents()
        shared = Reading(None, None, alpha, exif, page, max_megapixels)
        self._input, self._target = (
            replace(shared, value_range=span, channels=channels)
            for span, channels in zip(
                both_ranges(value_range), (input_channels, target_channels), strict=True
            )
        )
        if layout == "image_label":
            if direction != "AtoB":
                raise UserError(
                    f"data.direction={direction}: with data.layout=image_label the label is the "
                    "input; set data.direction=AtoB"
                )
            self._palette = checked_palette(palette)
            self.has_instances = labels.has_instances(self.root, train)

    def ids(self, subset: str) -> Sequence[str]:
        part = self._parts[subset]
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder")
        found = self._find("" if part == "." else part)
        prefix = "" if part in ("", ".") else f"{part}/"
        named = {f"{prefix}{name}": files for name, files in sorted(found.items())}
        self._files |= named
        return tuple(named)

    def _find(self, part: str) -> dict[str, tuple[Path, ...]]:
        if self.layout == "image_label":
            return labels.find(self.root, part)
        if self.layout == "two_folders":
            return matched([self.root / f"{part}{side}" for side in "AB"])
        return {name: (path,) for name, path in pictures(self.root / part).items()}

    def load(self, image_id: str) -> Pair:
        files = self._files[image_id]
        if self.layout == "image_label":
            pair = labels.load(files, self._palette, self.read_file, self._target)
            _check_sizes(pair.x, pair.y, files[:2])
            return pair
        decoded = [stored(path, self.read_file, self._input) for path in files]
        a, b = _halves(decoded[0], files[0]) if len(files) == 1 else decoded
        _check_sizes(a, b, files)
        sides = [(a, files[0]), (b, files[-1])]
        x, y = sides if self.direction == "AtoB" else sides[::-1]
        return Pair(self._input.declared(*x), self._target.declared(*y))

    def files(self, image_id: str) -> tuple[Path, ...]:
        """The files of one pair."""
        return self._files[image_id]

    def read_file(self, path: Path) -> bytes:
        """The content of a file, the same as the fingerprint is of."""
        return self._contents.read(path)

    def fingerprint(self, ids: Sequence[str]) -> str:
        readings = [self._input.identity(), self._target.identity()]
        digest = hashlib.sha256(f"{self.layout} {self.direction} {json.dumps(readings)}".encode())
        if self.layout == "image_label":  # the palette colours the inputs
            digest.update(json.dumps(self._palette.tolist()).encode())
        for image_id in tqdm(ids, "fingerprint", unit=" images", delay=2, leave=False):
            for path in self._files[image_id]:
                digest.update(f"{image_id}\t{self._contents.sha256(path)}\n".encode())
        return digest.hexdigest()


def _halves(picture: Picture, path: Path) -> tuple[Picture, Picture]:
    width = picture.width
    if width % 2 or width < 2:
        raise UserError(
            f"{path}: is {width} pixels wide, but a side-by-side pair needs an even width (if the "
            "pictures are in two folders, set data.layout=two_folders)"
        )
    half = width // 2
    return picture.part(0, half), picture.part(half, width)


def _check_sizes(a: Picture, b: Picture, files: tuple[Path, ...]) -> None:
    for picture, path in ((a, files[0]), (b, files[-1])):
        if min(picture.width, picture.height) < MIN_SIDE:
            raise UserError(
                f"{path}: a picture has {picture.width} x {picture.height} pixels, but needs at "
                f"least {MIN_SIDE} x {MIN_SIDE}; remove the pair"
            )
    if abs(a.width * b.height - b.width * a.height) > max(a.width, a.height, b.width, b.height):
        raise UserError(
            f"{files[0]}: has {a.width} x {a.height} pixels, but its partner {files[-1]} has "
            f"{b.width} x {b.height}; both pictures of a pair need the same aspect ratio"
        )
