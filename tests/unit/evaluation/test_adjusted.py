"""Adjusted AUCs: against direct formulas, independent matchings, and simulated audits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, minimize
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.special import expit, ndtr
from sklearn.linear_model import LogisticRegression

from mia_lab.evaluation import auc, auc_interval
from mia_lab.evaluation.adjusted import (
    CALIPER,
    NEEDED,
    _Data,
    _judge_matched,
    adjust,
    covariate_adjusted_auc,
    joint_columns,
    matched_pairs,
    probabilities,
    resampled,
)
from mia_lab.evaluation.clusters import cluster_codes
from mia_lab.evaluation.ridge import fold_numbers
from mia_lab.types import ScoreTable

N = 80


def confounded(
    seed: int = 0, shift: float = 0.0, n: int = N, slope: float = 1.4
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Features, difficulty, membership and scores of n + n images; two factors, one confounds."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(5 * n, 2))
    drawn = rng.random(5 * n) < expit(slope * factors[:, 0])
    chosen = np.concatenate([np.flatnonzero(side)[:n] for side in (drawn, ~drawn)])
    factors, is_member = factors[chosen], drawn[chosen]
    score = factors[:, 0] + 0.5 * factors[:, 1] + rng.normal(size=2 * n) + shift * is_member
    loadings = np.random.default_rng(99).normal(size=(2, 10))
    features = {"a": factors @ loadings + 0.5 * rng.normal(size=(2 * n, 10))}
    return features, factors[:, 1] + rng.normal(size=2 * n), is_member, score


def tables(*scores: np.ndarray) -> list[ScoreTable]:
    ids = np.arange(len(scores[0])).astype(str)
    return [ScoreTable(f"attack {k}", "victim", ids, s) for k, s in enumerate(scores)]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("decimals", [1, 12])  # with one decimal, residuals tie
def test_the_adjusted_auc_is_the_mean_of_the_placements(is_weighted: bool, decimals: int) -> None:
    rng = np.random.default_rng(3)
    is_member = rng.random(60) < 0.4
    covariate = rng.normal(size=60).round(1) if decimals == 1 else rng.normal(size=60)
    score = (2 * covariate + rng.normal(size=60)).round(decimals)
    w = rng.integers(0, 3, 60).astype(float) if is_weighted else np.ones(60)
    design = np.stack([np.ones(60), covariate], axis=1)
    fit = w * ~is_member
    line = np.linalg.solve((design.T * fit) @ design, (design.T * fit) @ score)
    residual = score - design @ line
    total = wins = 0.0
    for i in np.flatnonzero(is_member):
        for j in np.flatnonzero(~is_member):
            gap = residual[i] - residual[j]
            tie = abs(gap) < 1e-12
            total += w[i] * w[j]
            wins += w[i] * w[j] * (0.5 if tie else float(gap > 0))
    found = covariate_adjusted_auc(score, covariate, is_member, w if is_weighted else None)
    assert found == pytest.approx(wins / total, abs=1e-9 if decimals == 12 else 2e-3)


def test_a_constant_covariate_leaves_the_auc_as_it_is() -> None:
    rng = np.random.default_rng(1)
    is_member, score = rng.random(50) < 0.5, rng.normal(size=50).round(1)
    for constant in (np.zeros(50), np.full(50, 0.1)):
        assert covariate_adjusted_auc(score, constant, is_member) == pytest.approx(
            auc(score, is_member), abs=1e-12
        )


def test_a_linear_function_of_the_covariate_gives_the_same() -> None:
    """So the logit of the propensity need not be calibrated first."""
    _, covariate, is_member, score = confounded(2)
    plain = covariate_adjusted_auc(score, covariate, is_member)
    assert covariate_adjusted_auc(score, 5 - 3 * covariate, is_member) == plain
    pairs, others = (matched_pairs(v, is_member) for v in (covariate, 5 - 3 * covariate))
    assert len(pairs[0]) == len(others[0])


@pytest.mark.parametrize("seed", range(8))
def test_as_many_pairs_as_the_caliper_allows_at_the_least_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    is_member = rng.permutation(np.arange(70) < rng.integers(15, 55))
    value = rng.normal(size=70) + 1.5 * is_member
    if seed % 2:
        value = value.round(1)  # ties
    first, second = matched_pairs(value, is_member)
    assert is_member[first].all()
    assert not is_member[second].any()
    assert len(set(first)) == len(set(second)) == len(first)
    spread = np.sqrt((value[is_member].var(ddof=1) + value[~is_member].var(ddof=1)) / 2)
    limit = CALIPER * spread
    assert (np.abs(value[first] - value[second]) <= limit).all()
    distance = np.abs(value[is_member][:, None] - value[~is_member])
    partner = maximum_bipartite_matching(csr_array(distance <= limit))  # Hopcroft and Karp
    assert len(first) == (partner >= 0).sum()
    # Of all matchings of this size, none is closer: pairs beyond the caliper cost more than all.
    cost = np.where(distance <= limit, distance, 1e3)
    chosen = cost[linear_sum_assignment(cost)]
    least = chosen[chosen < 1e3].sum()
    assert np.abs(value[first] - value[second]).sum() == pytest.approx(least)


def test_equal_values_are_all_matched() -> None:
    is_member = np.arange(30) < 12
    first, second = matched_pairs(np.full(30, 0.7), is_member)
    assert len(first) == len(second) == 12


def test_probabilities_are_those_of_logistic_regressions() -> None:
    features, difficulty, is_member, _ = confounded(4)
    value = joint_columns(features, difficulty)[:, 0]
    found = probabilities(value, is_member)
    plain = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(value[:, None], is_member)
    np.testing.assert_allclose(found, plain.predict_proba(value[:, None])[:, 1], atol=1e-4)

    def loss(line: np.ndarray) -> float:
        logit = line[0] + line[1] * value
        return float(np.logaddexp(0, np.where(is_member, -logit, logit)).sum())

    best = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(found, expit(best[0] + best[1] * value), atol=1e-4)
    assert found.mean() == pytest.approx(is_member.mean(), abs=1e-4)
    constant = probabilities(np.full(len(is_member), 3.0), np.arange(len(is_member)) < 40)
    np.testing.assert_allclose(constant, 40 / len(is_member), atol=1e-3)


def test_a_separation_keeps_probabilities_finite() -> None:
    found = probabilities(np.arange(40.0), np.arange(40) >= 20)
    assert np.isfinite(found).all()
    assert found[-1] > 0.99


def test_a_bootstrap_sample_draws_whole_clusters_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(40) < 20
    alone = resampled(is_member, None, rng)
    assert is_member[alone].sum() == 20
    assert len(set(alone)) < 35  # drawn with replacement
    groups = np.array([f"g{i // 4}" for i in range(38)] + ["", ""])
    groups[:2] = "mixed"
    groups[20:22] = "mixed"
    codes = cluster_codes(groups)
    assert codes is not None
    rows = resampled(is_member, codes, rng)
    counts = np.bincount(rows, minlength=40)
    for code in np.unique(codes):
        assert len(set(counts[codes == code])) == 1  # a cluster is drawn whole, or not at all
    mixed = codes == codes[0]
    assert (counts[mixed] == 1).all()  # the only cluster of its kind


def test_what_the_baselines_see_is_adjusted_for() -> None:
    features, difficulty, is_member, score = confounded(12, n=150)
    leaking = score + 1.5 * is_member
    found = adjust(tables(score, leaking), features, difficulty, is_member, seed=0)
    assert found.is_adjustable
    nothing, leak = found.attacks.values()
    assert nothing.adjusted is not None
    assert nothing.matched is not None
    assert leak.adjusted is not None
    assert auc(score, is_member) > 0.6
    for estimate in (nothing.adjusted, nothing.matched):
        assert estimate.ci95[0] < 0.5 < estimate.ci95[1]
        assert estimate.ci95[1] < auc(score, is_member)
    true = ndtr(1.5 / np.sqrt(2 * (1 + 0.25)))
    assert leak.adjusted.ci95[0] < true < leak.adjusted.ci95[1]
    assert leak.adjusted.ci95[0] > 0.6
    assert found.pairs <= 150 - found.outside
    assert NEEDED < found.effective_size <= found.pairs
    again = adjust(tables(score, leaking), features, difficulty, is_member, seed=0)
    assert dataclasses.asdict(again) == dataclasses.asdict(found)


def test_without_a_difference_little_changes() -> None:
    features, difficulty, is_member, score = confounded(6, shift=1.5, slope=0.0)
    found = adjust(tables(score), features, difficulty, is_member, seed=0)
    of = found.attacks["attack 0"]
    assert of.adjusted is not None
    assert of.matched is not None
    assert of.adjusted.value == pytest.approx(auc(score, is_member), abs=0.06)
    assert of.matched.value == pytest.approx(auc(score, is_member), abs=0.06)
    assert found.pairs > 0.8 * N
    assert found.blind is not None
    assert not found.blind.differs


def test_separated_classes_are_not_adjustable() -> None:
    features, difficulty, is_member, score = confounded(7)
    features = {"a": features["a"] + 6 * is_member[:, None]}
    found = adjust(tables(score), features, difficulty, is_member, seed=0)
    assert not found.is_adjustable
    assert found.attacks["attack 0"].adjusted is None
    assert found.attacks["attack 0"].matched is None
    assert found.effective_size < NEEDED
    assert found.outside > N / 2


@pytest.mark.parametrize("grouped", [False, True])
def test_too_few_images_or_clusters_are_not_adjustable(grouped: bool) -> None:
    n = N if grouped else NEEDED - 1
    features, difficulty, is_member, score = confounded(8, n=n)
    groups = np.array([f"g{i // 4}" for i in range(2 * n)]) if grouped else None
    found = adjust(tables(score), features, difficulty, is_member, seed=0, groups=groups)
    assert not found.is_adjustable
    assert found.effective_size == (2 * N / 8 if grouped else NEEDED - 1)


def test_copies_of_images_widen_the_interval_where_they_are_one_cluster() -> None:
    features, difficulty, is_member, score = confounded(9, n=70)
    twice = np.arange(140).repeat(2)
    data = {"a": features["a"][twice]}, difficulty[twice], is_member[twice]
    rows = {
        name: adjust(tables(score[twice]), *data, seed=0, groups=groups)
        for name, groups in {"alone": None, "together": twice.astype(str)}.items()
    }
    width = {}
    for name, found in rows.items():
        matched = found.attacks["attack 0"].matched
        assert matched is not None
        width[name] = matched.ci95[1] - matched.ci95[0]
    assert width["together"] > 1.2 * width["alone"]
    assert rows["together"].effective_size < 0.6 * rows["alone"].effective_size


def test_matched_images_that_differ_are_noticed() -> None:
    """A propensity that leaves out a column does not balance it, and a baseline sees that."""
    rng = np.random.default_rng(10)
    n = 100
    is_member = np.arange(2 * n) < n
    noise, difficulty = rng.normal(size=(2 * n, 10)), rng.normal(size=2 * n)
    features = {"noise": noise, "different": rng.normal(size=(2 * n, 1)) + 0.8 * is_member[:, None]}
    labels = np.stack([rng.permutation(is_member) for _ in range(99)], axis=1)
    folds = fold_numbers(2 * n, None, 0)
    assert folds is not None
    found = {
        name: _judge_matched(
            _Data(columns, difficulty[None], is_member, folds), features, difficulty, labels
        )
        for name, columns in {
            "all": joint_columns(features, difficulty),
            "some": joint_columns({"noise": noise}, difficulty),
        }.items()
    }
    assert found["some"].best == "different"
    assert found["some"].max > 0.62
    assert found["some"].p_value == 0.01
    assert found["some"].differs
    assert not found["all"].differs


def test_an_interval_holds_the_truth_in_simulations() -> None:
    """A few simulations of the study in experiments/intervals, which has hundreds."""
    held = {"adjusted": 0, "matched": 0, "unadjusted": 0}
    alarms = 0
    for seed in range(12):
        features, difficulty, is_member, score = confounded(100 + seed, n=70, slope=1.2)
        found = adjust(tables(score), features, difficulty, is_member, seed=seed)
        of = found.attacks["attack 0"]
        assert of.adjusted is not None
        assert of.matched is not None
        assert found.blind is not None
        held["adjusted"] += of.adjusted.ci95[0] <= 0.5 <= of.adjusted.ci95[1]
        held["matched"] += of.matched.ci95[0] <= 0.5 <= of.matched.ci95[1]
        low, high = auc_interval(score, is_member)
        held["unadjusted"] += low <= 0.5 <= high
        alarms += found.blind.differs
    # Fewer in 2 % of runs, if the coverage were 95 %; more in 2 %, if the rate were 5 %.
    assert held["adjusted"] >= 10
    assert held["matched"] >= 10
    assert alarms <= 2
    assert held["unadjusted"] <= 6
