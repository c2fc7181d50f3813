"""Attacks that fit a model, to auxiliaries and reference victims alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, QuantileRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from mia_lab.attacks.calibrated import lira, logs, watson
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import Given, attack
from mia_lab.errors import UserError
from mia_lab.parameters import NonNegative, NonNegativeInt, OpenUnitInterval, PositiveInt
from mia_lab.seeding import derive_seed
from mia_lab.types import VICTIM, Floats, Role, ScoreTable

FOLDS = 5
"""Parts in which auxiliaries are scored by fits that have not seen them."""


def _check_quantile(given: Given, *, fpr: float = 0.1, **_: object) -> None:
    least = max(20, math.ceil(1 / fpr) - 1)
    given.enough(f"attack quantile at level {fpr}", "auxiliaries", least, "raise data.n_auxiliary")


@attack(
    version=2, auxiliaries=True, features=True, difficulty=True, costly=True, check=_check_quantile
)
def quantile(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    fpr: OpenUnitInterval = 0.1,
    components: NonNegativeInt = 8,
    penalty: NonNegative = 1e-3,
) -> ScoreTable:
    """How far the error lies below the quantile that non-members like it have.

    Quantile regression (Bertran et al. 2023, arXiv:2307.03694), linear in the difficulty and the
    first principal components of pooled features, on the victim's log errors on auxiliaries. The
    quantile is shifted so that it holds for auxiliaries it was not fitted to (conformalised
    quantile regression, Romano et al. 2019, by CV+, Barber et al. 2021), so "member where the score
    is positive" is a test of about the level ``fpr``.

    Args:
        evidence, ids, model: as for every attack.
        fpr: level of the quantile: the false positive rate of "member where the score is
            positive".
        components: of the features; 0: the difficulty alone.
        penalty: weight of the sum of the coefficients' absolute values.

    Raises:
        UserError: there are fewer than 20 auxiliaries, or too few for the level.
    """
    _check_quantile(evidence.given(), fpr=fpr)
    auxiliaries = evidence.known.ids(Role.AUXILIARY)

    def columns(images: Sequence[str]) -> Floats:
        difficulty = evidence.difficulty.column(images)[:, None]
        more = [evidence.features(images)] if components else []
        return np.concatenate([difficulty, *more], axis=1)

    x = columns(auxiliaries)
    y = logs(evidence.reconstructions.mean_error(auxiliaries, model), evidence.resolution)
    fit = _quantile_regression(fpr, min(components, len(y) // FOLDS), penalty)
    rng = np.random.default_rng(derive_seed(evidence.seed, "quantile"))
    fold = rng.permutation(len(y)) % FOLDS
    new = [i for i in ids if i not in set(auxiliaries)]
    queried = columns(new) if new else x[:0]
    unseen, predicted = np.empty_like(y), np.empty((FOLDS, len(new)))
    for k in range(FOLDS):
        fit.fit(x[fold != k], y[fold != k])
        unseen[fold == k] = fit.predict(x[fold == k])
        if new:
            predicted[k] = fit.predict(queried)
    residual = y - unseen
    rank = int(np.floor(fpr * (len(y) + 1))) - 1
    # CV+: of every auxiliary, what the fit that has not seen it says, off by as much as it was.
    bounds = np.sort(predicted[fold] + residual[:, None], axis=0)[rank]
    limit = dict(zip(auxiliaries, unseen + np.sort(residual)[rank], strict=True))
    limit |= dict(zip(new, bounds, strict=True))
    expected = np.array([limit[i] for i in ids])
    score = expected - logs(evidence.reconstructions.mean_error(ids, model), evidence.resolution)
    return ScoreTable("quantile", model, np.array(ids), score)


def _quantile_regression(fpr: float, components: int, penalty: float) -> Pipeline:
    """Of the first column and the principal components of the others, all of unit variance."""
    reduced = make_pipeline(StandardScaler(), PCA(components, svd_solver="full"), StandardScaler())
    features = [("features", reduced, slice(1, None))] if components else []
    inputs = ColumnTransformer([("difficulty", StandardScaler(), [0]), *features])
    return make_pipeline(inputs, QuantileRegressor(quantile=fpr, alpha=penalty, solver="highs"))


def _check_learned(given: Given) -> None:
    remedy = "each is compared with two others; set reference.count=4"
    given.enough("attack learned", "references", 3, remedy)


@attack(version=2, references=True, turns=True, difficulty=True, costly=True, check=_check_learned)
def learned(evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
    """Log odds of a logistic regression on error, difficulty and calibrated errors.

    Each reference victim in turn is attacked with the help of the others, and since it is known
    what they were trained on, the best weights of the scores are too: what a fixed alpha leaves on
    the table (the shadow technique, Shokri et al. 2017, arXiv:1610.05820). Columns are
    standardised for each model by themselves, since victims differ in how far they over-fit.

    Raises:
        UserError: there are fewer than three references.
    """
    _check_learned(evidence.given())
    columns, labels = [], []
    for k in range(len(evidence.references)):
        turn = evidence.turn(k)
        pool = evidence.pool(k)
        columns.append(_columns(turn, pool, VICTIM))
        labels.append(evidence.is_in(pool)[k])
    fit = LogisticRegression(C=1.0, max_iter=1000)
    fit.fit(np.concatenate(columns), np.concatenate(labels))
    score = fit.decision_function(_columns(evidence, ids, model))
    return ScoreTable("learned", model, np.array(ids), score)


def _columns(evidence: Evidence, ids: Sequence[str], model: str) -> Floats:
    found = np.stack(
        [
            logs(evidence.reconstructions.mean_error(ids, model), evidence.resolution),
            evidence.difficulty.column(ids),
            watson(evidence, ids, model).score,
            lira(evidence, ids, model).score,
        ],
        axis=1,
    )
    spread = found.std(0)
    scaled: Floats = (found - found.mean(0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def _check_shadow(given: Given, *, patch: int = 16, references: int = 1, **_: object) -> None:
    name = "attack.available.shadow"
    given.enough(f"{name}.references={references}", "references", references, "give fewer")
    if patch > given.shortest_side:
        raise UserError(
            f"{name}.patch={patch}: must be at most the shorter side of the images, "
            f"{given.shortest_side} pixels"
        )


@attack(references=True, turns=True, costly=True, check=_check_shadow)
def shadow(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    patch: Annotated[int, Ge(4)] = 16,
    epochs: PositiveInt = 20,
    references: PositiveInt = 1,
) -> ScoreTable:
    """Log odds that patches of the error map are a member's, averaged over the image.

    Segmentations-Leak (He et al. 2020, arXiv:1912.09685), as Shafran et al. use it (Table 3): a
    classifier tells patches of a shadow model's error maps on its training images from those on
    others. Theirs is a ResNet-50 on maps of segmentation losses; this one has three convolutions,
    for the few thousand patches of a hundred images.

    Args:
        evidence, ids, model: as for every attack.
        patch: side of the patches, which do not overlap, in pixels.
        epochs: passes over the patches when the classifier is trained.
        references: how many reference victims are the shadow models; one as published.

    Raises:
        UserError: the images are smaller than a patch, or there are fewer references.
    """
    given = evidence.given()
    _check_shadow(given, patch=patch, references=references)
    patches, labels = [], []
    for k in range(references):
        pool = evidence.pool(k)
        found = _patches(evidence.turn(k), pool, VICTIM, patch)
        labels.append(np.repeat(evidence.is_in(pool)[k], found.shape[1]))
        patches.append(found.reshape(-1, *found.shape[2:]))
    x = torch.from_numpy(np.concatenate(patches))
    y = torch.from_numpy(np.concatenate(labels)).float()
    center, spread = x.mean((0, 2, 3), keepdim=True), x.std() + 1e-12
    network = _trained((x - center) / spread, y, epochs, derive_seed(evidence.seed, "shadow"))
    queried = _patches(evidence, ids, model, patch)
    flat = (torch.from_numpy(queried).flatten(0, 1) - center) / spread
    with torch.inference_mode():
        odds = torch.cat([network(part) for part in torch.split(flat, 4096)])
    score = odds.reshape(queried.shape[:2]).double().mean(1).numpy()
    return ScoreTable("shadow", model, np.array(ids), score)


def _trained(x: Tensor, y: Tensor, epochs: int, seed: int) -> nn.Module:
    """A classifier of patches (P, C, S, S), in [0, 1], fitted with Adam."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(x.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=1e-4)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(x)), 64):
                loss = functional.binary_cross_entropy_with_logits(network(x[rows]), y[rows])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
    return network


def _network(channels: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1), nn.Flatten(0)),
    )


def _patches(evidence: Evidence, ids: Sequence[str], model: str, patch: int) -> NDArray[np.float32]:
    """Error maps cut into patches: float32 (N, P, C, patch, patch)."""
    answers = evidence.reconstructions
    found = []
    for batch in evidence.pairs(ids):
        rows = [answers.row(i, model) for i in batch.ids]
        maps = np.abs(np.asarray(answers.images[rows]) - batch.y.numpy())
        n, channels, height, width = maps.shape
        across, down = width // patch, height // patch
        cut = maps[:, :, : down * patch, : across * patch]
        cut = cut.reshape(n, channels, down, patch, across, patch).transpose(0, 2, 4, 1, 3, 5)
        found.append(cut.reshape(n, down * across, channels, patch, patch))
    return np.concatenate(found).astype(np.float32)
