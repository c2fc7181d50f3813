"""Pairs of pictures in folders: side by side in one file, in one folder per domain, or listed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mia_lab.data import labels
from mia_lab.data.encoding import checked_palette
from mia_lab.data.manifest import named_files
from mia_lab.data.picture import Picture
from mia_lab.data.pictures import Matches, matched, passed_over, pictures
from mia_lab.data.reading import MAX_MEGAPIXELS, REFUSE, Reading, stored
from mia_lab.data.source import MissingPart, Pair
from mia_lab.errors import UserError, nearest_folder
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
from mia_lab.progress import progress
from mia_lab.store import Contents

log = logging.getLogger(__name__)


class FolderPairs:
    """Pairs stored in folders, or listed in a manifest.

    ``side_by_side``: ``<root>/<train>/NAME.jpg`` holds A in its left and B in its right half.
    ``two_folders``: ``<root>/<train>A/NAME.*`` and ``<root>/<train>B/NAME.*``; the folders may also
    be called ``<train>_A`` and ``<train>_B``, or ``A/<train>`` and ``B/<train>``.
    ``image_label``: label ids, photos and instance ids; see :mod:`mia_lab.data.labels`.
    Pictures are of any size, type and number of channels, see :mod:`mia_lab.data.reading`. An id is
    ``<train>/NAME``.

    Inputs (pictures, or label ids with ``image_label``) and targets may also be in two folders of
    any names, ``input_dir`` and ``target_dir``. If one of these has a sub-folder ``<train>``, the
    parts are such sub-folders; if not, there is one part, the train part, and an id is ``NAME``.
    Or a manifest lists them, in the columns ``input`` and ``target``, as the train part.

    Args:
        root: the dataset's folder; not needed where all paths are absolute, or a manifest lists
            the files.
        layout: how pairs lie in it.
        direction: ``AtoB`` takes A as input and B as target; ``BtoA`` the other way round.
        train, test: names of the two parts; "" or "." where the pictures lie in the root itself.
        palette: [red, green, blue] of every label id, for ``image_label`` alone.
        ignore_label: label id of void pixels, for ``image_label`` alone.
        input_dir, target_dir: absolute, or relative to the root.
        match: a regular expression that finds what the names of partners have in common; see
            :func:`mia_lab.data.pictures.matched`.
        manifest: a CSV file; counts here only if it lists files, see
            :func:`mia_lab.data.manifest.named_files`.
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
        listed: the input and the target of each pair that a manifest lists, by id.
        matched_by: what partners have in common if not their names, in words; "" before
            :meth:`ids` was called.

    Raises:
        UserError: settings contradict each other, the palette is invalid, or a listed file is
            missing.
    """

    version: ClassVar[int] = 2

    def __init__(
        self,
        root: Annotated[PathName | None, RUNTIME],
        layout: Literal["side_by_side", "two_folders", "image_label"],
        direction: Literal["AtoB", "BtoA"],
        train: Text = "train",
        test: Text = "test",
        palette: Sequence[Sequence[int]] | None = None,
        ignore_label: int | None = None,
        input_dir: Annotated[PathName | None, RUNTIME] = None,
        target_dir: Annotated[PathName | None, RUNTIME] = None,
        match: Text | None = None,
        manifest: Annotated[PathName | None, RUNTIME] = None,
        value_range: ValueRanges | None = None,
        input_channels: PositiveInt | None = None,
        target_channels: PositiveInt | None = None,
        alpha: Text = REFUSE,
        exif: Literal["refuse", "apply"] = "refuse",
        page: NonNegativeInt | None = None,
        max_megapixels: Annotated[Positive, RUNTIME] = MAX_MEGAPIXELS,
    ) -> None:
        self.root = Path() if root is None else Path(root)
        self.direction = direction
        self.has_instances = False
        self.listed: dict[str, tuple[Path, Path]] = {}
        self.matched_by = ""
        self._parts = {"train": "" if train == "." else train, "test": "" if test == "." else test}
        self._match = match
        self._files: dict[str, tuple[Path, ...]] = {}
        self._contents = Contents()
        self._dirs: tuple[Path, Path] | None = None
        if manifest is not None:
            self.listed = named_files(Path(manifest), None if root is None else self.root)
        if input_dir is not None or target_dir is not None:
            self._dirs = self._named_folders(input_dir, target_dir)
        self.layout = "two_folders" if self.listed and layout == "side_by_side" else layout
        self._check_settings(ignore_label)
        shared = Reading(None, None, alpha, exif, page, max_megapixels)
        self._input, self._target = (
            replace(shared, value_range=span, channels=channels)
            for span, channels in zip(
                both_ranges(value_range), (input_channels, target_channels), strict=True
            )
        )
        if layout == "image_label":
            self._check_label_input()
            self._palette = checked_palette(palette, ignore_label)
            self._ignore_label = ignore_label
            if not self.listed and not self._dirs:
                self.has_instances = labels.has_instances(self.root, self._parts["train"])

    def _named_folders(self, input_dir: str | None, target_dir: str | None) -> tuple[Path, Path]:
        if self.listed:
            raise UserError(
                "data.input_dir, data.target_dir: data.manifest lists the files, in its columns "
                "input and target; leave one of them out"
            )
        if input_dir is None or target_dir is None:
            there, missing = ("target_dir", "input_dir")[:: -1 if target_dir is None else 1]
            raise UserError(
                f"data.{there}={input_dir or target_dir}: takes data.{missing} as well, the folder "
                "of the partners"
            )
        return self.root / input_dir, self.root / target_dir

    def _check_settings(self, ignore_label: int | None) -> None:
        """Refuse settings that the layout ignores."""
        named = "data.manifest" if self.listed else "data.input_dir" if self._dirs else ""
        if self.direction != "AtoB" and named:
            raise UserError(
                f"data.direction={self.direction}: {named} says which picture is the input; set "
                "data.direction=AtoB"
            )
        if self.direction != "AtoB" and self.layout == "image_label":
            raise UserError(
                f"data.direction={self.direction}: with data.layout=image_label the label is the "
                "input; set data.direction=AtoB"
            )
        if self._dirs and self.layout == "side_by_side":
            raise UserError(
                "data.input_dir, data.target_dir: with data.layout=side_by_side both pictures are "
                "in one file; set data.layout=two_folders, or image_label for label ids"
            )
        if self._match is not None and (self.listed or self.layout == "side_by_side"):
            where = "data.manifest lists the files" if self.listed else "both pictures are one file"
            raise UserError(
                f"data.match={self._match}: finds partners in two folders, but {where}; leave it "
                "out, or set data.layout=two_folders"
            )
        if ignore_label is not None and self.layout != "image_label":
            raise UserError(
                f"data.ignore_label={ignore_label}: is a label id, and data.layout={self.layout} "
                "has none; set data.layout=image_label"
            )

    def _check_label_input(self) -> None:
        """Refuse settings of input pictures where the inputs are label ids."""
        if self._input.channels is not None:
            raise UserError(
                f"data.input_channels={self._input.channels}: with data.layout=image_label the "
                "input is label ids, which data.palette colours; leave it out"
            )
        if self._input.value_range is not None:
            span = self._target.value_range
            remedy = "leave it out"
            if span is not None:
                remedy = (
                    f"set data.value_range=[null,[{span[0]:.15g},{span[1]:.15g}]] for the target"
                )
            raise UserError(
                "data.value_range: gives the input a range, and with data.layout=image_label the "
                f"input is label ids, which have none; {remedy}"
            )

    def ids(self, subset: str) -> Sequence[str]:
        part = self._parts[subset]
        if self.listed:
            if subset != "train":
                raise MissingPart("data.manifest: lists the files of one part")
            found = Matches(self.listed)
        elif self._dirs is None and not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder{nearest_folder(self.root)}")
        else:
            if self._dirs and not any((d / self._parts["train"]).is_dir() for d in self._dirs):
                if subset != "train":
                    raise MissingPart(f"{self._dirs[0]}: has no sub-folder {self._parts['train']}")
                part = ""
            found = self._find(part)
        if found.rule and found.rule != self.matched_by:
            self.matched_by = found.rule
            log.info("partners are matched by %s", found.rule)
        prefix = f"{part}/" if part and not self.listed else ""
        named = {f"{prefix}{name}": files for name, files in sorted(found.files.items())}
        self._files |= named
        return tuple(named)

    def _find(self, part: str) -> Matches:
        if self._dirs:
            return matched([path / part for path in self._dirs], self._match)
        if self.layout == "image_label":
            return labels.find(self.root, part, self._match)
        if self.layout == "two_folders":
            return matched(self._two_folders(part), self._match)
        return Matches({name: (path,) for name, path in pictures(self.root / part).items()})

    def _two_folders(self, part: str) -> tuple[Path, Path]:
        around = ((part, ""), (f"{part}_", ""), ("", f"/{part}")) if part else (("", ""),)
        spelled = [
            (self.root / f"{before}A{after}", self.root / f"{before}B{after}")
            for before, after in around
        ]
        there = [folders for folders in spelled if any(folder.is_dir() for folder in folders)]
        if len(there) > 1:
            raise UserError(
                f"{there[0][0]}: are the pairs here, or in {there[1][0]}? Remove one, or set "
                "data.input_dir and data.target_dir"
            )
        return (there or spelled)[0]

    def load(self, image_id: str) -> Pair:
        files = self._files[image_id]
        if self.layout == "image_label":
            pair = labels.load(
                files, self._palette, self.read_file, self._ignore_label, self._target
            )
            check_sizes(pair.x, pair.y, files[:2])
            return pair
        decoded = [stored(path, self.read_file, self._input) for path in files]
        a, b = _halves(decoded[0], files[0]) if len(files) == 1 else decoded
        check_sizes(a, b, files)
        sides = [(a, files[0]), (b, files[-1])]
        x, y = sides if self.direction == "AtoB" else sides[::-1]
        return Pair(self._input.declared(*x), self._target.declared(*y))

    def passed_over(self) -> dict[str, tuple[Path, ...]]:
        """The files in the dataset's folders that are not read, by the reason."""
        if self.listed:
            return {}
        found: dict[str, tuple[Path, ...]] = {}
        for folder in self._dirs or (self.root,):
            for reason, paths in passed_over(folder).items():
                found[reason] = (*found.get(reason, ()), *paths)
        return found

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
        for image_id in progress(ids, "fingerprint", is_brief=True):
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


def check_sizes(a: Picture, b: Picture, files: tuple[Path, ...]) -> None:
    """Refuse a pair of pictures that are too small or have different aspect ratios.

    Args:
        a, b: the pictures.
        files: that they are from, for messages; one file may hold both.

    Raises:
        UserError: they do not fit.
    """
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
