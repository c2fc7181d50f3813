"""A canary: twins of a picture, the random choice of one of them, and the commitment to it.

The folder of a canary holds

- ``publish/``: the input and the chosen twin, for publication;
- ``commitment.json``: the hash of ``secret/opening.json``, to lodge with a third party before
  publication;
- ``secret/``: the opening (nonce, choice, hashes of all files, settings), inputs and twins.

The commitment is the SHA-256 of the bytes of ``secret/opening.json`` as it was written, which are
canonical JSON. The nonce of 256 random bits keeps others from finding the choice by trial.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mia_lab.data.picture import Picture
from mia_lab.data.reading import decode
from mia_lab.data.source import MissingPart, Pair
from mia_lab.data.transforms import ResizeMode, Resizing
from mia_lab.errors import UserError, nearest_folder
from mia_lab.parameters import MIN_SIDE, size_text
from mia_lab.store import canonical_json
from mia_lab.store.content import file_sha256
from mia_lab.store.disk import write_file

FORMAT: Literal["mia_lab canary 1"] = "mia_lab canary 1"

PUBLISH, SECRET, COMMITMENT = "publish", "secret", "commitment.json"
OPENING = f"{SECRET}/opening.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Opening(BaseModel):
    """What the owner committed to.

    Attributes:
        format: of the folder.
        nonce: 256 random bits.
        date: of the draw, by the clock of the owner's machine, UTC.
        kind: how the twins were made, in words.
        k: number of twins besides the chosen one.
        choice: index of the chosen twin.
        inputs: SHA-256 of the file of the input; of all ``k + 1`` inputs if each twin has its own.
        twins: SHA-256 of the files of the ``k + 1`` twins.
        settings: how the twins are scored, the victim queried and canaries combined, by key of the
            configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["mia_lab canary 1"]
    nonce: Sha256
    date: str
    kind: str
    k: Annotated[int, Field(ge=1)]
    choice: Annotated[int, Field(ge=0)]
    inputs: list[Sha256]
    twins: list[Sha256]
    settings: dict[str, Any]

    @property
    def sha256(self) -> str:
        """The commitment."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.model_dump())

    def parts(self) -> dict[str, str]:
        """A hash of each part with the nonce, which tells what was changed and nothing else."""
        parts = self.model_dump(exclude={"nonce", "settings"}) | self.settings
        return {
            name: hashlib.sha256(canonical_json([self.nonce, name, value]).encode()).hexdigest()
            for name, value in parts.items()
        }


class Commitment(BaseModel):
    """The public file of a canary.

    Attributes:
        format, date: as in :class:`Opening`.
        sha256: the commitment.
        parts: see :meth:`Opening.parts`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["mia_lab canary 1"]
    date: str
    sha256: Sha256
    parts: dict[str, Sha256]


@dataclass(frozen=True)
class Canary:
    """A canary whose files are those that were committed to.

    Attributes:
        folder: where it is.
        sha256: the commitment.
        opening: what was committed to.
    """

    folder: Path
    sha256: str
    opening: Opening

    @property
    def published(self) -> tuple[Path, Path]:
        """The input and the target to publish."""
        return self.folder / PUBLISH / "input.png", self.folder / PUBLISH / "target.png"

    def input_file(self, twin: int) -> Path:
        """The file of a twin's input."""
        return _input_file(self.folder, twin if len(self.opening.inputs) > 1 else 0)

    def twin_file(self, twin: int) -> Path:
        """The file of a twin."""
        return _twin_file(self.folder, twin)


def _input_file(folder: Path, number: int) -> Path:
    return folder / SECRET / "inputs" / f"{number:04d}.png"


def _twin_file(folder: Path, number: int) -> Path:
    return folder / SECRET / "twins" / f"{number:04d}.png"


# Drawing


def drawn(
    inputs: Sequence[str], twins: Sequence[str], kind: str, settings: Mapping[str, Any]
) -> Opening:
    """Choose one of some twins at random: what the owner commits to.

    The choice comes from the operating system's randomness. A seed of the configuration would not
    do: the owner could try seeds until the choice suits, and whoever guesses the seed knows the
    choice. In both cases it would not be random under the null.

    Args:
        inputs: SHA-256 of the files of the inputs, one for all twins or one for each.
        twins: SHA-256 of the files of the k + 1 twins.
        kind: how the twins were made, in words.
        settings: see :class:`Opening`; JSON values.
    """
    return Opening(
        format=FORMAT,
        nonce=secrets.token_hex(32),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=kind,
        k=len(twins) - 1,
        choice=secrets.randbelow(len(twins)),
        inputs=list(inputs),
        twins=list(twins),
        settings=dict(settings),
    )


