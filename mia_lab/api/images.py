"""Images that a caller gives, as a dataset: arrays, sequences of pairs, and folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mia_lab.config import build
from mia_lab.config.choices import Direction
from mia_lab.config.compose import composed
from mia_lab.config.overrides import key_of
from mia_lab.config.schema import Data
from mia_lab.config.signature import signature_of
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.picture import Picture
from mia_lab.data.source import MissingPart, Pair, PairSource
from mia_lab.errors import UserError

Images = str | Path | tuple[Any, Any] | Sequence[tuple[Any, Any]]
"""A folder; a tuple of inputs and targets, arrays or tensors (N, C, H, W); or a list of pairs.

Pixels are uint8 or uint16, or floating-point numbers in [0, 1]. The two parts of a pair have the
shape (C, H, W) or (H, W), or are Pillow images. A ``torch.utils.data.Dataset`` is such a list.
"""

MODES = ("L", "RGB", "I;16")
"""Modes of Pillow whose numbers are grey levels or colours."""

LAST = 4
"""An array whose last axis is at most this long seems to have its channels last."""


class ArrayPairs:
    """Pairs in memory, or in a sequence that loads them.

    Args:
        name: the name of the argument that gives them; their ids are ``name/0``, ``name/1``, ...
        images: see :data:`Images`.
        sizes_differ: whether pictures may differ in size, because they are resized.

    Raises:
        UserError: there are no images, or the numbers of inputs and targets differ. While reading:
            a pair has another shape or type than described, or changes between two reads.
    """

    version: ClassVar[int] = 1

    def __init__(self, name: str, images: Any, sizes_differ: bool = False) -> None:
        self._name = name
        self._sizes_differ = sizes_differ
        if hasattr(images, "dataset"):
            raise UserError(f"{name}: is a {type(images).__name__}; give its dataset")
        is_list = hasattr(images, "__len__") and hasattr(images, "__getitem__")
        if not is_list or isinstance(images, Mapping | bytes):
            raise UserError(
                f"{name}: is a {type(images).__name__}; give a folder, a tuple "
                "(inputs, targets) of shape (N, C, H, W), or a list of pairs"
            )
        if isinstance(images, list) and [getattr(i, "ndim", 0) for i in images] == [4, 4]:
            raise UserError(f"{name}: is a list of two arrays (N, C, H, W); give a tuple (x, y)")
        self._pairs: Sequence[Any] = images
        if isinstance(images, tuple):
            self._pairs = _Stacked(name, images)
        if not len(self._pairs):
            raise UserError(f"{name}: has no images")
        digits = len(str(len(self._pairs) - 1))
        self._rows = {f"{name}/{i:0{digits}d}": i for i in range(len(self._pairs))}
        self._contents: dict[str, str] = {}

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the first target."""
        first, row = next(iter(self._rows.items()))
        target = as_picture(f"{first}: its target", self._pair(first, row)[1])
        return target.width, target.height

    def _pair(self, image_id: str, row: int) -> Sequence[Any]:
        item = self._pairs[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{image_id}: is no pair; give (input, target)")
        return item

    def _check_sizes(self, image_id: str, *pair: Picture) -> None:
        for picture in pair:
            size = picture.width, picture.height
            if not self._sizes_differ and size != self.size:
                raise UserError(
                    f"{image_id}: has a picture of {size[0]} x {size[1]} pixels, the first target "
                    f"has {self.size[0]} x {self.size[1]}; give image_size to resize them"
                )

    def ids(self, subset: str) -> Sequence[str]:
        if subset != "train":
            raise MissingPart(f"{self._name}: has one part")
        return tuple(self._rows)

    def load(self, image_id: str) -> Pair:
        item = self._pair(image_id, self._rows[image_id])
        x, y = (as_picture(f"{image_id}: its {side}", picture) for side, picture in _sides(item))
        self._check_sizes(image_id, x, y)
        content = hashlib.sha256(x.content() + y.content()).hexdigest()
        if self._contents.setdefault(image_id, content) != content:
            raise UserError(
                f"{image_id}: has other pixels each time it is read; switch off augmentation"
            )
        return Pair(x, y)

    def fingerprint(self, ids: Sequence[str]) -> str:
        for image_id in ids:
            if image_id not in self._contents:
                self.load(image_id)
        lines = (f"{image_id}\t{self._contents[image_id]}\n" for image_id in ids)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Stacked(Sequence[tuple[Any, Any]]):
    """Inputs and targets (N, ...) as N pairs."""

    def __init__(self, name: str, sides: tuple[Any, ...]) -> None:
        if len(sides) != 2 or any(isinstance(side, tuple) for side in sides):
            raise UserError(f"{name}: is a tuple; give (inputs, targets), or a list of pairs")
        for side in sides:
            if not hasattr(side, "__len__"):
                raise UserError(f"{name}: is a {type(side).__name__}; give arrays (N, C, H, W)")
        self._x, self._y = sides
        if len(self._x) != len(self._y):
            raise UserError(
                f"{name}: has {len(self._x)} inputs and {len(self._y)} targets; give pairs"
            )

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, row: Any) -> Any:
        return self._x[row], self._y[row]


