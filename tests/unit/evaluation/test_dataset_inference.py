"""Tests of collections against SciPy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mia_lab.evaluation.blind import excess, judge_split
from mia_lab.evaluation.dataset_inference import (
    MEMBERS_ALIKE,
    NO_MIXTURE,
    answer,
    mean_test,
    needed_images,
    scorer_test,
    share_bound,
    unit_means,
    used_share,
)
from mia_lab.evaluation.results import Answer, Verdict
from mia_lab.types import ScoreTable


def test_p_values_are_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 1, 40), rng.normal(0, 2, 60)
    found = mean_test(a, b, 7, 2000)
    welch = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    assert found.welch_p == pytest.approx(welch, rel=1e-10)
    assert found.difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    t = stats.ttest_ind(a, b, equal_var=False).statistic
    both, drawn = np.concatenate([a, b]), []
    for _ in range(2000):
        order = rng.permutation(100)
        drawn.append(stats.ttest_ind(both[order[:40]], both[order[40:]], equal_var=False).statistic)
    expected = np.mean(np.array(drawn) >= t)
    assert found.permutation_p == pytest.approx(expected, abs=0.02)
    assert (found.n_collection, found.n_comparison) == (40, 60)


def test_equal_scores_are_no_evidence() -> None:
    """Means of groups of equal scores differ by rounding."""
    scores = unit_means(np.full(30, 0.1), np.repeat([f"g{i}" for i in range(10)], 3))
    found = mean_test(scores, np.full(20, 0.1), 0, 199)
    assert (found.difference, found.welch_p, found.permutation_p) == (0, 1, 1)


def test_a_group_counts_once() -> None:
    scores = np.array([1.0, 3.0, 10.0, 4.0, 6.0])
    groups = np.array(["a", "a", "", "b", "b"])
    assert sorted(unit_means(scores, groups)) == [2.0, 5.0, 10.0]
    both = unit_means(np.stack([scores, -scores], 1), groups)
    assert both.shape == (3, 2)
    assert np.array_equal(both[:, 0], -both[:, 1])
    assert np.array_equal(unit_means(scores, None), scores)


@pytest.mark.parametrize("size", [1, 5], ids=["images", "clusters"])
def test_false_alarms(size: int) -> None:
    """400 null collections; images of a cluster share an effect."""
    rng = np.random.default_rng(size)
    alarms = {"scores": 0, "features": 0}
    for draw in range(400):
        features, groups = [], []
        for side in range(2):
            shared = rng.normal(size=(20, 1, 3))
            images = (shared + rng.normal(size=(20, size, 3))).reshape(-1, 3)
            names = np.repeat([f"{side}-{i}" for i in range(20)], size)
            features.append(unit_means(images, names if size > 1 else None))
            groups.append(names)
        a, b = features
        alarms["scores"] += mean_test(a[:, 0], b[:, 0], draw, 199).permutation_p < 0.05
        found = scorer_test(a, b, draw, 199)
        alarms["features"] += found.permutation_p < 0.05
    for count in alarms.values():
        assert stats.binomtest(count, 400, 0.05, alternative="greater").pvalue > 0.01


def test_features_find_what_one_score_does_not() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80, 4))
    a[:, 1] += 0.9
    assert mean_test(a[:, 0], b[:, 0], 0, 199).permutation_p > 0.05
    found = scorer_test(a, b, 0, 199)
    assert found.permutation_p < 0.01
    assert (found.n_collection, found.n_comparison) == (40, 40)


def test_features_do_not_turn_evidence_round() -> None:
    """A collection that scores lower, as no image that was used does."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 80, 4))
    assert scorer_test(a - 1.0, b, 0, 199).permutation_p > 0.5