def draw_canary(
    folder: Path,
    inputs: Iterable[NDArray[np.uint8]],
    twins: Iterable[NDArray[np.uint8]],
    kind: str,
    settings: Mapping[str, Any],
) -> Canary:
    """Choose one of some twins at random, and write the folder of the canary.

    Args:
        folder: a new folder; it is removed again if something fails.
        inputs: uint8 (H, W, C), one for all twins or one for each.
        twins: k + 1 pictures, uint8 (H, W, C).
        kind, settings: see :func:`drawn`.

    Raises:
        UserError: the folder exists, or cannot be written; or see :func:`distinct`.
    """
    claim(folder)
    try:
        (folder / SECRET).mkdir(mode=0o700)
        for name in (PUBLISH, f"{SECRET}/inputs", f"{SECRET}/twins"):
            (folder / name).mkdir()
        targets = [_written(_twin_file(folder, i), pixels) for i, pixels in enumerate(twins)]
        conditions = [_written(_input_file(folder, i), pixels) for i, pixels in enumerate(inputs)]
        opening = drawn(conditions, targets, kind, settings)
        canary = Canary(folder, opening.sha256, opening)
        write_file(folder / OPENING, opening.text)
        chosen = canary.input_file(opening.choice), canary.twin_file(opening.choice)
        for source, copy in zip(chosen, canary.published, strict=True):
            write_file(copy, source.read_bytes())
        commitment = Commitment(
            format=FORMAT, date=opening.date, sha256=opening.sha256, parts=opening.parts()
        )
        write_file(folder / COMMITMENT, commitment.model_dump_json(indent=2) + "\n")
    except BaseException:
        shutil.rmtree(folder)  # ours: it did not exist before
        raise
    return canary


def _written(path: Path, pixels: NDArray[np.uint8]) -> str:
    """Write a picture; the sha256 of its file."""
    file = png(pixels)
    write_file(path, file)
    return hashlib.sha256(file).hexdigest()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The file of a picture, uint8 (H, W, 1) or (H, W, 3)."""
    buffer = io.BytesIO()
    plane = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(plane)).save(buffer, format="png")
    return buffer.getvalue()


def claim(folder: Path) -> None:
    """Make a new folder.

    Raises:
        UserError: it exists, or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        raise UserError(
            f"canary.folder={folder}: exists; a canary is never overwritten, name a new folder"
        ) from None
    except OSError as error:
        raise UserError(f"canary.folder={folder}: {error.strerror}") from error


def eight_bit(what: str, picture: Picture) -> NDArray[np.uint8]:
    """The pixels (H, W, C) of a picture that a PNG of 8 bits can hold.

    Raises:
        UserError: it is another picture, or too small.
    """
    if not picture.is_eight_bit or picture.channels not in (1, 3):
        raise UserError(
            f"{what}: is {picture.describe()}; a canary is a picture of 8 bits, grey or RGB: "
            "convert it"
        )
    if min(picture.width, picture.height) < MIN_SIDE:
        raise UserError(
            f"{what}: has {picture.width} x {picture.height} pixels, but needs at least "
            f"{MIN_SIDE} x {MIN_SIDE}"
        )
    pixels: NDArray[np.uint8] = picture.pixels
    return pixels


def distinct(
    twins: Iterable[tuple[str, NDArray[np.uint8]]],
    image_size: int | Sequence[int],
    resize: ResizeMode,
) -> Iterator[NDArray[np.uint8]]:
    """The same twins, if they can be told apart in the size in which they are scored.

    Args:
        twins: names and pictures, uint8 (H, W, C); one at a time is in memory.
        image_size, resize: the size in which the victim answers.

    Raises:
        UserError: their sizes or channels differ, or two of them are the same.
    """
    first: tuple[str, tuple[int, ...]] | None = None
    stored: dict[bytes, str] = {}
    resized: dict[bytes, str] = {}
    resizing = Resizing.of(image_size, resize)
    for name, pixels in twins:
        first = first or (name, pixels.shape)
        if pixels.shape != first[1]:
            raise UserError(
                f"{name}: has {_shape(pixels.shape)}, but {first[0]} has {_shape(first[1])}; all "
                "variants need one size and one number of channels"
            )
        if (other := stored.setdefault(_digest(pixels), name)) != name:
            raise UserError(
                f"{other} and {name}: are the same picture; raise canary.strength, or remove one"
            )
        small = resizing(Picture.of(pixels))
        if (other := resized.setdefault(_digest(small), name)) != name:
            raise UserError(
                f"{other} and {name}: cannot be told apart at data.image_size="
                f"{size_text(image_size)} in 8 bits; raise canary.strength or data.image_size, or "
                "give other variants"
            )
        yield pixels