def _sides(pair: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    return zip(("input", "target"), pair, strict=True)


def as_picture(what: str, given: Any) -> Picture:
    """One side of a pair, from an array, a tensor or a Pillow image.

    Args:
        what: it is, for messages.
        given: (C, H, W) or (H, W), of uint8, uint16 or floating-point numbers in [0, 1].

    Raises:
        UserError: it is something else.
    """
    if isinstance(given, Image.Image):
        if given.mode not in MODES:
            raise UserError(f"{what} is of mode {given.mode}; give picture.convert('RGB') or 'L'")
        levels = np.asarray(given)
        return _checked(what, levels[..., None] if levels.ndim == 2 else levels)
    if hasattr(given, "detach"):  # a tensor, perhaps of bfloat16, which NumPy does not have
        given = given.detach().cpu()
        given = given.float() if given.is_floating_point() else given
    planes = np.asarray(given)
    planes = planes[None] if planes.ndim == 2 else planes
    if planes.ndim != 3 or not planes.size:
        raise UserError(f"{what} has the shape {planes.shape}; give (C, H, W) or (H, W)")
    if planes.shape[2] <= LAST < planes.shape[0]:
        raise UserError(
            f"{what} has the shape {planes.shape}: its channels come last; give (C, H, W), such as "
            "array.transpose(2, 0, 1)"
        )
    return _checked(what, planes.transpose(1, 2, 0))


def _checked(what: str, pixels: NDArray[Any]) -> Picture:
    """Pixels (H, W, C) with the values that mean 0 and 1."""
    if pixels.dtype in (np.uint8, np.uint16):
        return Picture(pixels, 0, float(np.iinfo(pixels.dtype).max))
    if not np.issubdtype(pixels.dtype, np.floating):
        raise UserError(
            f"{what} is of type {pixels.dtype}; give uint8 or uint16, or floating-point numbers "
            "in [0, 1]"
        )
    pixels = pixels.astype(np.float32, copy=False)
    low, high = float(pixels.min()), float(pixels.max())
    if not 0 <= low <= high <= 1:
        raise UserError(
            f"{what} has values from {low:g} to {high:g}; scale them to [0, 1]: "
            "x / 255 from [0, 255], (x + 1) / 2 from [-1, 1]"
        )
    return Picture(pixels, 0, 1)


class JoinedPairs:
    """Several datasets as one; each dataset has a role of its own.

    Where two datasets have an id in common, such as those of the folders ``a/images`` and
    ``b/images``, all ids begin with the role: ``member/images/0``.

    Args:
        parts: the datasets by their role.

    Attributes:
        arrays: those of the datasets that are no folders.
        roles: the role of each image, by its id.
    """

    version: ClassVar[int] = 1

    def __init__(self, parts: Mapping[str, PairSource]) -> None:
        self.arrays = tuple(s for s in parts.values() if isinstance(s, ArrayPairs))
        self.roles: dict[str, str] = {}
        self._source: dict[str, PairSource] = {}
        self._own: dict[str, str] = {}  # ids as the datasets have them
        self._readers: dict[Path, PairSource] = {}
        own = {role: source.ids("train") for role, source in parts.items()}
        is_shared = len({*chain.from_iterable(own.values())}) < sum(map(len, own.values()))
        for role, source in parts.items():
            for own_id in own[role]:
                image_id = f"{role}/{own_id}" if is_shared else own_id
                self.roles[image_id] = role
                self._source[image_id] = source
                self._own[image_id] = own_id
        self.has_instances = all(getattr(s, "has_instances", False) for s in parts.values())
        matched = [getattr(source, "matched_by", "") for source in parts.values()]
        self.matched_by = "; ".join(dict.fromkeys(filter(None, matched)))

    def ids(self, subset: str) -> Sequence[str]:
        if subset != "train":
            raise MissingPart("the images have one part")
        return tuple(sorted(self.roles))

    def load(self, image_id: str) -> Pair:
        return self._source[image_id].load(self._own[image_id])

    def files(self, image_id: str) -> Sequence[Path]:
        """The files of one pair; none if it is in memory."""
        source = self._source[image_id]
        own_id = self._own[image_id]
        files: Sequence[Path] = source.files(own_id) if hasattr(source, "files") else ()
        self._readers |= dict.fromkeys(files, source)
        return files

    def read_file(self, path: Path) -> bytes:
        """The content of a file that :meth:`files` named."""
        content: bytes = self._readers[path].read_file(path)  # type: ignore[attr-defined]
        return content

    def fingerprint(self, ids: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for source in dict.fromkeys(self._source[image_id] for image_id in ids):
            kind = type(source)
            digest.update(f"{kind.__name__} {getattr(kind, 'version', 1)} ".encode())
            own = [self._own[image_id] for image_id in ids if self._source[image_id] is source]
            digest.update(source.fingerprint(own).encode())
        return digest.hexdigest()


def joined(
    images: Mapping[str, tuple[str, Images]], overrides: Sequence[str], sizes_differ: bool
) -> JoinedPairs:
    """The images that a caller gives, with their roles.

    Args:
        images: for each role, the name of the argument and its value.
        overrides: overrides of the configuration, which say how folders are read.
        sizes_differ: whether arrays may differ in size, because they are resized.

    Raises:
        UserError: folders and arrays are mixed; or an error of :class:`ArrayPairs` or
            :class:`~mia_lab.data.pairs.FolderPairs`.
    """
    names = {name: isinstance(given, str | Path) for name, given in images.values()}
    if len({*names.values()}) > 1:
        folder = next(name for name, is_folder in names.items() if is_folder)
        raise UserError(
            f"{folder}: is a folder, the others are not; files and arrays have other traces, which "
            "tell them apart without any model; give folders for all, or arrays for all"
        )
    return JoinedPairs(
        {
            role: folder_pairs(name, given, overrides)
            if isinstance(given, str | Path)
            else ArrayPairs(name, given, sizes_differ)
            for role, (name, given) in images.items()
        }
    )


def check_unread(overrides: Sequence[str], data: Data) -> None:
    """Refuse settings that have an effect on files only.

    Args:
        overrides: of the caller.
        data: the settings that they lead to.

    Raises:
        UserError: there is one.
    """
    read = signature_of(FolderPairs).parameters
    for override in overrides:
        section, _, key = key_of(override).partition(".")
        if section == "data" and key in read:
            raise UserError(
                f"{override}: says how files are read, and the images are no folders; leave it out"
            )
    if data.direction is not Direction.AtoB:
        raise UserError(
            f"data.direction={data.direction.value}: says how files are read, and the images are "
            "no folders; give data.direction=AtoB, or leave out the choice of data"
        )


def data_choice(overrides: Sequence[str]) -> list[str]:
    """The override that chooses a dataset, unless one does."""
    chosen = {key_of(override) for override in overrides}
    return [] if chosen & {"data", "experiment"} else ["data=custom"]


def folder_pairs(name: str, folder: str | Path, overrides: Sequence[str]) -> PairSource:
    """The pairs of a folder, with the ids that the command gives them.

    Args:
        name: the name of the argument.
        folder: ``data.root`` and ``data.train`` as one path. With ``data.layout=side_by_side``,
            ``pairs/train`` holds the pictures. With ``two_folders``, they are in ``pairs/trainA``
            and ``pairs/trainB``.
        overrides: overrides of the configuration, such as the layout.

    Raises:
        UserError: see :class:`~mia_lab.data.pairs.FolderPairs`.
    """
    path = Path(folder).expanduser()
    if path.name in ("", ".."):
        path = path.resolve()
    try:
        place = f"data.root={path.parent}", f"data.train={path.name}"
        chosen = data_choice(overrides)
        sections = ("data", "experiment", "scale")
        own = (o for o in overrides if key_of(o).partition(".")[0] in sections)
        config = composed("task=difficulty", *chosen, *own, "data.source=folder", *place)
        source = build.source(config.data)
        source.ids("train")
        return source
    except UserError as error:
        raise UserError(f"{name}={folder}: {error}") from error
