"""Attacks that compare the victim with reference victims, which others than the attacked trained.

Each takes an image's errors from the references that never saw it ("out"), and, online, from those
that did ("in"). Who was trained on what is drawn by the attacker, and tells nothing of the victim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership_error
from mia_lab.attacks.needs import Given, attack
from mia_lab.errors import UserError
from mia_lab.parameters import Positive
from mia_lab.types import Floats, Role, ScoreTable


@attack(references=True)
def watson(evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
    """Error minus its mean over reference victims that never saw the image.

    Difficulty calibration (Watson et al. 2022, arXiv:2111.08440, Eq. 3): the membership error with
    alpha 1 whose difficulty is the error of other models; with one reference, the multi-image score
    of Shafran et al. (Table 2).

    For errors with independent Gaussian noise of deviation sigma, m references, and members that
    the victim reconstructs better by delta, the AUC is Phi(delta / (sigma sqrt(2 (1 + 1 / m)))).

    Raises:
        UserError: all references saw one of the images.
    """
    errors = evidence.reconstructions.mean_error(ids, model)
    out = _mean(_seen(evidence, ids, False), "watson")
    return ScoreTable("watson", model, np.array(ids), -membership_error(errors, out, 1.0))


Variance = Literal["pooled", "per_image"]


def _check_lira(given: Given, *, online: bool = False, variance: Variance = "pooled") -> None:
    name = "attack.available.lira"
    if variance == "per_image":
        given.enough(f"{name}.variance=per_image", "unseen", 2, "raise reference.count")
    if online:
        least = 2 if variance == "per_image" else 1
        given.enough(f"{name}.online=true", "seen", least, "set reference.pool=all")


@attack(version=2, references=True, check=_check_lira)
def lira(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    online: bool = False,
    variance: Variance = "pooled",
) -> ScoreTable:
    """Likelihood ratio of the victim's log error under Gaussians fitted to the references'.

    Carlini et al. 2022 (arXiv:2112.03570, section VI), with the logarithm of the reconstruction
    error in place of the scaled confidence. Offline: how far the error lies below those of models
    that never saw the image, in standard deviations. Online: the log ratio of its density among
    models that saw the image to that among models that did not.

    With K models of pooled variance, and the noise of :func:`watson` on the log errors, the AUC is
    .726, .756, .776, .795, .800 for K = 1, 2, 4, 16, 64 where delta = 1.2 sigma; the optimum, of
    whoever knows each image's mean, is Phi(delta / (sigma sqrt 2)) = .802. (A test simulates it.)

    Args:
        evidence, ids, model: as for every attack.
        online: use references that saw the image; needs ``reference.pool=all``.
        variance: ``pooled`` over images, around each image's mean, for few models (the authors take
            one deviation of all images together), or ``per_image``.

    Raises:
        UserError: too few references saw, or did not see, an image.
    """
    _check_lira(evidence.given(), online=online, variance=variance)
    name = "lira"
    resolution = evidence.resolution
    error = logs(evidence.reconstructions.mean_error(ids, model), resolution)
    out = _gaussian(unseen_log_errors(evidence, ids), variance, resolution, name)
    if online:
        log_seen = logs(_seen(evidence, ids, True), resolution)
        seen = _gaussian(log_seen, variance, resolution, f"{name}.online=true")
        score = norm.logpdf(error, *seen) - norm.logpdf(error, *out)
    else:
        score = (out[0] - error) / out[1]
    return ScoreTable("lira", model, np.array(ids), np.asarray(score))


def _check_rmia(given: Given, *, online: bool = False, **_: object) -> None:
    given.enough("attack rmia", "auxiliaries", 2, "raise data.n_auxiliary")
    if online:
        given.enough("attack.available.rmia.online=true", "seen", 1, "set reference.pool=all")


@attack(references=True, auxiliaries=True, check=_check_rmia)
def rmia(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    gamma: Positive = 2.0,
    online: bool = False,
) -> ScoreTable:
    """Share of known non-members that an image beats in a test of pairwise likelihood ratios.

    Robust membership inference (Zarifzadeh et al. 2024, arXiv:2312.03262, Eq. 2 to 4):
    Pr over z of [ (p(x | V) / p(x)) / (p(z | V) / p(z)) >= gamma ], z among the auxiliaries. A
    translator has no confidence, so p(x | model) = exp(-error / b), the Laplace likelihood of its
    answer, with b the mean difference between the victim's errors on the auxiliaries and those of
    references that never saw them. p(x) is the mean over references that did not see x (offline,
    the paper's Eq. 10 with a = 1: what training on x would add is not guessed); online, half of it
    over those that did.

    Args:
        evidence, ids, model: as for every attack.
        gamma: how much more likely x must be; 2 as published.
        online: use references that saw the image; needs ``reference.pool=all``.

    Raises:
        UserError: there are fewer than two auxiliaries, or too few references; or the references
            have the victim's errors on all auxiliaries.
    """
    _check_rmia(evidence.given(), online=online)
    population = evidence.known.ids(Role.AUXILIARY)
    everyone = list(dict.fromkeys([*ids, *population]))
    errors = evidence.reconstructions.mean_error(everyone, model)
    out = _seen(evidence, everyone, False)
    row_of = {image: row for row, image in enumerate(everyone)}
    z = np.array([row_of[i] for i in population])
    b = float(np.abs(errors - _mean(out, "rmia"))[z].mean())
    if b == 0:
        raise UserError(
            "attack rmia: on every auxiliary, the victim has the error of the references, so that "
            "there is nothing to compare; is the victim one of the references?"
        )
    log_p = _log_mean_exp(-out / b)
    if online:
        seen = _log_mean_exp(-_complete(_seen(evidence, everyone, True), "rmia.online=true") / b)
        log_p = np.logaddexp(log_p, seen) - np.log(2)
    ratio = -errors / b - log_p
    x = np.array([row_of[i] for i in ids])
    beats = ratio[x, None] - ratio[None, z] >= np.log(gamma)
    others = x[:, None] != z[None]
    score = (beats & others).sum(1) / others.sum(1)
    return ScoreTable("rmia", model, np.array(ids), score)


def unseen_log_errors(evidence: Evidence, ids: Sequence[str]) -> Floats:
    """Log errors (K, N) of the references that never saw each image; NaN of the others."""
    return logs(_seen(evidence, ids, False), evidence.resolution)


def _seen(evidence: Evidence, ids: Sequence[str], seen: bool) -> Floats:
    """Errors (K, N) of the references that saw each image, or did not; NaN of the others."""
    return np.where(evidence.is_in(ids) == seen, evidence.reference_errors(ids), np.nan)


def _complete(errors: Floats, what: str, at_least: int = 1) -> Floats:
    counts = (~np.isnan(errors)).sum(0)
    if counts.size and counts.min() < at_least:
        raise UserError(
            f"attack {what}: an image has {counts.min()} reference victims of the kind it compares "
            f"with, and needs {at_least}; raise reference.count, or see reference.pool"
        )
    return errors


def _mean(errors: Floats, what: str) -> Floats:
    mean: Floats = np.nanmean(_complete(errors, what), axis=0)
    return mean


def logs(errors: Floats, resolution: float) -> Floats:
    """Logarithms of errors; one below ``resolution`` counts as that, see :class:`Evidence`."""
    found: Floats = np.log(np.maximum(errors, resolution))
    return found


def _gaussian(
    values: Floats, variance: Variance, resolution: float, what: str
) -> tuple[Floats, Floats]:
    """Mean and standard deviation, of the next draw, of the log errors (K, N) of each image.

    The variance is at least that of rounding the errors to ``resolution``: references that agree
    exactly tell no more.
    """
    per_image = variance == "per_image"
    values = _complete(values, what, 2 if per_image else 1)
    mean, n = np.nanmean(values, axis=0), (~np.isnan(values)).sum(0)
    squares = np.nansum((values - mean) ** 2, axis=0)
    rounding = (resolution / np.exp(mean)) ** 2 / 12
    if not per_image:
        if (n - 1).sum() < 1:  # one reference: nothing tells its spread, and ranks need none
            return mean, np.ones_like(mean)
        found = max(squares.sum() / (n - 1).sum(), rounding.mean())
    else:
        found = np.maximum(squares / (n - 1), rounding)
    return mean, np.sqrt(found * (1 + 1 / n))


def _log_mean_exp(values: Floats) -> Floats:
    known = ~np.isnan(values)
    total: Floats = logsumexp(np.where(known, values, -np.inf), axis=0)
    mean: Floats = total - np.log(known.sum(0))
    return mean
