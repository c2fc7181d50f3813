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
    if groups is None:
        return None
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

    Where clusters are wholly of one class, they are what was drawn, and change labels as wholes.
    Where each image was drawn by itself although clusters exist, labels change places within them:
    whatever sets the clusters apart then cannot be mistaken for membership.

    Args:
        is_member: bool (N,).
        codes: from :func:`cluster_codes`.
        rng: the source of randomness.
    """
    if codes is None:
        return rng.permutation(is_member)
    members = np.bincount(codes, is_member)
    size = np.bincount(codes)
    if np.all((members == 0) | (members == size)):
        drawn: NDArray[np.bool_] = rng.permutation(members > 0)[codes]
        return drawn
    shuffled = np.lexsort((rng.random(len(codes)), codes))
    found = np.empty_like(is_member)
    found[np.argsort(codes, kind="stable")] = is_member[shuffled]
    return found
