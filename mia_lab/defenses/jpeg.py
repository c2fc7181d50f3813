"""Answers compressed and decompressed as JPEG."""

from __future__ import annotations

import io
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le
from PIL import Image
from torch import Tensor

from mia_lab.defenses import Deterministic


class Jpeg(Deterministic):
    """Compression and decompression; other pictures than grey and RGB channel by channel.

    Args:
        quality: as Pillow counts it.
    """

    version: ClassVar[int] = 1

    def __init__(self, quality: Annotated[int, Ge(1), Le(95)]) -> None:
        self.quality = quality

    def expected(self, pictures: Tensor) -> Tensor:
        levels = (pictures * 255).round().byte().cpu().numpy()
        if pictures.shape[1] == 3:
            files = (self._through_file(picture.transpose(1, 2, 0)) for picture in levels)
            shown = np.stack([picture.transpose(2, 0, 1) for picture in files])
        else:
            planes = [self._through_file(plane) for picture in levels for plane in picture]
            shown = np.stack(planes).reshape(levels.shape)
        return torch.from_numpy(shown).float().div(255).to(pictures.device)

    def _through_file(self, picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(file, "jpeg", quality=self.quality)
        return np.asarray(Image.open(file))
