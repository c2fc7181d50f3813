"""The gate on the split: what it catches, what it lets pass, how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from mia_lab.evaluation import auc, auc_interval, compare_attacks, judge_split
from mia_lab.evaluation.blind import (
    compact,
    excess,
    fit_baselines,
    judge_fits,
)
from mia_lab.evaluation.results import Blind, Verdict
from mia_lab.types import BlindFits, ScoreTable

N = 60
IS_MEMBER = np.arange(2 * N) < N
IDS = np.array([f"{i:03d}" for i in range(2 * N)])


def judged(difficulty: np.ndarray, features: dict[str, np.ndarray], **options: object) -> Blind:
    chosen = {"seed": 0, "permutations": 50} | options
    return judge_split(difficulty, features, IDS, IS_MEMBER, **chosen)  # type: ignore[arg-type]


def noise(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return rng.random(2 * N), {"a": rng.normal(size=(2 * N, 4)), "b": rng.normal(size=(2 * N, 90))}


def test_compact_columns_predict_as_standardised_ones_do() -> None:
    """A rotation leaves a regression with a squared penalty as it is."""
    features = noise()[1]["b"] * np.linspace(1, 9, 90) + 0.3 * IS_MEMBER[:, None]
    found = compact(features)
    plain = StandardScaler().fit_transform(features)
    scale = (plain**2).sum() / plain.shape[1] / ((found**2).sum() / found.shape[1])
    scale *= plain.shape[1] / found.shape[1]
    rotated = Ridge(40).fit(found, IS_MEMBER).predict(found)
    standard = Ridge(40 * scale).fit(plain, IS_MEMBER).predict(plain)
    np.testing.assert_allclose(rotated, standard, atol=1e-8)


def test_constant_and_repeated_columns_are_harmless() -> None:
    features = np.concatenate([np.full((2 * N, 3), 7.0), np.ones((2 * N, 1))], axis=1)
    assert compact(features).shape == (2 * N, 1)
    varying = np.arange(2.0 * N)[:, None]
    assert compact(np.concatenate([features, varying, varying], axis=1)).shape == (2 * N, 1)
    found = judged(noise()[0], {"constant": features})
    assert found.baselines[1].auc == 0.5


def test_a_fair_split_is_not_confounded() -> None:
    found = judged(*noise())
    assert found.verdict is Verdict.UNDECIDABLE
    assert 0.05 < found.p_value <= 1
    assert found.permutations == 50
    assert found.upper95 > 0.6
    assert found.max == max(
        max(e.auc, 1 - e.auc) if e.name == "difficulty" else e.auc for e in found.baselines
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_difficulty_counts_on_either_side(sign: int) -> None:
    difficulty, features = noise()
    found = judged(difficulty + sign * 0.5 * IS_MEMBER, features)
    assert (found.verdict, found.best) == (Verdict.CONFOUNDED, "difficulty")
    assert found.p_value == found.adjusted_p["difficulty"] == 1 / 51
    assert (found.baselines[0].auc > 0.5) == (sign > 0)
    assert found.max > 0.7


def test_features_that_differ_are_found_and_named() -> None:
    difficulty, features = noise()
    features["b"] = features["b"] + 0.5 * IS_MEMBER[:, None]
    found = judged(difficulty, features)
    assert (found.verdict, found.best) == (Verdict.CONFOUNDED, "b")
    assert found.adjusted_p["a"] > 0.05
    assert found.p_value == found.adjusted_p["b"] < 0.05


def test_many_images_make_a_fair_split_sound() -> None:
    rng = np.random.default_rng(5)
    n = 700
    truth = np.arange(2 * n) < n
    found = judge_split(
        rng.random(2 * n), {"a": rng.normal(size=(2 * n, 3))}, np.arange(2 * n).astype(str),
        truth, seed=0, permutations=20,
    )  # fmt: skip
    assert found.verdict is Verdict.SOUND
    assert found.max < found.upper95 < 0.6


@pytest.mark.slow
def test_intervals_of_fitted_baselines_allow_for_the_fits() -> None:
    """Under the null, DeLong's about the fitted scores would miss 0.5 far too often."""
    rng = np.random.default_rng(0)
    draws, plain, allowed = 40, 0, 0
    for seed in range(draws):
        features = {"a": rng.normal(size=(2 * N, 15))}
        found = judged(rng.random(2 * N), features, seed=seed, permutations=40)
        low, high = found.baselines[1].auc_ci95
        allowed += low <= 0.5 <= high
        low, high = auc_interval(found.scores[1].score, IS_MEMBER)
        plain += low <= 0.5 <= high
        assert found.baselines[1].p_value == found.adjusted_p["a"]
    assert plain < allowed
    assert allowed >= stats.binom.ppf(0.001, draws, 0.95)


