"""Clusters of images that are not independent (of one scene, patient or city)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.types import Floats, Strings

Codes = NDArray[np.int64]


def cluster_codes(groups: Strings | None) -> Codes | None:
    """The number of each image's cluster; None if every image is its own cluster.

    Args:
        groups: (N,) names of groups; "" for an image without a group, which is its own cluster.

    Returns:
        int64 (N,) in [0, C).
    """
    if groups is None or not np.any(np.asarray(groups) != ""):
        return None  # the usual case; each interval computes the codes, so it skips the sorting
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    single = np.flatnonzero(np.asarray(groups) == "")
    codes = codes.astype(np.int64)
    codes[single] = len(names) + np.arange(len(single))
    found, codes = np.unique(codes, return_inverse=True)
    return None if len(found) == len(codes) else codes.astype(np.int64)


def sums(values: Floats, codes: Codes, n_clusters: int) -> Floats:
    """Sums of the rows of (K, N) values within each cluster: (K, C)."""
    return np.stack([np.bincount(codes, row, minlength=n_clusters) for row in values])


def permuted(
    is_member: NDArray[np.bool_], codes: Codes | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Permute labels under the null hypothesis that they are exchangeable.

    Without clusters, images exchange labels. With clusters, whole clusters exchange labels: each
    receives the labels of another cluster in random order, which preserves the dependence within
    clusters. A larger cluster repeats the labels that it receives; a smaller one receives some.

    Args:
        is_member: bool (N,), of both classes.
        codes: from :func:`cluster_codes`.
        rng: the source of randomness.
    """
    if codes is None:
        return rng.permutation(is_member)
    order = np.argsort(codes, kind="stable")
    by_cluster = np.split(is_member[order], np.cumsum(np.bincount(codes))[:-1])
    while True:
        received = (
            _resized(by_cluster[k], len(own), rng)
            for k, own in zip(rng.permutation(len(by_cluster)), by_cluster, strict=True)
        )
        found = np.empty_like(is_member)
        found[order] = np.concatenate([*received])
        if found.any() and not found.all():  # clusters of unequal size may leave only one class
            return found


def _resized(labels: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Labels in random order, repeated or cut to a given number."""
    repeated: NDArray[np.bool_] = np.tile(labels, -(-size // len(labels)))
    return rng.permutation(repeated)[:size]
