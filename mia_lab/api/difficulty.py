"""Difficulty scores as a function call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mia_lab.api.call import Settings, call
from mia_lab.config import build
from mia_lab.stages.difficulty import side_by_side
from mia_lab.stages.graph import difficulty_stages
from mia_lab.tasks import common
from mia_lab.tasks.surveyed import surveyed_images
from mia_lab.types import Floats, Role


def difficulty_scores(
    x: Any,
    y: Any,
    *,
    difficulty: str | None = None,
    backbone: str | None = None,
    image_size: int | Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    seed: int = 0,
) -> Floats:
    """Measure how hard each image is to generate; this needs no model and no training set.

    The score is the held-out error of a linear probe that predicts the pixels of the target from
    deep features of the input. The probe is fitted on this one pair (Shafran et al. 2021,
    arXiv:2102.07762, Eq. 2).

    Args:
        x: inputs, an array or a tensor (N, C, H, W), in [0, 1] or of type uint8.
        y: targets (N, C', H, W), of the same kind.
        difficulty, backbone, image_size, overrides, folder, seed: see :func:`mia_lab.audit`; the
            settings of the probe are overrides, such as ``["difficulty.ridge=10"]``.

    Returns:
        float64 (N,), mean absolute errors of the target's pixels, whose values are in [0, 1].

    Raises:
        UserError: an argument or an image is not as described.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((2, 3, 32, 32)).astype(np.float32)
        >>> y = np.stack([np.full((3, 32, 32), 0.5), rng.random((3, 32, 32))]).astype(np.float32)
        >>> easy, hard = difficulty_scores(x, y)
        >>> bool(easy < 0.01 < 0.1 < hard)
        True
    """
    settings = Settings(difficulty, backbone, image_size, overrides, folder, seed)
    images = {Role.AUXILIARY.value: ("images", (x, y))}
    with call("difficulty", settings, images) as (config, temporary):
        pairs = surveyed_images(config, build.source(config.data))
        stages = difficulty_stages(config, pairs)
        with common.started(config, temporary, stages) as store:
            table = side_by_side([store.result(stage) for stage in stages])
            return np.array(table.mean()[:, 0], dtype=np.float64)
