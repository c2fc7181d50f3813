"""Attacks that compare with reference victims, on errors whose distribution is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mia_lab.attacks.calibrated import Variance, lira, rmia, watson
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership
from mia_lab.difficulty.multi_image import MultiImage
from mia_lab.errors import UserError
from tables import answers, made_evidence

N = 6000
SIGMA, DELTA = 0.3, 0.36


def names(kind: str, n: int) -> list[str]:
    return [f"{kind}{i}" for i in range(n)]


def simulated(
    k: int, seed: int = 0, log: bool = False, inside: bool = False
) -> tuple[Evidence, list[str], np.ndarray]:
    """Images of very different difficulty; members reconstructed better by DELTA.

    With ``inside``, half of the references saw each candidate, and reconstruct it as well.
    """
    rng = np.random.default_rng(seed)
    ids = names("c", N)
    mean = rng.normal(5.0, 2.0, N)
    member = np.arange(N) % 2 == 0
    seen = np.zeros((k, N), dtype=bool)
    if inside:
        for row in range(0, k, 2):
            seen[row] = rng.random(N) < 0.5
            seen[row + 1] = ~seen[row]

    def errors(trained_on: np.ndarray) -> np.ndarray:
        found = mean - DELTA * trained_on + SIGMA * rng.normal(size=N)
        return np.exp(found - 5) if log else found

    victim = answers(ids, errors(member))
    references = [answers(ids, errors(row)) for row in seen]
    members = [[i for i, s in zip(ids, row, strict=True) if s] for row in seen]
    return made_evidence(ids, [], victim, references, members, pool=ids), ids, member


def area(score: Sequence[float] | np.ndarray, member: np.ndarray) -> float:
    return float(roc_auc_score(member, score))


@pytest.mark.parametrize("m", [1, 2, 8])
def test_watson_has_the_auc_of_its_closed_form(m: int) -> None:
    evidence, ids, member = simulated(m)
    expected = norm.cdf(DELTA / (SIGMA * math.sqrt(2 * (1 + 1 / m))))
    found = area(watson(evidence, ids, "victim").score, member)
    assert found == pytest.approx(expected, abs=3 * 0.5 / math.sqrt(N))
    plain = area(-evidence.reconstructions.error, member)
    assert plain < 0.6  # the spread of difficulties hides what there is


def test_watson_with_one_reference_is_the_multi_image_score() -> None:
    evidence, ids, _ = simulated(1)
    table = MultiImage().score_references(evidence.references, [[]])
    calibrated = Evidence(evidence.known, evidence.reconstructions, table, evidence.pairs)
    np.testing.assert_array_equal(
        watson(evidence, ids, "victim").score, membership(calibrated, ids, "victim", alpha=1).score
    )


def test_offline_lira_converges_to_the_optimum() -> None:
    found = []
    for k, expected in zip((1, 2, 4, 16), (0.726, 0.756, 0.776, 0.795), strict=True):
        evidence, ids, member = simulated(k, log=True)
        found.append(area(lira(evidence, ids, "victim").score, member))
        assert found[-1] == pytest.approx(expected, abs=3 * 0.5 / math.sqrt(N))
    optimum = norm.cdf(DELTA / (SIGMA * math.sqrt(2)))
    assert found == sorted(found)
    assert optimum - found[-1] < 0.015


@pytest.mark.slow
def test_online_lira_is_the_ratio_of_two_densities() -> None:
    evidence, ids, member = simulated(16, log=True, inside=True)
    found = lira(evidence, ids, "victim", online=True)
    assert area(found.score, member) == pytest.approx(0.79, abs=0.03)
    logs = np.log([r.error for r in evidence.references])
    seen = evidence.is_in(ids)
    spread = {}
    for side in (True, False):  # pooled, with one degree of freedom less an image
        left = [logs[seen[:, i] == side, i] for i in range(N)]
        squares = sum(((v - v.mean()) ** 2).sum() for v in left)
        spread[side] = math.sqrt(squares / sum(len(v) - 1 for v in left))
    for i in (0, 1, 77):
        density = {}
        for side in (True, False):
            values = logs[seen[:, i] == side, i]
            sd = spread[side] * math.sqrt(1 + 1 / len(values))
            density[side] = norm.logpdf(
                np.log(evidence.reconstructions.error[i]), values.mean(), sd
            )
        assert found.score[i] == pytest.approx(density[True] - density[False], rel=1e-9)


def test_per_image_variance() -> None:
    evidence, ids, _ = simulated(8, log=True)
    logs = np.log([r.error for r in evidence.references])
    gap = logs.mean(0) - np.log(evidence.reconstructions.error)
    expected = gap / (logs.std(0, ddof=1) * np.sqrt(1 + 1 / 8))  # of the next draw
    found = lira(evidence, ids, "victim", variance="per_image").score
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_rmia_counts_the_images_that_are_beaten() -> None:
    rng = np.random.default_rng(3)
    ids, others = names("c", 12), names("z", 15)
    everyone = [*ids, *others]
    victim = answers(everyone, rng.uniform(0.05, 0.4, len(everyone)))
    references = [answers(everyone, rng.uniform(0.05, 0.4, len(everyone))) for _ in range(4)]
    members = [others[:7], others[7:], others[3:10], [*others[:3], *others[10:]]]
    evidence = made_evidence(ids, others, victim, references, members)
    error = dict(zip(everyone, victim.error, strict=True))

    def out(image: str) -> list[float]:
        return [
            float(r.error[everyone.index(image)])
            for r, inside in zip(references, members, strict=True)
            if image not in inside
        ]

    b = np.mean([abs(error[z] - np.mean(out(z))) for z in others])

    def ratio(image: str) -> float:
        return float(np.exp(-error[image] / b) / np.mean([np.exp(-e / b) for e in out(image)]))

    found = rmia(evidence, everyone, "victim", gamma=1.5).column(everyone)
    expected = []
    for x in everyone:
        beaten = [ratio(x) / ratio(z) >= 1.5 for z in others if z != x]
        expected.append(sum(beaten) / len(beaten))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0 < np.mean(found) < 1


def test_what_is_missing_is_named() -> None:
    evidence, ids, _ = simulated(2, log=True)
    with pytest.raises(UserError, match=r"lira.online=true.*reference.pool"):
        lira(evidence, ids, "victim", online=True)
    with pytest.raises(UserError, match=r"rmia: takes 2 auxiliaries.*data.n_auxiliary"):
        rmia(evidence, ids, "victim")


@pytest.mark.parametrize(("k", "online"), [(2, False), (2, True), (4, True)])
def test_a_perfect_answer_is_the_best_evidence(k: int, online: bool) -> None:
    """An error of 0 has no logarithm; it counts as the smallest error that 8 bits can show."""
    evidence, ids, _ = simulated(k, log=True, inside=True)
    errors = evidence.reconstructions.error.copy()
    errors[0] = 0
    perfect = replace(evidence, reconstructions=answers(ids, errors))
    errors[0] = 1 / (255 * 3 * 64 * 64)
    smallest = replace(evidence, reconstructions=answers(ids, errors))
    found = [lira(e, ids, "victim", online=online).score for e in (perfect, smallest)]
    np.testing.assert_array_equal(*found)
    if not online:
        assert found[0].argmax() == 0


@pytest.mark.parametrize("variance", ["pooled", "per_image"])
def test_references_that_agree_exactly_order_images_by_their_gap(variance: Variance) -> None:
    rng = np.random.default_rng(0)
    ids = names("c", 40)
    out = answers(ids, rng.uniform(0.1, 0.4, 40))
    victim = answers(ids, out.error * rng.uniform(0.8, 1.2, 40))
    evidence = made_evidence(ids, [], victim, [out] * 3, [[]] * 3, pool=ids)
    found = lira(evidence, ids, "victim", variance=variance).score
    gap = np.log(out.error) - np.log(victim.error)
    if variance == "per_image":
        gap *= out.error  # the errors were rounded to one level, whatever they are
    np.testing.assert_array_equal(found.argsort(), gap.argsort())


def test_rmia_needs_references_that_differ_from_the_victim() -> None:
    ids, others = names("c", 5), names("z", 5)
    same = answers([*ids, *others], np.linspace(0.1, 0.3, 10))
    evidence = made_evidence(ids, others, same, [same] * 2, [[]] * 2)
    with pytest.raises(UserError, match=r"attack rmia: .*is the victim one of the references"):
        rmia(evidence, ids, "victim")
