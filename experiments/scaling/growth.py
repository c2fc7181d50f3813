"""How an AUC grows with passes over the members, image size and number of members.

An AUC of A is that of two normal distributions of equal variance whose means lie sqrt(2) z standard
deviations apart, with z = probit(A). The model is a power law of z:

    z = c * passes ** a * pixels ** b * members ** m * a factor for each other setting

On logarithmic axes each quantity shifts one common curve. The exponents are fitted by least squares
of the AUCs, so that those near 0.5 and near 1 say little about z. Their covariance has two sources:
the draw of the images, whose errors of the AUCs are taken as wholly correlated among all audits of
these images, and a relative deviation of z that all audits of one training share. The deviation is
estimated from the residuals, so it holds what differs in the errors of two trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import ndtr, ndtri, stdtrit

Array = NDArray[np.float64]

SMALLEST_ERROR = 0.005
"""Of an AUC: that of an audit which divides all members from all non-members is not 0."""


@dataclass(frozen=True)
class Audits:
    """Audits of several trainings.

    Attributes:
        auc: (n,) of a score.
        error: (n,) standard errors of the AUCs.
        factors: (n, k) positive quantities; those of the reference are 1. Each must vary.
        training: (n,) number of the training that is audited.
        images: (n,) number of the draw of images that the audit uses.
    """

    auc: Array
    error: Array
    factors: Array
    training: NDArray[np.int64]
    images: NDArray[np.int64]


@dataclass(frozen=True)
class Growth:
    """A fitted power law.

    Attributes:
        coefficients: (1 + k,) log(z) where all factors are 1, and the exponents.
        covariance: (1 + k, 1 + k) of the coefficients.
        scatter: relative standard deviation of z between trainings.
        misfit: root mean square of the residuals of the AUCs.
        freedom: degrees of freedom of the scatter.
    """

    coefficients: Array
    covariance: Array
    scatter: float
    misfit: float
    freedom: int

    def interval(self, k: int) -> tuple[float, float]:
        """95 % interval of the exponent of a factor (Student's)."""
        return self._around(self.coefficients[1 + k], self.covariance[1 + k, 1 + k])

    def z(self, factors: Sequence[float]) -> float:
        """The expected z."""
        return float(np.exp(self.coefficients @ [1.0, *np.log(factors)]))

    def predicted(self, factors: Sequence[float]) -> tuple[float, float]:
        """95 % prediction interval of one more training's AUC among infinitely many images."""
        at = np.array([1.0, *np.log(factors)])
        variance = at @ self.covariance @ at + self.scatter**2
        low, high = self._around(self.coefficients @ at, variance)
        return float(ndtr(np.exp(low))), float(ndtr(np.exp(high)))

    def _around(self, middle: float, variance: float) -> tuple[float, float]:
        half = stdtrit(self.freedom, 0.975) * np.sqrt(variance)
        return float(middle - half), float(middle + half)


def fitted(audits: Audits) -> Growth:
    """Fit the power law.

    Raises:
        ValueError: there are not more trainings than quantities that differ between them.
    """
    columns = np.column_stack([np.ones(len(audits.auc)), np.log(audits.factors)])
    shared, drawn = _indicators(audits.training), _indicators(audits.images)
    trainings = shared.shape[1]
    between = _between(columns, shared)
    freedom = trainings - between
    if freedom < 1:
        raise ValueError(
            f"{trainings} trainings are too few to estimate {between} quantities that differ "
            "between trainings"
        )

    z = np.maximum(ndtri(np.minimum(audits.auc, 0.999)), 0.05)
    start = np.linalg.lstsq(columns, np.log(z))[0]
    best = least_squares(lambda b: ndtr(np.exp(columns @ b)) - audits.auc, start).x
    z = np.exp(columns @ best)
    slope = z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)  # of the AUC against log(z)
    residual = audits.auc - ndtr(z)

    error = np.maximum(audits.error, SMALLEST_ERROR)
    weights = shared * (slope / error)[:, None] ** 2
    means = (shared * (slope / error**2)[:, None]).T @ residual / weights.sum(axis=0)
    scatter = float(np.sqrt(means @ means / freedom))
    solve = np.linalg.pinv(columns * slope[:, None])
    sources = np.hstack([scatter * shared * slope[:, None], drawn * error[:, None]])
    covariance = solve @ sources @ sources.T @ solve.T
    misfit = float(np.sqrt(np.mean(residual**2)))
    return Growth(best, covariance, scatter, misfit, freedom)


def _indicators(numbers: NDArray[np.int64]) -> Array:
    """Which of the different numbers each entry is: (n, different numbers), of 0 and 1."""
    return np.asarray(numbers[:, None] == np.unique(numbers), dtype=np.float64)


def _between(columns: Array, shared: Array) -> int:
    """Number of quantities that are constant within every training, the intercept included."""
    means = shared.T @ columns / shared.sum(axis=0)[:, None]
    return int(np.isclose(columns, shared @ means, rtol=0, atol=1e-12).all(axis=0).sum())
