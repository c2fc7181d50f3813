"""Quality of a victim's answers, independent of membership."""

from __future__ import annotations

import numpy as np

from mia_lab.types import Floats


def frechet_distance(first: Floats, second: Floats) -> float:
    """Frechet distance between Gaussians fitted to two samples of features.

    Heusel et al. 2017 (arXiv:1706.08500, Eq. 6), with features of the configured backbone instead
    of Inception's, so that only runs with the same backbone are comparable. The trace of the root
    of the product of the covariances is the sum of the singular values of an m x n matrix, which is
    exact also if m - 1 is below the number of features and the covariances are singular.

    Args:
        first, second: (m, D) and (n, D), m and n at least 2.

    Returns:
        |mu_1 - mu_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), at least 0.
    """
    a, b = (
        (sample - sample.mean(0)) / np.sqrt(len(sample) - 1)
        for sample in (first.astype(np.float64), second.astype(np.float64))
    )
    gap = np.square(first.mean(0) - second.mean(0)).sum()
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, gap + np.square(a).sum() + np.square(b).sum() - 2 * cross))
