"""Whether a model's answers belong to their targets, without any question of membership."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from torch.nn import functional

from mia_lab.evaluation.results import Correspondence
from mia_lab.types import Floats

PIXELS = 32
"""Longest side at which pictures are compared, in pixels."""

PERMUTATIONS = 999


def correspondence(answers: Floats, targets: Floats, rng: np.random.Generator) -> Correspondence:
    """How much nearer answers lie to their own targets than to the targets of other images.

    The distance is the mean absolute error of reduced pictures. If the answers had nothing to do
    with their targets, every assignment of targets to answers would be as likely, and an answer
    would lie nearer to its own target than to half of the others. This happens with a reversed
    direction, and nearly so with a wrong size or range of values.

    Args:
        answers, targets: (N, C, H, W) in [0, 1].
        rng: the source of randomness of the permutations.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> targets = rng.random((20, 1, 32, 32))
        >>> correspondence(0.9 * targets, targets, rng).share
        1.0
    """
    n = len(answers)
    if n < 2:
        return Correspondence(n, 0.5, 1.0)
    errors = cdist(_reduced(answers), _reduced(targets), "cityblock")
    # Share of the other targets that are farther from an answer; a tie counts one half.
    farther = (n - rankdata(errors, axis=1)) / (n - 1)
    share = float(np.diag(farther).mean())
    rows = np.arange(n)
    null = [farther[rows, rng.permutation(n)].mean() for _ in range(PERMUTATIONS)]
    as_large = np.count_nonzero(np.array(null) >= share - 1e-12)
    return Correspondence(n, share, (1 + as_large) / (1 + PERMUTATIONS))


def _reduced(pictures: Floats) -> Floats:
    """Flat float64 pictures of at most :data:`PIXELS` pixels a side, averaged over areas."""
    images = torch.from_numpy(np.array(pictures, np.float64))
    height, width = (min(PIXELS, side) for side in images.shape[2:])
    reduced: Floats = functional.adaptive_avg_pool2d(images, (height, width)).flatten(1).numpy()
    return reduced
