"""The test of planted canaries: the rank of the published twin, and several tests as one.

Only the owner's random choice of one of ``k + 1`` twins is random here. If the victim was trained
without the published twin, its answers do not depend on the choice. The rank of the chosen twin
among all is then uniform, whatever the victim, the twins and the score are. This is the rank test
of Zhang et al. 2024 (arXiv:2409.19798, section on canaries) on data that its owner published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import optimize, stats

from mia_lab.types import Floats


def canary_p_value(score: Floats, choice: int) -> float:
    """Share of the twins that score at least as high as the chosen one, which counts as well.

    p = (1 + number of other twins with a score at least as high) / (k + 1). Ties count against the
    owner. Under the null, P(p <= t) <= t for every t, because the choice is uniform and independent
    of the scores.

    Args:
        score: (k + 1,) of all twins, higher = more likely a training image; finite.
        choice: index of the published twin.

    Returns:
        p in [1 / (k + 1), 1].

    Raises:
        ValueError: there are fewer than two twins, a score is not finite, or no twin has this
            index.

    Examples:
        >>> import numpy as np
        >>> canary_p_value(np.array([0.1, 0.9, 0.3, 0.3]), 1)
        0.25
        >>> canary_p_value(np.array([0.1, 0.9, 0.3, 0.3]), 2)
        0.75
    """
    score = np.asarray(score, dtype=np.float64)
    if score.ndim != 1 or len(score) < 2 or not np.isfinite(score).all():
        raise ValueError("the scores of at least two twins must be finite")
    if not 0 <= choice < len(score):
        raise ValueError(f"there is no twin {choice} among {len(score)}")
    # The chosen twin is at least as high as itself: this is the 1 of the numerator.
    return int(np.count_nonzero(score >= score[choice])) / len(score)


def fisher(p_values: Sequence[float]) -> float:
    """Fisher's combination (1932) of independent p-values: chi-square tail of -2 sum(log p).

    Args:
        p_values: K values in (0, 1].

    Raises:
        ValueError: there are none, or one is out of range.
    """
    p = _checked(p_values)
    return float(stats.chi2.sf(-2 * np.log(p).sum(), 2 * len(p)))


def harmonic_mean(p_values: Sequence[float]) -> float:
    """Harmonic mean p-value (Wilson 2019), valid under any dependence of the p-values.

    The plain harmonic mean of p-values is no p-value. Vovk and Wang 2020 (Biometrika 107,
    Proposition 6) give the smallest factor that makes it one, see :func:`harmonic_factor`.

    Args:
        p_values: K values in (0, 1].

    Returns:
        In (0, 1].

    Raises:
        ValueError: there are none, or one is out of range.
    """
    p = _checked(p_values)
    return min(1.0, float(harmonic_factor(len(p)) / np.mean(1 / p)))


def harmonic_factor(count: int) -> float:
    """The factor of the harmonic mean of so many p-values.

    (y + K)^2 / ((y + 1) K), where y > 0 solves y^2 = K ((y + 1) log(y + 1) - y); 2 for K = 2, and
    1 for K = 1. It grows like log K.

    Examples:
        >>> round(harmonic_factor(10), 3)
        4.56
    """
    if count < 3:
        return float(count)

    def gap(y: float) -> float:
        return float(y**2 - count * ((y + 1) * np.log1p(y) - y))

    # Near 0 the gap is negative, like y^2 (1 - K / 2); beyond K^2 the square exceeds the rest.
    y = optimize.brentq(gap, 1e-3, float(count) ** 2 + 10)
    return (y + count) ** 2 / ((y + 1) * count)


COMBINATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "fisher": fisher,
    "harmonic": harmonic_mean,
}
"""Rules that combine several canaries, by the value of ``canary.combine``."""


def combined_p_value(p_values: Sequence[float], rule: str, planned: int) -> float:
    """One p-value of all canaries that were planned to be tested together.

    A planned canary without a result counts as p = 1, so that leaving out canaries cannot make the
    result smaller than it should be.

    Args:
        p_values: of the canaries at hand, in (0, 1].
        rule: one of :data:`COMBINATIONS`.
        planned: number of canaries that the owner committed to.

    Raises:
        ValueError: there are none, more than planned, or one is out of range.
    """
    p = _checked(p_values)
    if len(p) > planned:
        raise ValueError(f"{len(p)} canaries are more than the planned {planned}")
    if planned == 1:
        return float(p[0])
    return COMBINATIONS[rule]([*p.tolist(), *[1.0] * (planned - len(p))])


def _checked(p_values: Sequence[float]) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not len(p) or not ((p > 0) & (p <= 1)).all():
        raise ValueError("p-values must be at least one number in (0, 1]")
    return p
