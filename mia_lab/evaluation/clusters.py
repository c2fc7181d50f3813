"""Images that belong together (scenes, patients, cities) and so are no independent evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mia_lab.types import Floats, Strings

Codes = NDArray[np.int64]


def cluster_codes(groups: Strings | None) -> Codes | None:
    """A number for each image's cluster; None where every image stands alone.

    Args:
        groups: (N,) names of groups; "" means that the image belongs to none.

    Returns:
        int64 (N,) in [0, C).
    """
    if groups is None or not np.any(np.asarray(groups) != ""):
        return None  # the usual case, asked for at every interval: no sorting of names
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    lonely = np.flatnonzero(np.asarray(groups) == "")
    codes = codes.astype(np.int64)
    codes[lonely] = len(names) + np.arange(len(lonely))
    found, codes = np.unique(codes, return_inverse=True)
    return None if len(found) == len(codes) else codes.astype(np.int64)


def sums(values: Floats, codes: Codes, n_clusters: int) -> Floats:
    """Sums of the rows of (K, N) values within each cluster: (K, C)."""
    return np.stack([np.bincount(codes, row, minlength=n_clusters) for row in values])


def permuted(
    is_member: NDArray[np.bool_], codes: Codes | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The labels as they might have fallen if they meant nothing.

    Images change labels. Where there are clusters, these do, as wholes: each takes the labels of
    another, in random order, so that images of one cluster stay as alike as they were. A cluster
    larger than the one that it takes them from repeats them, a smaller one takes some.

    Args:
        is_member: bool (N,), of both kinds.
        codes: from :func:`cluster_codes`.
        rng: the source of randomness.
    """
    if codes is None:
        return rng.permutation(is_member)
    order = np.argsort(codes, kind="stable")
    own = np.split(is_member[order], np.cumsum(np.bincount(codes))[:-1])
    while True:
        taken = (
            _resized(own[k], len(mine), rng)
            for k, mine in zip(rng.permutation(len(own)), own, strict=True)
        )
        found = np.empty_like(is_member)
        found[order] = np.concatenate([*taken])
        if found.any() and not found.all():  # clusters of unequal size may leave one kind alone
            return found


def _resized(labels: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    repeated: NDArray[np.bool_] = np.tile(labels, -(-size // len(labels)))
    return rng.permutation(repeated)[:size]