def test_excess_over_a_fitted_baseline_is_less_certain() -> None:
    features = np.random.default_rng(3).normal(size=(2 * N, 15)) + 0.3 * IS_MEMBER[:, None]
    found = judged(noise()[0], {"fitted": features})
    assert found.best == "fitted"
    scores = np.random.default_rng(1).normal(size=2 * N) + IS_MEMBER
    table = ScoreTable("membership", "victim", IDS, scores)
    gain = excess(table, found, IS_MEMBER)
    best = next(t for t in found.scores if t.attack == found.best)
    plain = compare_attacks(table, best, IS_MEMBER)
    assert gain.difference == plain.difference
    assert gain.ci95[1] - gain.ci95[0] > plain.ci95[1] - plain.ci95[0]
    assert gain.p_value > plain.p_value


def test_a_confound_of_groups_is_seen() -> None:
    """Groups of mixed classes, of two types: one has most of the members."""
    rng = np.random.default_rng(0)
    codes = np.arange(2 * N) // 6
    kind = codes % 2
    truth = rng.random(2 * N) < np.where(kind, 0.9, 0.1)
    features = {"kind": rng.normal(size=(2 * N, 3)) + 3 * kind[:, None]}
    groups = np.array([f"g{c}" for c in codes])
    found = judge_split(
        rng.random(2 * N), features, IDS, truth, seed=0, permutations=60, groups=groups
    )
    assert found.verdict is Verdict.CONFOUNDED


def test_a_difficulty_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="difficulty: 1 of 120 scores are not finite"):
        judged(np.where(np.arange(2 * N) == 3, np.nan, 0.1), {})


def test_the_same_seed_gives_the_same_verdict() -> None:
    one, two = judged(*noise()), judged(*noise())
    assert (one.p_value, one.max, one.upper95) == (two.p_value, two.max, two.upper95)


@pytest.mark.slow
def test_false_alarms_are_rare() -> None:
    draws, alarms = 60, 0
    for seed in range(draws):
        difficulty, features = noise(seed)
        found = judged(difficulty, {"a": features["a"]}, seed=seed, permutations=39)
        alarms += found.verdict is Verdict.CONFOUNDED
    assert alarms <= stats.binom.ppf(0.999, draws, 0.05)


def test_groups_are_not_torn_apart() -> None:
    """Features that name the group would otherwise tell a non-member by its neighbours."""
    rng = np.random.default_rng(0)
    codes = np.arange(2 * N) // 6
    names = rng.normal(size=(20, 30))[codes] + 0.1 * rng.normal(size=(2 * N, 30))
    groups = np.array([f"g{c}" for c in codes])
    torn = judged(rng.random(2 * N), {"names": names})
    whole = judged(rng.random(2 * N), {"names": names}, groups=groups)
    assert torn.baselines[1].auc > 0.95
    assert whole.baselines[1].auc < 0.8
    assert whole.verdict is not Verdict.CONFOUNDED


def test_a_single_cluster_leaves_the_difficulty() -> None:
    found = judge_split(
        np.arange(4.0), {"a": np.zeros((4, 1))}, np.array([*"abcd"]), np.arange(4) < 1,
        seed=0, permutations=20, groups=np.array(["g"] * 4),
    )  # fmt: skip
    assert [e.name for e in found.baselines] == ["difficulty"]
    assert found.verdict is Verdict.UNDECIDABLE


def test_one_member_can_be_judged() -> None:
    """Some folds are predicted from non-members only, and tell nothing."""
    features = {"a": np.array([[3.0], [0.0], [1.0], [2.0]])}
    truth, ids = np.arange(4) < 1, np.array([*"abcd"])
    found = judge_split(np.arange(4.0), features, ids, truth, seed=0, permutations=20)
    assert [e.name for e in found.baselines] == ["difficulty", "a"]
    assert found.verdict is Verdict.UNDECIDABLE


def test_excess_is_paired_with_the_best_baselines_better_side() -> None:
    difficulty, features = noise()
    found = judged(difficulty - 0.5 * IS_MEMBER, features)
    assert found.best == "difficulty"
    scores = np.random.default_rng(1).normal(size=2 * N) + 2 * IS_MEMBER
    order = np.random.default_rng(2).permutation(2 * N)
    table = ScoreTable("membership", "victim", IDS[order], scores[order])
    gain = excess(table, found, IS_MEMBER[order])
    assert gain.difference == pytest.approx(auc(scores, IS_MEMBER) - found.max)
    assert (gain.first, gain.second) == ("membership", "difficulty")


@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.slow
def test_excess_of_few_images_is_rarely_significant(n: int) -> None:
    """Neither the attack nor the fitted baseline knows anything."""
    rng = np.random.default_rng(n)
    truth = np.arange(2 * n) < n
    ids = np.arange(2 * n).astype(str)

    def features() -> np.ndarray:
        return rng.normal(size=(2 * n, 3))

    def fits(permutations: int) -> BlindFits:
        return fit_baselines({"fit": features()}, truth, seed=0, permutations=permutations)

    null, found = fits(40).null, 0
    for _ in range(100):
        fitted = BlindFits(np.array(["fit"]), fits(1).score, null)
        blind = judge_fits(fitted, np.zeros(2 * n), ids, truth, 0)
        table = ScoreTable("membership", "victim", ids, rng.normal(size=2 * n))
        found += excess(table, blind, truth).p_value < 0.05
    assert found <= stats.binom.ppf(0.999, 100, 0.05)
