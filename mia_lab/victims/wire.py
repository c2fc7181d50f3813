"""Encoding of images as text, for the exchange between client and server.

See `mia_lab.victims.http`.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

TRANSPORT = {"png": "8-bit PNG over HTTP", "npy": None}
"""The encodings; the value names the transport if it loses precision, else None."""


def encode_image(image: Tensor, encoding: str) -> str:
    """One image as base64.

    Args:
        image: float32 (C, H, W) in [0, 1]; (3, H, W) with ``png``.
        encoding: ``png`` or ``npy``.
    """
    file = io.BytesIO()
    if encoding == "png":
        levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(file, "PNG", compress_level=1)
    else:
        np.lib.format.write_array(file, image.numpy(), allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def decode_image(text: object, encoding: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """One image from base64: float32 (C, H, W) in [0, 1].

    Args:
        text: received string.
        encoding: ``png`` or ``npy``.
        shape: required shape; None accepts any.

    Raises:
        ValueError: the text is not such an image; the message continues after the image's name.
    """
    try:
        data = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError("is not base64") from error
    image = _decode_png(data, shape) if encoding == "png" else _decode_npy(data)
    if shape is not None and image.shape != shape:
        raise ValueError(f"has shape {tuple(image.shape)}, expected {shape}")
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"has shape {tuple(image.shape)}, expected (C, H, W)")
    low, high = image.min().item(), image.max().item()
    if not image.isfinite().all():
        raise ValueError("is not finite")
    if low < 0 or high > 1:
        raise ValueError(f"is outside [0, 1] ({low:.9g} to {high:.9g})")
    return image


def _decode_png(data: bytes, shape: tuple[int, ...] | None) -> Tensor:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            size = (3, picture.height, picture.width)
            if shape is not None and size != shape:  # checked before the pixels take memory
                raise ValueError(f"has shape {size}, expected {shape}")
            if picture.mode != "RGB":
                raise ValueError(f"has pixel format {picture.mode}, expected 8-bit RGB")
            levels = np.array(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("is not a complete PNG") from error
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous().float() / 255


def _decode_npy(data: bytes) -> Tensor:
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a header is an expression: Python's parser raises many types
        raise ValueError("is not a complete .npy file") from error
    if array.dtype != np.float32:
        raise ValueError(f"has type {array.dtype}, expected float32")
    return torch.from_numpy(np.ascontiguousarray(array))