@pytest.mark.parametrize(
    ("p", "blind", "excess", "expected"),
    [
        (0.01, Verdict.SOUND, 0.1, Answer.USED),
        (0.01, Verdict.SOUND, -0.01, Answer.CANNOT_TELL),
        (0.01, Verdict.UNDECIDABLE, 0.1, Answer.CANNOT_TELL),
        (0.01, Verdict.CONFOUNDED, 0.1, Answer.CANNOT_TELL),
        (0.2, Verdict.CONFOUNDED, 0.1, Answer.CANNOT_TELL),
        (0.2, Verdict.SOUND, 0.1, Answer.NOT_SHOWN),
        (0.2, Verdict.UNDECIDABLE, 0.1, Answer.NOT_SHOWN),
    ],
)
def test_a_missing_rejection_of_the_twin_is_not_enough(
    p: float, blind: Verdict, excess: float, expected: Answer
) -> None:
    assert answer(p, blind, (excess, 0.3)) is expected


def test_a_small_difference_by_itself_is_not_told_as_use() -> None:
    """The attack reads a visible property that differs slightly, as a blind baseline does."""
    used = 0
    for draw in range(40):
        rng = np.random.default_rng(draw)
        is_collection = np.arange(850) < 400
        seen = rng.normal(size=850) + 0.15 * is_collection
        score = seen + 0.3 * rng.normal(size=850)
        ids = np.arange(850).astype(str)
        twin = judge_split(seen, {}, ids, is_collection, seed=draw, permutations=99)
        found = excess(ScoreTable("a", "victim", ids, score), twin, is_collection)
        p = mean_test(score[is_collection], score[~is_collection], draw, 99).permutation_p
        used += answer(p, twin.verdict, found.ci95) is Answer.USED
    assert stats.binomtest(used, 40, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_the_interval_of_the_share_holds_the_truth(share: float) -> None:
    """200 collections each; members score higher and vary less, errors are skewed."""
    rng = np.random.default_rng(round(4 * share))
    held = below = 0
    bounds = []
    for draw in range(200):
        used = rng.random(100) < share
        members, others = (-rng.gamma(4, s, 200) for s in (0.5, 1.0))
        collection = np.where(used, -rng.gamma(4, 0.5, 100), -rng.gamma(4, 1.0, 100))
        found = used_share(collection, others, members)
        held += found.ci95[0] <= used.mean() <= found.ci95[1]
        bound = share_bound(collection, others, draw)
        assert bound.is_bound
        assert not found.is_bound
        below += bound.value <= used.mean()
        bounds.append(bound.value)
    assert held >= 186  # 93 %
    assert below >= 186
    assert (np.mean(bounds) > 0.3) == (share == 1)


def test_the_share_by_a_direct_formula() -> None:
    rng = np.random.default_rng(0)
    m, n = rng.normal(2, 1, 500), rng.normal(0, 1, 400)
    c = np.concatenate([rng.normal(2, 1, 30), rng.normal(0, 1, 70)])
    found = used_share(c, n, m)
    s = (c.mean() - n.mean()) / (m.mean() - n.mean())
    assert found.value == pytest.approx(s, abs=1e-12)
    se = np.sqrt(
        c.var(ddof=1) / 100 + s**2 * m.var(ddof=1) / 500 + (1 - s) ** 2 * n.var(ddof=1) / 400
    ) / (m.mean() - n.mean())
    assert np.diff(found.ci95)[0] == pytest.approx(2 * 1.98 * se, rel=0.03)
    alike = used_share(c, n, rng.normal(-0.1, 1, 500))
    assert (alike.value, alike.ci95, alike.why) == (None, (0.0, 1.0), MEMBERS_ALIKE)
    assert used_share(c + 9, n, m).why == NO_MIXTURE


def test_more_images_have_smaller_p_values() -> None:
    rng = np.random.default_rng(0)
    found = needed_images(rng.normal(0.5, 1, 200), rng.normal(0, 1, 150), 0)
    assert found.size[0] == 10
    assert found.size[-1] == 150
    assert found.median_p[0] > 0.05 > found.median_p[-1]
    power = [
        stats.norm.cdf(0.5 / np.sqrt(2 / n) - 1.645) for n in found.size.tolist()
    ]  # of the test of means, as a reference
    assert found.detected == pytest.approx(power, abs=0.2)
