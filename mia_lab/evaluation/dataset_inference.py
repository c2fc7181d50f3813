"""Was a collection of images used for a training? Tests of many images together.

Maini, Jia, Papernot and Dziedzic 2021, "Dataset Inference" (arXiv:2104.10706), test the mean score
of a collection against that of images that were certainly not used. Dubinski et al. 2025, "CDI"
(arXiv:2411.12858), test several scores together, by a linear scorer that is fitted on one half of
the images and tested on the other. Both tests hold if the collection, had it not been used, would
score like the comparison. The blind twin checks that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import permutation_test
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mia_lab.evaluation.blind import SIGNIFICANCE
from mia_lab.evaluation.clusters import cluster_codes
from mia_lab.evaluation.decision import proportion
from mia_lab.evaluation.results import Answer, Interval, MeanTest, NeededImages, UsedShare, Verdict
from mia_lab.types import Floats, Strings

FEWEST = 10
"""Fewest images, or groups of images, of a collection and of its comparison."""

DRAWS = 200
"""Subsets of each size behind the curve of needed images."""

SIZES = 12
"""Most sizes of subsets on this curve."""

MEMBERS_ALIKE = "known members do not score significantly higher than the comparison"
NO_MIXTURE = "the collection scores as no mixture of known members and the comparison would"

_EQUAL = 1e-12
"""Scores that differ by less, relative to the largest, are equal."""

_QUANTILES = np.linspace(0.5, 1, 51)
"""Of the comparison, tried as thresholds of the bound of the share."""


def unit_means(scores: Floats, groups: Strings | None) -> Floats:
    """The mean score of each group, or the scores themselves where each image stands alone.

    Images of one group are not independent, so a group counts once.

    Args:
        scores: (N,) or (N, F).
        groups: (N,) names; "" for an image without a group.

    Returns:
        float64 (U,) or (U, F), in the order of the groups' codes.
    """
    scores, codes = np.asarray(scores, dtype=np.float64), cluster_codes(groups)
    if codes is None:
        return scores
    sums = np.zeros((int(codes.max()) + 1, *scores.shape[1:]))
    np.add.at(sums, codes, scores)
    counts = np.bincount(codes).reshape(-1, *[1] * (scores.ndim - 1))
    means: Floats = sums / counts
    return means


def mean_test(collection: Floats, comparison: Floats, seed: int, permutations: int) -> MeanTest:
    """Test whether a collection scores higher than its comparison.

    Both tests are one-sided: Welch's t-test, and a permutation test whose statistic is Welch's t
    (valid in finite samples where the two are exchangeable).

    Args:
        collection: (n,) scores of independent units, higher = more likely used.
        comparison: (m,) scores of units that were certainly not used.
        seed: of the permutations.
        permutations: their number; all of them where they are fewer.

    Raises:
        ValueError: one of them has fewer than two units.
    """
    if min(len(collection), len(comparison)) < 2:
        raise ValueError("a test of means needs two units of each kind")
    both = np.concatenate([collection, comparison])
    # Sums of equal scores may differ by rounding.
    if np.ptp(both) <= _EQUAL * np.abs(both).max():
        return MeanTest(len(collection), len(comparison), 0.0, 1.0, 1.0)
    difference = float(np.mean(collection) - np.mean(comparison))
    permuted = permutation_test(
        (collection, comparison),
        _welch_t,
        vectorized=True,
        n_resamples=permutations,
        alternative="greater",
        rng=np.random.default_rng(seed),
    ).pvalue
    welch = float(_welch_p(collection, comparison))
    return MeanTest(len(collection), len(comparison), difference, welch, float(permuted))


def _welch_t(first: Floats, second: Floats, axis: int = -1) -> Floats:
    found: Floats = (first.mean(axis) - second.mean(axis)) / np.sqrt(
        np.maximum(_variances(first, axis) + _variances(second, axis), 1e-300)
    )
    return found


def _variances(values: Floats, axis: int) -> Floats:
    """Of the means."""
    found: Floats = values.var(axis, ddof=1) / values.shape[axis]
    return found


def _welch_p(first: Floats, second: Floats, axis: int = -1) -> Floats:
    """One-sided p-values of Welch's t-test; SciPy's warns of scores that hardly vary."""
    parts = [_variances(values, axis) for values in (first, second)]
    sizes = [values.shape[axis] - 1 for values in (first, second)]
    below = sum(part**2 / size for part, size in zip(parts, sizes, strict=True))
    degrees = (parts[0] + parts[1]) ** 2 / np.maximum(below, 1e-300)
    found: Floats = stdtr(np.maximum(degrees, 1.0), -_welch_t(first, second, axis))
    return found


def scorer_test(collection: Floats, comparison: Floats, seed: int, permutations: int) -> MeanTest:
    """Test the scores of several attacks together, after CDI.

    A ridge regression with weights of at least 0 is fitted to standardised scores of a random half
    of the units of each kind, and :func:`mean_test` tests its values on the other halves. Every
    score is high for images that were used, so a negative weight would turn evidence round.

    Args:
        collection: (n, F) scores of independent units, n at least 4.
        comparison: (m, F), m at least 4.
        seed: of the halves and the permutations.
        permutations: their number.
    """
    rng = np.random.default_rng(seed)
    halves = []
    for rows in (collection, comparison):
        order = rng.permutation(len(rows))
        halves.append((rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]))
    (fit_a, test_a), (fit_b, test_b) = halves
    model = make_pipeline(StandardScaler(), Ridge(alpha=1.0, positive=True))
    model.fit(np.concatenate([fit_a, fit_b]), np.arange(len(fit_a) + len(fit_b)) < len(fit_a))
    found = model.predict(test_a), model.predict(test_b)
    return mean_test(*found, int(rng.integers(2**31)), permutations)


def answer(holm_p: float, blind: Verdict, excess: Interval) -> Answer:
    """What the test and its blind twin say together.

    "Used" needs a significant test, a blind twin that is sound (attacks that never see the victim
    tell the collection from its comparison with an AUC below 0.60, with 95 % confidence), and an
    attack whose AUC exceeds that of the best of them. A twin that merely found nothing is not
    enough, and a small difference that it lets pass must not become evidence.

    Args:
        holm_p: the adjusted p-value.
        blind: the verdict of the twin.
        excess: 95 % interval of the AUC of the attack minus that of the best blind baseline.
    """
    if blind is Verdict.CONFOUNDED:
        return Answer.CANNOT_TELL
    if holm_p >= SIGNIFICANCE:
        return Answer.NOT_SHOWN
    return Answer.USED if blind is Verdict.SOUND and excess[0] > 0 else Answer.CANNOT_TELL


def used_share(collection: Floats, comparison: Floats, members: Floats) -> UsedShare:
    """The share of a collection that was used, given known members (after DUCI).

    Tong et al. 2025, "How much of my dataset did you use?" (DUCI), correct the mean of membership
    guesses by the error rates of the attack. Here the scores themselves take the place of the
    guesses: if a share s was used, the mean score of the collection is s M + (1 - s) N, with the
    means M of members and N of the comparison. The interval holds all s in [0, 1] that Welch's
    t-test does not reject (Fieller 1954). There is no estimate if members do not score higher than
    the comparison (one-sided p of 0.05 or more), or if the collection is no mixture of the two.
    With groups it is a share of groups.

    Args:
        collection: (n,) scores of independent units, higher = more likely used.
        comparison: (m,) of units that were certainly not used.
        members: (k,) of units that were certainly used.

    Raises:
        ValueError: one of them has fewer than two units.
    """
    kinds = [np.asarray(values, dtype=np.float64) for values in (collection, members, comparison)]
    if min(map(len, kinds)) < 2:
        raise ValueError("a share needs two units of each kind")
    (c, m, n), sizes = (np.array([v.mean() for v in kinds]), np.array([len(v) for v in kinds]))
    variances = np.array([v.var(ddof=1) for v in kinds]) / sizes
    if _welch_p(kinds[1], kinds[2]) >= SIGNIFICANCE or m <= n:
        return UsedShare(None, (0.0, 1.0), False, MEMBERS_ALIKE)
    value = float(np.clip((c - n) / (m - n), 0, 1))
    shares = np.linspace(0, 1, 2001)
    weights = np.stack([np.ones_like(shares), shares**2, (1 - shares) ** 2])
    parts = weights * variances[:, None]
    spread = parts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        degrees = spread**2 / (parts**2 / (sizes - 1)[:, None]).sum(axis=0)
    limit = stdtrit(np.nan_to_num(np.maximum(degrees, 1), nan=1), 0.975) * np.sqrt(spread)
    kept = shares[np.abs(c - shares * m - (1 - shares) * n) <= limit]
    if not len(kept):
        return UsedShare(None, (0.0, 1.0), False, NO_MIXTURE)
    low, high = float(kept.min()), float(kept.max())
    return UsedShare(value, (min(low, value), max(high, value)), False)


def share_bound(
    collection: Floats,
    comparison: Floats,
    seed: int,
    groups: tuple[Strings | None, Strings | None] = (None, None),
) -> UsedShare:
    """A lower bound of the share of a collection that was used, without known members.

    Of the images that were not used, as many score above a threshold as of the comparison, and of
    those that were used at most all: if q and f are the shares above it, at least
    (q - f) / (1 - f) were used. A random half of the images chooses the threshold, a quantile of
    the comparison; the other half gives the bound, from two one-sided 97.5 % limits (Bonferroni).

    Args:
        collection: (n,) scores of images, higher = more likely used.
        comparison: (m,) of images that were certainly not used.
        seed: of the halves.
        groups: of either; whole groups are in one half.

    Returns:
        The bound as the lower end of the interval, whose upper end is 1; ``value`` is the bound.
    """
    rng = np.random.default_rng(seed)
    first, second = [], []
    for scores, names in zip((collection, comparison), groups, strict=True):
        chooses = _half(len(scores), names, rng)
        first.append((scores[chooses], None if names is None else names[chooses]))
        second.append((scores[~chooses], None if names is None else names[~chooses]))
    thresholds = np.quantile(first[1][0], _QUANTILES)
    bounds = [_bound(first, t) for t in thresholds]
    value = max(0.0, _bound(second, float(thresholds[int(np.argmax(bounds))])))
    return UsedShare(value, (value, 1.0), True)


def _half(n: int, names: Strings | None, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A random half of images, or of their groups."""
    codes = cluster_codes(names)
    codes = np.arange(n) if codes is None else codes
    units = rng.permutation(int(codes.max()) + 1)
    chosen: NDArray[np.bool_] = np.isin(codes, units[: len(units) // 2])
    return chosen


def _bound(sides: list[tuple[Floats, Strings | None]], threshold: float) -> float:
    (of_collection, own), (of_comparison, known) = sides
    low = proportion(of_collection > threshold, own).ci95[0]
    high = proportion(of_comparison > threshold, known).ci95[1]
    return (low - high) / (1 - high) if high < 1 else -1.0


def needed_images(collection: Floats, comparison: Floats, seed: int) -> NeededImages:
    """How the p-value falls with the number of images.

    Args:
        collection, comparison: scores of independent units.
        seed: of the subsets.

    Returns:
        For sizes up to the smaller of both: the median of Welch's p-value over 200 random subsets
        of this size of either, and the share of subsets with p < 0.05. Subsets of nearly all units
        overlap, so the last points vary less than new images would.
    """
    rng = np.random.default_rng(seed)
    most = min(len(collection), len(comparison))
    sizes = np.unique(np.geomspace(min(FEWEST, most), most, SIZES).round().astype(np.int64))
    medians, detected = [], []
    for size in sizes.tolist():
        first, second = (
            np.stack([values[rng.permutation(len(values))[:size]] for _ in range(DRAWS)])
            for values in (collection, comparison)
        )
        p = _welch_p(first, second, axis=1)
        medians.append(float(np.median(p)))
        detected.append(float(np.mean(p < SIGNIFICANCE)))
    return NeededImages(sizes, np.array(medians), np.array(detected))
