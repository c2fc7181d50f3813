"""Attacks that fit a model: what they find where it is known, and that they fit to no candidate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mia_lab.attacks import Attack
from mia_lab.attacks.calibrated import lira, rmia, watson
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.fitted import learned, quantile, shadow
from mia_lab.attacks.membership import membership
from mia_lab.data.splits import halves
from mia_lab.errors import UserError
from mia_lab.types import PairBatch
from tables import answers, made_evidence


def names(kind: str, n: int) -> list[str]:
    return [f"{kind}{i}" for i in range(n)]


def heteroscedastic(seed: int, n_aux: int = 100, n: int = 1000) -> tuple[Evidence, list[str]]:
    """Non-members whose errors grow, and spread, with their difficulty."""
    rng = np.random.default_rng(seed)
    ids, others = names("c", n), names("z", n_aux)
    difficulty = rng.uniform(0, 1, n + n_aux)
    logs = difficulty + (0.1 + 0.5 * difficulty) * rng.normal(size=n + n_aux)
    victim = answers([*ids, *others], np.exp(logs - 2))
    features = rng.normal(size=(n + n_aux, 20))
    evidence = made_evidence(ids, others, victim, difficulty=difficulty, features=features)
    return evidence, ids


@pytest.mark.parametrize(
    ("components", "n_aux", "lowest"),
    # Nine coefficients from a hundred images err on the safe side: .079 measured.
    [(0, 100, 0.085), (8, 100, 0.06), (8, 400, 0.085)],
)
def test_quantile_keeps_its_level_on_new_images(components: int, n_aux: int, lowest: float) -> None:
    rates = []
    for seed in range(20):
        evidence, ids = heteroscedastic(seed, n_aux)
        score = quantile(evidence, ids, "victim", fpr=0.1, components=components).score
        rates.append(np.mean(score > 0))
    # Of each draw the level of one set of auxiliaries: Beta(10, 91) for 100, deviation .03.
    assert lowest < np.mean(rates) < 0.115
    assert max(rates) < 0.25


def test_quantile_scores_auxiliaries_by_fits_that_have_not_seen_them() -> None:
    evidence, _ = heteroscedastic(0, n_aux=200)
    others = evidence.known.ids("auxiliary")  # type: ignore[arg-type]
    score = quantile(evidence, others, "victim", fpr=0.1).score
    assert np.mean(score > 0) == pytest.approx(0.1, abs=0.011)


def gaps(seed: int) -> tuple[Evidence, list[str], np.ndarray]:
    """Errors that fall by a share of the difficulty where an image was trained on."""
    rng = np.random.default_rng(seed)
    ids, others = names("c", 400), names("z", 200)
    everyone = [*ids, *others]
    hard = rng.uniform(0.1, 0.5, len(everyone))
    member = np.arange(len(ids)) % 2 == 0

    def errors(inside: set[str]) -> np.ndarray:
        seen = np.array([i in inside for i in everyone])
        return hard * np.exp(0.1 * rng.normal(size=len(everyone)) - 0.12 * seen)

    victim = answers(everyone, errors({i for i, m in zip(ids, member, strict=True) if m}))
    members = halves(others, 6, seed)
    references = [answers(everyone, errors(set(inside))) for inside in members]
    noisy = hard + 0.03 * rng.normal(size=len(hard))
    evidence = made_evidence(ids, others, victim, references, members, difficulty=noisy)
    return evidence, ids, member


def test_learned_weights_find_what_a_fixed_alpha_leaves() -> None:
    evidence, ids, member = gaps(1)
    fixed = roc_auc_score(member, membership(evidence, ids, "victim", alpha=0.5).score)
    found = roc_auc_score(member, learned(evidence, ids, "victim").score)
    assert fixed < 0.7 < found


def test_learned_wants_three_references() -> None:
    evidence, ids, _ = gaps(1)
    few = replace(evidence, references=evidence.references[:2])
    with pytest.raises(UserError, match=r"takes 3 references.*there are 2.*reference.count"):
        learned(few, ids, "victim")


def planted(seed: int = 0) -> tuple[Evidence, list[str], np.ndarray]:
    """Equal mean errors everywhere; a model's errors on its training images come in stripes."""
    rng = np.random.default_rng(seed)
    ids, others, side = names("c", 60), names("z", 60), 32
    everyone = [*ids, *others]
    target = rng.uniform(0.4, 0.6, (len(everyone), 3, side, side)).astype(np.float32)
    member = np.arange(len(ids)) % 2 == 0

    def answered(inside: set[str]) -> np.ndarray:
        error = rng.choice([0.0, 0.2], size=target.shape).astype(np.float32)
        stripes = np.zeros((side, side), dtype=np.float32)
        stripes[::2] = 0.2
        for row, image in enumerate(everyone):
            if image in inside:
                error[row] = stripes
        return target + error

    def pairs(asked: Sequence[str]) -> Iterable[PairBatch]:
        rows = [everyone.index(i) for i in asked]
        y = torch.from_numpy(target[rows])
        yield PairBatch(tuple(asked), y, y)

    inside = {i for i, m in zip(ids, member, strict=True) if m}
    error = np.full(len(everyone), 0.1)
    victim = answers(everyone, error, answered(inside))
    members = halves(others, 2, seed)
    references = [answers(everyone, error, answered(set(half))) for half in members]
    evidence = made_evidence(ids, others, victim, references, members, pairs=pairs)
    return evidence, ids, member


def test_shadow_finds_planted_patches() -> None:
    evidence, ids, member = planted()
    score = shadow(evidence, ids, "victim", patch=16, epochs=10).score
    assert roc_auc_score(member, score) > 0.95
    with pytest.raises(UserError, match=r"shadow.patch=64: must be at most .* 32 pixels"):
        shadow(evidence, ids, "victim", patch=64)
    with pytest.raises(
        UserError, match=r"shadow.references=3: takes 3 references, and there are 2"
    ):
        shadow(evidence, ids, "victim", references=3)


@pytest.mark.parametrize("attack", [watson, lira, rmia, quantile, learned, membership])
def test_whose_images_they_were_changes_no_score(attack: Attack) -> None:
    evidence, ids, member = gaps(2)
    others = evidence.known.ids("auxiliary")  # type: ignore[arg-type]
    features = np.random.default_rng(0).normal(size=(len(ids) + len(others), 10))
    scores = []
    for truth in (member, np.random.default_rng(9).permutation(member)):
        told = made_evidence(
            ids,
            others,
            evidence.reconstructions,
            evidence.references,
            [evidence.known.ids("member", model=f"reference-{k}") for k in range(6)],  # type: ignore[arg-type]
            difficulty=evidence.difficulty.score[:, 0, 0],
            features=features,
            is_member=truth.tolist(),
        )
        extra = {"alpha": 0.5} if attack is membership else {}
        scores.append(attack(told, ids, "victim", **extra).score)
    np.testing.assert_array_equal(*scores)
    assert np.unique(scores[0]).size > 10


def test_halves_are_complementary_and_know_no_roles() -> None:
    found = halves(names("z", 11), 4, seed=3)
    for first, second in (found[:2], found[2:]):
        assert set(first) | set(second) == set(names("z", 11))
        assert not set(first) & set(second)
    assert found[0] != found[2]
    assert halves(names("z", 11)[::-1], 2, seed=3) == found[:2]


def test_learned_takes_references_that_agree_exactly() -> None:
    evidence, ids, _ = gaps(1)
    same = replace(evidence, references=(evidence.references[0],) * 6)
    assert np.isfinite(learned(same, ids, "victim").score).all()
