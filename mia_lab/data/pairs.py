"""Pairs of pictures in folders: side by side in one file, or one folder a domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image
from tqdm import tqdm

from mia_lab.data.source import MissingPart, Pair
from mia_lab.errors import UserError

MIN_SIDE = 16
"""Smallest height and width of one picture, in pixels."""

_EIGHT_BIT_MODES = {"1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"}


class FolderPairs:
    """Pairs stored in folders.

    ``side_by_side``: ``<root>/<train>/NAME.jpg`` holds A in its left and B in its right half.
    ``two_folders``: ``<root>/<train>A/NAME.*`` and ``<root>/<train>B/NAME.*``.
    Any format Pillow reads, grey or RGB. An id is ``<train>/NAME``.

    Args:
        root: the dataset's folder.
        layout: ``side_by_side`` or ``two_folders``.
        direction: ``AtoB`` takes A as input and B as target; ``BtoA`` the other way round.
        train, test: names of the two parts; "" or "." where the pictures lie in the root itself.
    """

    def __init__(
        self, root: str, layout: str, direction: str, train: str = "train", test: str = "test"
    ) -> None:
        self.root = Path(root)
        self.layout = layout
        self.direction = direction
        self._parts = {"train": train, "test": test}
        self._files: dict[str, tuple[Path, ...]] = {}
        self._hashes: dict[Path, str] = {}

    def ids(self, subset: str) -> Sequence[str]:
        part = self._parts[subset]
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder")
        found = self._side_by_side(part) if self.layout == "side_by_side" else self._folders(part)
        prefix = "" if part in ("", ".") else f"{part}/"
        named = {f"{prefix}{name}": files for name, files in sorted(found.items())}
        self._files |= named
        return tuple(named)

    def _side_by_side(self, part: str) -> dict[str, tuple[Path, ...]]:
        return {name: (path,) for name, path in _pictures(self.root / part).items()}

    def _folders(self, part: str) -> dict[str, tuple[Path, ...]]:
        part = "" if part == "." else part
        a, b = (_pictures(self.root / f"{part}{side}") for side in "AB")
        for mine, other, side in ((a, b, "B"), (b, a, "A")):
            for name in sorted(mine.keys() - other.keys()):
                raise UserError(
                    f"{mine[name]}: has no partner {name}.* in {self.root / f'{part}{side}'}; "
                    "add it, or remove this file"
                )
        return {name: (a[name], b[name]) for name in a}

    def load(self, image_id: str) -> Pair:
        files = self._files[image_id]
        pictures = [_decode(path) for path in files]
        a, b = _halves(pictures[0], files[0]) if len(files) == 1 else (pictures[0], pictures[1])
        for picture, path in ((a, files[0]), (b, files[-1])):
            if min(picture.size) < MIN_SIDE:
                raise UserError(
                    f"{path}: a picture of {picture.width} x {picture.height} pixels is too small "
                    f"(at least {MIN_SIDE} x {MIN_SIDE}); remove the pair"
                )
        if abs(a.width * b.height - b.width * a.height) > max(*a.size, *b.size):
            raise UserError(
                f"{files[0]}: {a.width} x {a.height} pixels, but its partner {files[-1]} has "
                f"{b.width} x {b.height}; a pair must have one aspect ratio"
            )
        return Pair(a, b) if self.direction == "AtoB" else Pair(b, a)

    def fingerprint(self, ids: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{self.layout} {self.direction}".encode())
        for image_id in tqdm(ids, "fingerprint", unit=" images", delay=2, leave=False):
            for path in self._files[image_id]:
                if path not in self._hashes:
                    self._hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{image_id}\t{self._hashes[path]}\n".encode())
        return digest.hexdigest()


def _pictures(folder: Path) -> dict[str, Path]:
    """Every picture below a folder by its name without the ending."""
    if not folder.is_dir():
        raise MissingPart(
            f"{folder}: no such folder; set data.root, data.layout, data.train and data.test "
            "to match your files"
        )
    endings = Image.registered_extensions()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = path.name.startswith(".")
        if hidden or path.suffix.lower() not in endings or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{path}: two pictures named {name} ({found[name].name}); remove one")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: holds no pictures; put the pairs there or set data.root")
    return found


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.mode not in _EIGHT_BIT_MODES:
                raise UserError(
                    f"{path}: pixel format {picture.mode} has more than 8 bits a channel; "
                    "convert the dataset to 8 bits"
                )
            if picture.has_transparency_data:
                alpha = picture.convert("RGBA").getchannel("A")
                if alpha.getextrema() != (255, 255):
                    raise UserError(f"{path}: has transparent pixels; flatten it first")
            if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                raise UserError(
                    f"{path}: is stored rotated (EXIF orientation), so it would not match its "
                    "partner; save it upright"
                )
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); replace or remove it") from error


def _halves(picture: Image.Image, path: Path) -> tuple[Image.Image, Image.Image]:
    width, height = picture.size
    if width % 2 or width < 2:
        raise UserError(
            f"{path}: {width} pixels wide, which cannot be halved; a side-by-side pair has an even "
            "width (two separate folders? set data.layout=two_folders)"
        )
    half = width // 2
    return picture.crop((0, 0, half, height)), picture.crop((half, 0, width, height))
