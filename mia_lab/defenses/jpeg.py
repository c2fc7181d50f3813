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
    """Compression and decompression.

    Args:
        quality: Pillow's.
    """

    version: ClassVar[int] = 1

    def __init__(self, quality: Annotated[int, Ge(1), Le(95)]) -> None:
        self.quality = quality

    def expected(self, pictures: Tensor) -> Tensor:
        levels = (pictures * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        shown = np.stack([self._through_file(picture) for picture in levels])
        return torch.from_numpy(shown).permute(0, 3, 1, 2).float().div(255).to(pictures.device)

    def _through_file(self, picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=self.quality)
        return np.asarray(Image.open(file).convert("RGB"))
