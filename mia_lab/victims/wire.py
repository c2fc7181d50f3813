"""Encoding of images as text, for the exchange between client and server.

See `mia_lab.victims.http`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

Check = Callable[[tuple[int, ...]], None]
"""Raises ValueError for a shape (C, H, W) that is not wanted."""

TRANSPORT = {"png": "8-bit PNG over HTTP", "npy": None}
"""The encodings; the value names the transport if it loses precision, else None."""

PNG_MODES = {"L": 1, "RGB": 3, "RGBA": 4}
"""Numbers of channels of PNG files of 8 bits, by the modes of Pillow."""


def encode_image(image: Tensor, encoding: str) -> str:
    """One image as base64.

    Args:
        image: float32 (C, H, W) in [0, 1]; C is in `PNG_MODES` with ``png``.
        encoding: ``png`` or ``npy``.
    """
    file = io.BytesIO()
    if encoding == "png":
        levels = (image * 255).round().to(torch.uint8)
        pixels = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(file, "PNG", compress_level=1)
    else:
        np.lib.format.write_array(file, image.numpy(), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def decode_image(
    text: object,
    encoding: str,
    shape: tuple[int, ...] | None = None,
    most_pixels: int | None = None,
) -> Tensor:
    """One image from base64: float32 (C, H, W) in [0, 1].

    Memory grows with the text, and with the pixels of an image that fits ``shape`` and
    ``most_pixels``, but not with the size that a file only claims.

    Args:
        text: received string.
        encoding: ``png`` or ``npy``.
        shape: required shape; None accepts any.
        most_pixels: largest height times width; None accepts any.

    Raises:
        ValueError: the text is not such an image; the message continues after the image's name.
    """
    try:
        data = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError("is not base64") from error

    def check(size: tuple[int, ...]) -> None:
        if shape is not None and size != shape:
            raise ValueError(f"has shape {size}, expected {tuple(shape)}")
        if len(size) != 3 or 0 in size:
            raise ValueError(f"has shape {size}, expected (C, H, W)")
        if most_pixels is not None and size[1] * size[2] > most_pixels:
            raise ValueError(f"has {size[1]} x {size[2]} pixels, at most {most_pixels} are allowed")

    image = _decode_png(data, check) if encoding == "png" else _decode_npy(data, check)
    low, high = image.min().item(), image.max().item()
    if not image.isfinite().all():
        raise ValueError("is not finite")
    if low < 0 or high > 1:
        raise ValueError(f"is outside [0, 1] ({low:.9g} to {high:.9g})")
    return image


def _decode_png(data: bytes, check: Check) -> Tensor:
    with _decoding("PNG"):  # with the class of the format: Image.open warns of large pictures
        picture = PngImageFile(io.BytesIO(data))
    with picture:
        # Pillow reads 16-bit RGB as its upper 8 bits, and a transparent colour as any other.
        stored = str(picture.tile[0].args if picture.tile else picture.mode)
        if "transparency" in picture.info:
            stored += " with a transparent colour"
        if picture.mode not in PNG_MODES or stored != picture.mode:
            raise ValueError(f"has pixel format {stored}, expected 8-bit grey, RGB or RGBA")
        check((PNG_MODES[picture.mode], picture.height, picture.width))
        with _decoding("PNG"):
            levels = np.array(picture).reshape(picture.height, picture.width, -1)
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous().float().div_(255)


def _decode_npy(data: bytes, check: Check) -> Tensor:
    with _decoding(".npy file"):  # fills an array only as far as there is data
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    if array.dtype != np.float32:
        raise ValueError(f"has type {str(array.dtype)[:40]}, expected float32")
    check(array.shape)
    return torch.from_numpy(np.ascontiguousarray(array))


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders raise what they like
        raise ValueError(f"is not a complete {what}") from error
