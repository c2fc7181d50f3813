from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from mia_lab.evaluation import auc, compare_attacks, evaluate
from mia_lab.evaluation.metrics import metric_columns, metric_names
from mia_lab.types import ScoreTable


def table(attack: str, ids: list[str], score: np.ndarray) -> ScoreTable:
    return ScoreTable(attack, "victim", np.array(ids), np.asarray(score, dtype=float))


def test_evaluation_holds_counts_and_rates():
    is_member = np.arange(60) < 40
    e = evaluate("reconstruction", is_member + 0.0, is_member)
    assert (e.name, e.n_members, e.n_nonmembers, e.auc) == ("reconstruction", 40, 20, 1.0)
    assert e.auc_ci95[0] < 1 == e.auc_ci95[1]
    assert e.tpr_at_fpr["0.01"] is None
    assert e.tpr_at_fpr["0.1"].value == 1.0
    low, high = e.tpr_at_fpr["0.1"].ci95
    assert 0.2 < low < high <= 1
    assert e.auc_bootstrap_ci95 == e.auc_ci95  # nothing varies: the same interval, not a point
    assert e.p_value < 1e-6
    assert (e.roc.fpr[0], e.roc.tpr[0], e.roc.fpr[-1], e.roc.tpr[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("shift", [-5.0, -1.0, 0.0, 1.0, 5.0])
def test_the_advantage_is_that_of_either_direction(shift: float) -> None:
    is_member = np.arange(60) < 40
    score = np.random.default_rng(0).normal(size=60) + shift * is_member
    found, area = (evaluate("a", score, is_member).metrics[m] for m in ("advantage", "auc"))
    pairs = np.sign(score[is_member][:, None] - score[~is_member])
    assert found.value == pytest.approx(abs(pairs.mean()), abs=1e-12)
    mirrored = evaluate("a", -score, is_member).metrics["advantage"]
    assert (found.value, *found.ci95) == pytest.approx((mirrored.value, *mirrored.ci95), abs=1e-12)
    low, high = 2 * np.array(area.ci95) - 1
    sides = np.abs(np.linspace(low, high, 100_001))
    assert found.ci95 == pytest.approx((sides.min(), sides.max()), abs=1e-4)
    assert found.ci95[0] <= found.value <= found.ci95[1]


@pytest.mark.parametrize("decimals", [1, 15], ids=["tied", "untied"])
@pytest.mark.parametrize("n", [100, 1000])
def test_rates_are_those_of_scikit_learns_curve(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    is_member = np.arange(n + 300) < 300
    scores = (rng.normal(size=n + 300) + 1.5 * is_member).round(decimals)
    asked = (0.001, 0.005, 0.02, 0.25)
    found = evaluate("a", scores, is_member, fprs=asked)
    assert [*found.tpr_at_fpr] == ["0.001", "0.005", "0.02", "0.25"]
    fpr, tpr, _ = metrics.roc_curve(is_member, scores, drop_intermediate=False)
    for key, rate in found.tpr_at_fpr.items():
        if float(key) < 1 / n:
            assert rate is None
            continue
        at = np.flatnonzero(tpr == tpr[fpr <= float(key)].max())[0]
        assert (rate.value, rate.realised_fpr) == (tpr[at], fpr[at])
        assert rate.realised_fpr <= float(key)
        assert (rate.true_positives, rate.false_positives) == (
            np.count_nonzero(scores[is_member] >= _threshold(scores, is_member, fpr[at])),
            round(fpr[at] * n),
        )
        assert rate.ci95[0] <= rate.value <= rate.ci95[1]
    columns = metric_columns(found.metrics)
    assert [*columns] == metric_names(asked)
    assert columns["tpr_at_fpr_0.02_realised_fpr"] == found.tpr_at_fpr["0.02"].realised_fpr


def _threshold(scores: np.ndarray, is_member: np.ndarray, fpr: float) -> float:
    """The highest score that calls as many non-members."""
    others = scores[~is_member]
    rates = ((t, (others >= t).mean()) for t in np.unique(scores)[::-1])
    return [t for t, rate in rates if rate == fpr][-1] if fpr else np.nextafter(others.max(), 9)


def test_members_above_every_nonmember() -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(120) < 80
    scores = (rng.normal(size=120) + 2 * is_member).round(1)
    above = int(sum(s > max(scores[~is_member]) for s in scores[is_member]))
    assert 5 < above < 75
    assert (scores[is_member] == scores[~is_member].max()).any()  # such a tie is not above
    found = evaluate("a", scores, is_member).metrics["tpr_at_zero_fp"]
    exact = binomtest(above, 80).proportion_ci(method="exact")
    assert (found.value, *found.ci95) == pytest.approx((above / 80, exact.low, exact.high))
    groups = np.arange(120).astype(str)
    groups[np.argsort(scores[:80])] = np.repeat([f"scene {i}" for i in range(16)], 5)
    wider = evaluate("a", scores, is_member, 0, groups).metrics["tpr_at_zero_fp"]
    assert wider.value == found.value
    assert np.diff(wider.ci95) > 1.5 * np.diff(found.ci95)


def test_bad_scores_are_named():
    with pytest.raises(ValueError, match=r"^membership: 1 of 4 scores are not finite"):
        evaluate("membership", np.array([0, 1, np.nan, 2]), np.array([True, False] * 2))


def test_comparison_joins_by_id():
    rng = np.random.default_rng(0)
    ids = [f"i{k}" for k in range(40)]
    is_member = np.arange(40) < 20
    first, second = rng.normal(size=(2, 40)) + is_member
    order = rng.permutation(40)
    straight = compare_attacks(table("a", ids, first), table("b", ids, second), is_member)
    shuffled = compare_attacks(
        table("a", ids, first), table("b", [ids[k] for k in order], second[order]), is_member
    )
    assert straight == shuffled
    assert (straight.first, straight.second) == ("a", "b")
    assert straight.difference == auc(first, is_member) - auc(second, is_member)


def test_comparison_of_different_images_is_refused():
    is_member = np.array([True, False])
    first, second = table("a", ["x", "y"], np.arange(2)), table("b", ["x", "z"], np.arange(2))
    with pytest.raises(ValueError, match="a and b scored different images"):
        compare_attacks(first, second, is_member)


def test_many_scores_are_quick():
    """Two attacks, a blind baseline and the paired comparisons of an audit."""
    rng = np.random.default_rng(0)
    n = 200_000
    is_member = np.arange(n) < n // 2
    ids = np.arange(n).astype(str)
    shared = rng.normal(size=n)
    tables = [
        ScoreTable(name, "victim", ids, shared + rng.normal(size=n) + shift * is_member)
        for name, shift in {"reconstruction": 1.0, "membership": 1.2, "difficulty": 0.0}.items()
    ]
    start = time.process_time()
    for each in tables:
        evaluate(each.attack, each.score, is_member)
    compare_attacks(tables[1], tables[0], is_member)
    compare_attacks(tables[1], tables[2], is_member)
    assert time.process_time() - start < 10


def test_band_holds_the_curve():
    rng = np.random.default_rng(3)
    is_member = np.arange(300) < 150
    e = evaluate("a", rng.normal(size=300) + is_member, is_member)
    inside = (e.band.fpr > 0.02) & (e.band.fpr < 0.98)
    at = np.array([e.roc.tpr[e.roc.fpr <= f].max() for f in e.band.fpr])
    assert ((e.band.low <= at) & (at <= e.band.high))[inside].all()
    assert (np.diff(e.band.fpr) > 0).all()


def test_the_same_seed_gives_the_same_intervals():
    rng = np.random.default_rng(3)
    is_member = np.arange(60) < 30
    scores = rng.normal(size=60) + is_member
    one, two, other = (evaluate("a", scores, is_member, seed) for seed in (0, 0, 1))
    assert one.tpr_at_fpr == two.tpr_at_fpr
    assert one.auc_bootstrap_ci95 == two.auc_bootstrap_ci95 != other.auc_bootstrap_ci95
