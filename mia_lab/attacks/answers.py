"""Attacks that read all answers of a victim that answers at random, or one of any victim.

They need no other model. Each can correct for the difficulty: an error in the way of Shafran et
al., Eq. 3; another score by a regression on the difficulty, which is fitted to auxiliaries alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mia_lab.attacks.distances import structural_similarity
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership_error
from mia_lab.attacks.needs import Given, Setting, attack
from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.data.transforms import DEGRADED
from mia_lab.errors import UserError
from mia_lab.parameters import NonNegative, Positive, UnitInterval, Weight
from mia_lab.types import Floats, PairBatch, Role, ScoreTable

CROPS = ("crop-0", "crop-1", "crop-2", "crop-3")
"""The small perturbations of a pair."""

FEWEST = 8
"""Auxiliaries that a regression on the difficulty takes at least."""

Statistic = Literal["mean", "min", "quantile"]


@attack(answers=2, difficulty=Setting("alpha"))
def repeated(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    statistic: Statistic,
    quantile: UnitInterval = 0.25,
    alpha: Weight = 0.0,
) -> ScoreTable:
    """Minus a statistic of the errors of all answers.

    Each error is that of Shafran et al. 2021 (arXiv:2102.07762), Eq. 1. The minimum and a low
    quantile ask whether the victim can give the target at all, whatever its other answers are.

    Args:
        evidence, ids, model: as for every attack.
        statistic: ``mean`` | ``min`` | ``quantile``, with linear interpolation.
        quantile: level of the statistic ``quantile``; else unused.
        alpha: weight of the difficulty, as in Eq. 3; 0: none.

    Raises:
        KeyError: the model was never queried with one of the ids.
    """
    errors = evidence.errors(ids, model)
    if statistic == "quantile":
        error = np.quantile(errors, quantile, axis=0)
    else:
        error = errors.mean(0) if statistic == "mean" else errors.min(0)
    score = -membership_error(error, evidence.difficulty.column(ids), alpha)
    return ScoreTable(f"{statistic}_error", model, np.array(ids), score)


def _check_corrected(name: str, given: Given, *, corrected: bool = False, **_: object) -> None:
    if corrected:
        what = f"attack {name} with corrected=true"
        given.enough(what, "auxiliaries", FEWEST, "raise data.n_auxiliary")


def _correctable(name: str) -> dict[str, Any]:
    """What an attack needs whose argument ``corrected`` asks for :func:`residuals`."""
    return {
        "auxiliaries": Setting("corrected"),
        "difficulty": Setting("corrected"),
        "check": partial(_check_corrected, name),
    }


@attack(answers=2, costly=True, **_correctable("rediffuse"))
def rediffuse(
    evidence: Evidence, ids: Sequence[str], model: str, *, corrected: bool = False
) -> ScoreTable:
    """Structural similarity of the target and the mean of all answers.

    ReDiffuse (Li et al. 2024, arXiv:2405.20771). Their victim varies the picture that is attacked;
    a translator is given the input of a pair, and its mean answer is compared with the target.

    Args:
        evidence, ids, model: as for every attack.
        corrected: the score is what the difficulty does not explain, see :func:`residuals`.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: there are fewer than eight auxiliaries to correct with.
    """

    def similarity(batch: PairBatch, answers: NDArray[np.float32]) -> Floats:
        mean = torch.from_numpy(answers.mean(0, dtype=np.float64)).float()
        return structural_similarity(mean, batch.y)

    found = partial(_of_answers, evidence, model, similarity)
    return _scored("rediffuse", evidence, ids, model, found, corrected)


@attack(answers=2, costly=True, **_correctable("spread"))
def spread(
    evidence: Evidence, ids: Sequence[str], model: str, *, corrected: bool = False
) -> ScoreTable:
    """Minus the standard deviation of all answers, averaged over pixels and channels.

    A victim that knows the target of an input by heart has less to choose from. The score reads no
    target.

    Args:
        evidence, ids, model: as for every attack.
        corrected: the score is what the difficulty does not explain, see :func:`residuals`.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: there are fewer than eight auxiliaries to correct with.
    """

    def concentration(_: PairBatch, answers: NDArray[np.float32]) -> Floats:
        each = answers.swapaxes(0, 1)  # one by one, which takes less memory
        return np.array([-one.std(0, ddof=1, dtype=np.float64).mean() for one in each])

    found = partial(_of_answers, evidence, model, concentration)
    return _scored("spread", evidence, ids, model, found, corrected)


@attack(answers=1, costly=True, **_correctable("embedding"))
def embedding(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    backbone: Backbone,
    corrected: bool = False,
) -> ScoreTable:
    """Cosine similarity of pooled features of answer and target, averaged over all answers.

    Pang and Wang 2025 (arXiv:2312.08207), who compare pictures generated for a prompt with the
    attacked one by the cosine of their embeddings, and train a classifier of members on these
    similarities; here their mean is the score, and nothing is trained.

    Args:
        evidence, ids, model: as for every attack.
        backbone: network of the features.
        corrected: the score is what the difficulty does not explain, see :func:`residuals`.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: there are fewer than eight auxiliaries to correct with.
    """

    def similarity(batch: PairBatch, answers: NDArray[np.float32]) -> Floats:
        with torch.inference_mode():
            target = _unit(pool(backbone, batch.y))
            given = [_unit(pool(backbone, torch.from_numpy(answer))) for answer in answers]
        cosines: Floats = np.mean([np.sum(one * target, axis=1) for one in given], axis=0)
        return cosines

    found = partial(_of_answers, evidence, model, similarity)
    return _scored("embedding", evidence, ids, model, found, corrected)


def _unit(vectors: Floats) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.where(lengths > 0, lengths, 1.0)
    return unit


def _check_band(given: Given, *, low: NonNegative = 0.1, high: Positive = 0.5, **_: object) -> None:
    name, side = "attack.available.mid_frequency", given.shortest_side
    if low > high:
        raise UserError(f"{name}.low={low:g}: must be at most {name}.high={high:g}")
    if not band((side, side), low, high).any():
        raise UserError(
            f"{name}: an image of {side} pixels has no frequency between low={low:g} and "
            f"high={high:g}; lower low, or raise high"
        )


@attack(answers=1, difficulty=Setting("alpha"), costly=True, check=_check_band)
def mid_frequency(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    low: NonNegative = 0.1,
    high: Positive = 0.5,
    alpha: Weight = 0.0,
) -> ScoreTable:
    """Minus the error within a band of spatial frequencies, averaged over all answers.

    After FCRE (Zhao et al. 2025, arXiv:2506.14919): fine structure is hard for any model, and
    coarse structure easy, so the middle of the spectrum tells more. The difference of answer and
    target passes an ideal filter (0 outside the band, 1 inside); the error is its mean absolute
    value. Theirs reads a diffusion model's own steps back from a noisy target, and compares the
    filtered pictures by their structural similarity; this one reads answers alone.

    Args:
        evidence, ids, model: as for every attack.
        low, high: ends of the band, both included, as distances from the constant in the
            frequency plane; 1 is the highest frequency along a side (Nyquist).
        alpha: weight of the difficulty, as in Eq. 3 of Shafran et al. 2021; 0: none. An error in a
            band is a part of the error that the difficulty foretells.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: the band holds no frequency.
    """
    _check_band(evidence.given(), low=low, high=high)

    def error(batch: PairBatch, answers: NDArray[np.float32]) -> Floats:
        size = batch.y.shape[-2:]
        inside = band(size, low, high)[:, : size[1] // 2 + 1]
        found = []
        for y, given in zip(batch.y.double().numpy(), answers.swapaxes(0, 1), strict=True):
            filtered = np.fft.irfft2(np.fft.rfft2(given - y) * inside, s=size)
            found.append(np.abs(filtered).mean())
        return np.array(found)

    errors = _of_answers(evidence, model, error, ids)
    score = -membership_error(errors, evidence.difficulty.column(ids), alpha)
    return ScoreTable("mid_frequency", model, np.array(ids), score)


def band(size: Sequence[int], low: float, high: float) -> NDArray[np.bool_]:
    """Which frequencies of the discrete Fourier transform lie in a ring.

    Args:
        size: height and width in pixels.
        low, high: radii, both included, in units of the Nyquist frequency, half a cycle a pixel.

    Returns:
        bool (height, width), in the order of :func:`numpy.fft.fft2`.
    """
    down, across = (2 * np.fft.fftfreq(side) for side in size)
    radius = np.hypot(down[:, None], across)
    inside: NDArray[np.bool_] = (low <= radius) & (radius <= high)
    return inside


@attack(answers=1, altered=(DEGRADED,), **_correctable("condition_gap"))
def condition_gap(
    evidence: Evidence, ids: Sequence[str], model: str, *, corrected: bool = False
) -> ScoreTable:
    """Error of the answer to a degraded input minus the error of the plain answer.

    After CLiD (Zhai et al. 2024, arXiv:2405.14800): over-fitting ties a target to its condition, so
    a member loses more with a worse condition. Theirs takes words from a prompt and compares a
    diffusion model's losses; this one blurs the input picture, and compares answers. The plain
    error is the mean over all answers; the degraded input is asked once.

    Args:
        evidence, ids, model: as for every attack.
        corrected: the score is what the difficulty does not explain, see :func:`residuals`.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: there are fewer than eight auxiliaries to correct with.
    """

    def gap(images: Sequence[str]) -> Floats:
        assert evidence.altered is not None
        worse = evidence.altered.mean_error(images, model, DEGRADED)
        found: Floats = worse - evidence.errors(images, model).mean(0)
        return found

    return _scored("condition_gap", evidence, ids, model, gap, corrected)


@attack(answers=1, altered=CROPS, **_correctable("fluctuation"))
def fluctuation(
    evidence: Evidence, ids: Sequence[str], model: str, *, corrected: bool = False
) -> ScoreTable:
    """Relative change of the error under small perturbations of the pair, averaged over four.

    After PFAMI (Fu et al. 2023, arXiv:2308.12143): a member lies at a local optimum of the victim,
    so whatever moves it raises the error. Theirs follows a generative model's estimated
    probability over crops of growing size; this one takes the errors of the four corner crops of
    :func:`mia_lab.data.transforms.altered`. The plain error is the mean over all answers; each crop
    is asked once.

    Args:
        evidence, ids, model: as for every attack.
        corrected: the score is what the difficulty does not explain, see :func:`residuals`.

    Raises:
        KeyError: the model was never queried with one of the ids.
        UserError: there are fewer than eight auxiliaries to correct with.
    """

    def change(images: Sequence[str]) -> Floats:
        assert evidence.altered is not None
        plain = evidence.errors(images, model).mean(0)
        moved = [evidence.altered.mean_error(images, model, crop) for crop in CROPS]
        rise = (np.array(moved) - plain) / np.maximum(plain, evidence.resolution)
        found: Floats = rise.mean(0)
        return found

    return _scored("fluctuation", evidence, ids, model, change, corrected)


def residuals(known: tuple[Floats, Floats], queried: tuple[Floats, Floats]) -> Floats:
    """What a regression of scores on difficulties leaves of them.

    The line, by least squares with an intercept, is fitted to known non-members. Where their
    difficulties do not differ, it is flat.

    Args:
        known, queried: difficulties and scores, float64 (M,) and (N,) each.

    Returns:
        float64 (N,).

    Examples:
        >>> import numpy as np
        >>> known = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])
        >>> residuals(known, (np.array([3.0]), np.array([7.5])))
        array([0.5])
    """
    (x, y), (asked, score) = known, queried
    dx, dy = x - x.mean(), y - y.mean()
    left: Floats = score - y.mean() - _slope(dx @ dy, dx @ dx, x) * (asked - x.mean())
    return left


def left_out_residuals(difficulty: Floats, score: Floats) -> Floats:
    """Residual of each of M images from the line through the M - 1 others: float64 (M,)."""
    m = len(score)
    dx, dy = difficulty - difficulty.mean(), score - score.mean()
    share = m / (m - 1)  # the deviation from the mean of the others, relative to that of all
    slope = _slope(dx @ dy - share * dx * dy, dx @ dx - share * dx * dx, difficulty)
    left: Floats = share * (dy - slope * dx)
    return left


def _slope(products: Floats, squares: Floats, difficulty: Floats) -> Floats:
    """Ratio of the two; 0 where the squares are nothing but rounding."""
    deviations = difficulty - difficulty.mean()
    rounding = 1e-12 * (deviations @ deviations) + 1e-24 * (difficulty @ difficulty)
    slope: Floats = products / np.where(squares > rounding, squares, np.inf)
    return slope


def _scored(
    name: str,
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    score: Callable[[Sequence[str]], Floats],
    corrected: bool,
) -> ScoreTable:
    """Scores, or their residuals; those of an auxiliary are of a line that has not seen it."""
    if not corrected:
        return ScoreTable(name, model, np.array(ids), score(ids))
    _check_corrected(name, evidence.given(), corrected=True)
    auxiliaries = evidence.known.ids(Role.AUXILIARY)
    everyone = list(dict.fromkeys([*auxiliaries, *ids]))
    x, y, m = evidence.difficulty.column(everyone), score(everyone), len(auxiliaries)
    known = x[:m], y[:m]
    left = [left_out_residuals(*known), residuals(known, (x[m:], y[m:]))]
    of_image = dict(zip(everyone, np.concatenate(left), strict=True))
    return ScoreTable(name, model, np.array(ids), np.array([of_image[i] for i in ids]))


def _of_answers(
    evidence: Evidence,
    model: str,
    score: Callable[[PairBatch, NDArray[np.float32]], Floats],
    ids: Sequence[str],
) -> Floats:
    """Scores (N,) of images from their pairs and all answers (K, N, C, H, W), batch by batch."""
    found = [score(batch, evidence.drawn(batch.ids, model)) for batch in evidence.pairs(ids)]
    return np.concatenate(found)