def _digest(pixels: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()


def _shape(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{width} x {height} pixels in {channels} channel{'s' if channels > 1 else ''}"


# Reading


def read_canary(folder: Path) -> Canary:
    """The canary in a folder, if nothing in it has changed since its commitment.

    Raises:
        UserError: the folder holds no canary, something is missing, or something was changed; the
            message names it.
    """
    key = f"canary.folders={folder}"
    if not folder.is_dir():
        raise UserError(f"{key}: no such folder{nearest_folder(folder)}")
    if not (folder / COMMITMENT).is_file():
        raise UserError(
            f"{key}: is no canary (it has no {COMMITMENT}); give a folder that "
            "canary.action=draw has written"
        )
    commitment = _parsed(Commitment, folder / COMMITMENT)
    if not (folder / OPENING).is_file():
        raise UserError(
            f"{folder / OPENING}: is missing; without its nonce and its choice the commitment "
            "cannot be opened, and nothing can be tested. Restore it from your copy"
        )
    opening = _parsed(Opening, folder / OPENING)
    try:
        changed = _changed(commitment, opening)
    except ValueError as error:  # NaN is no JSON
        raise UserError(f"{folder / OPENING}: is damaged ({error}); restore it") from error
    if changed:
        raise UserError(
            f"{key}: {changed} since the commitment, so that a test would prove nothing; restore "
            f"{OPENING} and {COMMITMENT} from your copies"
        )
    numbers = range(opening.k + 1)
    if (
        len(opening.twins) != len(numbers)
        or opening.choice not in numbers
        or len(opening.inputs) not in (1, len(numbers))
    ):
        raise UserError(
            f"{folder / OPENING}: its numbers of twins and inputs, its k and its choice do not "
            "fit; canary.action=draw has not written it"
        )
    canary = Canary(folder, commitment.sha256, opening)
    for i, sha256 in enumerate(opening.inputs):
        _check_file(canary.input_file(i), sha256, "the input")
    for i, sha256 in zip(numbers, opening.twins, strict=True):
        _check_file(canary.twin_file(i), sha256, f"twin {i}")
    chosen = opening.inputs[opening.choice if len(opening.inputs) > 1 else 0]
    copies = zip(canary.published, (chosen, opening.twins[opening.choice]), strict=True)
    for path, sha256 in copies:  # the owner may have moved them
        if path.is_file() and file_sha256(path) != sha256:
            raise UserError(
                f"{path}: is not the file that was drawn; restore it, or remove the folder "
                f"{PUBLISH}/ here if the right one was published"
            )
    return canary


_File = TypeVar("_File", bound=BaseModel)


def _parsed(kind: type[_File], path: Path) -> _File:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its JSON"
        raise UserError(f"{path}: is damaged ({where}: {first['msg']}); restore it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _changed(commitment: Commitment, opening: Opening) -> str:
    """What differs from the commitment, in words; "" if nothing does."""
    if commitment.sha256 == opening.sha256:
        return "" if commitment.date == opening.date else f"date in {COMMITMENT} was changed"
    parts = opening.parts()
    names = sorted(parts.keys() | commitment.parts.keys())
    changed = [name for name in names if parts.get(name) != commitment.parts.get(name)]
    if not changed:
        return f"sha256 in {COMMITMENT} was changed"
    if len(changed) == len(names):
        return "the nonce was changed"  # or all of it, as in the folder of another canary
    return f"{', '.join(changed)} {'were' if len(changed) > 1 else 'was'} changed"


def _check_file(path: Path, sha256: str, what: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: {what} is missing; restore it from your copy")
    if file_sha256(path) != sha256:
        raise UserError(
            f"{path}: {what} was changed since the commitment, so that a test would prove "
            "nothing; restore it from your copy"
        )


class CanaryPairs:
    """The distinct inputs of some canaries as a :class:`~mia_lab.data.source.PairSource`.

    An input that several canaries or twins share is one pair: the victim is queried with it once.
    The target of a pair is the first twin of the input; nothing but its size and its channels is
    read.

    Args:
        canaries: the canaries, by the name that begins the ids.
    """

    version: ClassVar[int] = 1

    def __init__(self, canaries: Mapping[str, Canary]) -> None:
        self._files: dict[str, tuple[Path, Path]] = {}
        self._sha256: dict[str, str] = {}
        self._id: dict[str, str] = {}
        for name, canary in canaries.items():
            inputs = canary.opening.inputs
            for i, sha256 in enumerate(inputs):
                if sha256 not in self._id:
                    image_id = f"{name}/{i:04d}" if len(inputs) > 1 else name
                    self._id[sha256] = image_id
                    self._files[image_id] = canary.input_file(i), canary.twin_file(i)
                    self._sha256[image_id] = f"{sha256} {canary.opening.twins[i]}"

    def id_of(self, canary: Canary, twin: int) -> str:
        """The id of a twin's input."""
        inputs = canary.opening.inputs
        return self._id[inputs[twin if len(inputs) > 1 else 0]]

    def ids(self, subset: str) -> Sequence[str]:
        if subset != "train":
            raise MissingPart("canaries have one part")
        return tuple(sorted(self._files))

    def load(self, image_id: str) -> Pair:
        x, y = (decode(path) for path in self._files[image_id])
        return Pair(x, y)

    def fingerprint(self, ids: Sequence[str]) -> str:
        lines = (f"{image_id}\t{self._sha256[image_id]}\n" for image_id in ids)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
