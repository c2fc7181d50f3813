"""Attacks that read answers alone: their formulas, their queries, and what they find in nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cosine
from scipy.stats import binomtest, linregress
from skimage.metrics import structural_similarity

from counting import CountingSampler
from mia_lab.attacks import Attack, run_attack
from mia_lab.attacks.answers import CROPS, residuals
from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.needs import needs_of
from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.config import build
from mia_lab.config.component import Component
from mia_lab.data.transforms import DEGRADED
from mia_lab.errors import UserError
from mia_lab.evaluation.null import permutation_p_value
from mia_lab.evaluation.results import AuditResult
from mia_lab.evaluation.roc import auc
from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.stages.verdict import VerdictStage
from mia_lab.store import Store
from mia_lab.types import PairBatch, Reconstructions, Role
from mia_lab.victims.query import reconstruction_error
from support import composed
from tables import answers, made_evidence

BACKBONE = ("backbone=timm", "backbone.name=test_resnet", "backbone.weights=random")
WITH_ONE = ("embedding", "mid_frequency", "condition_gap", "fluctuation")
WITH_TWO = ("mean_error", "min_error", "quantile_error", "rediffuse", "spread")
NEW = [one for name in (*WITH_TWO, *WITH_ONE) for one in (name, f"{name}_corrected")]
BY_ALPHA = ("mean_error", "min_error", "quantile_error", "mid_frequency")
ALPHA = 0.5


@cache
def components() -> dict[str, Component]:
    """The attacks of the choice ``answers_only``."""
    return build.attacks(composed("attack=answers_only", f"attack.alpha={ALPHA}", *BACKBONE))


@cache
def attack(name: str) -> Attack:
    return components()[name].build()  # type: ignore[no-any-return]


def drawn(
    seed: int,
    n: int,
    n_aux: int,
    k: int,
    size: tuple[int, int] = (24, 24),
    memory: float = 0.0,
) -> tuple[Evidence, list[str]]:
    """Smooth targets, and answers whose mean and noise are the worse, the harder an image is.

    Every other image is a member, whose answers are better and more alike by the share ``memory``;
    those to altered queries are not.
    """
    rng = np.random.default_rng(seed)
    everyone = [f"c{i}" for i in range(n)] + [f"z{i}" for i in range(n_aux)]
    total = n + n_aux

    def smooth(*shape: int) -> NDArray[np.float64]:
        noise = gaussian_filter(
            rng.normal(size=(*shape, 3, *size)), (0,) * (len(shape) + 1) + (2, 2)
        )
        unit: NDArray[np.float64] = noise / noise.std()
        return unit

    hard = rng.uniform(0.02, 0.12, total)
    known = np.where((np.arange(total) % 2 == 0) & (np.arange(total) < n), 1 - memory, 1.0)
    target = np.clip(0.5 + 0.12 * smooth(total), 0, 1).astype(np.float32)
    scale = (hard * known)[:, None, None, None]
    bias = scale * smooth(total)
    noise = scale * (smooth(k, total) + rng.normal(size=(k, total, 3, *size))) / np.sqrt(2)
    given = np.clip(target + bias + noise, 0, 1).astype(np.float32)
    tables = [answers(everyone, reconstruction_error(one, target), one) for one in given]
    names = (*CROPS, DEGRADED)
    worse = np.concatenate([hard * rng.uniform(1.0, 1.6, total) for _ in names])
    altered = Reconstructions(
        model=np.array(["victim"] * len(worse)),
        id=np.array(everyone * len(names)),
        transform=np.repeat(names, total),
        repeat=np.zeros(len(worse), dtype=np.int64),
        error=worse,
        images=np.empty((len(worse), 3, 0, 0), dtype=np.float32),
    )
    row_of = {image: row for row, image in enumerate(everyone)}

    def pairs(asked: Sequence[str]) -> Iterable[PairBatch]:
        for start in range(0, len(asked), 50):
            ids = tuple(asked[start : start + 50])
            y = torch.from_numpy(target[[row_of[i] for i in ids]])
            yield PairBatch(ids, y, y)

    guessed = hard * rng.uniform(0.7, 1.3, total)
    evidence = made_evidence(everyone[:n], everyone[n:], tables[0], difficulty=guessed, pairs=pairs)
    return replace(evidence, repeats=tuple(tables[1:]), altered=altered), everyone


def pictures(evidence: Evidence, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Targets (N, C, H, W) and answers (K, N, C, H, W)."""
    y = np.concatenate([batch.y.numpy() for batch in evidence.pairs(ids)])
    return y, evidence.drawn(ids)


def plain_errors(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    y, given = pictures(evidence, ids)
    return np.abs(given.astype(np.float64) - y).mean((2, 3, 4))


def mean_error(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    return -plain_errors(evidence, ids).mean(0)


def min_error(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    return -plain_errors(evidence, ids).min(0)


def quantile_error(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    return -np.quantile(plain_errors(evidence, ids), 0.25, axis=0, method="linear")


def rediffuse(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    y, given = pictures(evidence, ids)
    found = []
    for target, mean in zip(y, given.mean(0, dtype=np.float64), strict=True):
        _, maps = structural_similarity(
            target.astype(np.float64),
            mean,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
            full=True,
        )
        found.append(maps[:, 5:-5, 5:-5].mean())
    return np.array(found)


def spread(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    _, given = pictures(evidence, ids)
    k, squares = len(given), (given - given.mean(0, dtype=np.float64)) ** 2
    return -np.sqrt(squares.sum(0) / (k - 1)).mean((1, 2, 3))


def embedding(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    y, given = pictures(evidence, ids)
    backbone = Backbone("test_resnet", "random", seed=0)
    with torch.inference_mode():
        target = pool(backbone, torch.from_numpy(y))
        features = [pool(backbone, torch.from_numpy(one)) for one in given]
    cosines = [[1 - cosine(*two) for two in zip(one, target, strict=True)] for one in features]
    return np.mean(cosines, axis=0)


def mid_frequency(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    y, given = pictures(evidence, ids)
    height, width = y.shape[-2:]
    mask = np.zeros((height, width), dtype=bool)
    for u in range(height):
        for v in range(width):
            cycles = min(u, height - u) / height, min(v, width - v) / width
            mask[u, v] = 0.1 <= np.sqrt(cycles[0] ** 2 + cycles[1] ** 2) / 0.5 <= 0.5
    errors = np.zeros(len(ids))
    for answer in given:
        for i, difference in enumerate(answer.astype(np.float64) - y):
            for channel in difference:
                band = np.fft.ifft2(np.fft.fft2(channel) * mask)
                errors[i] += np.abs(band).mean() / (len(given) * len(difference))
    return -errors


def of_altered(evidence: Evidence, ids: Sequence[str], name: str) -> np.ndarray:
    assert evidence.altered is not None
    table = evidence.altered
    rows = {
        i: r for r, (i, t) in enumerate(zip(table.id, table.transform, strict=True)) if t == name
    }
    return table.error[[rows[i] for i in ids]]


def condition_gap(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    return of_altered(evidence, ids, "degraded") - plain_errors(evidence, ids).mean(0)


def fluctuation(evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    plain = plain_errors(evidence, ids).mean(0)
    crops = [of_altered(evidence, ids, f"crop-{n}") for n in range(4)]
    return np.mean([(crop - plain) / plain for crop in crops], axis=0)


FORMULAS: dict[str, Callable[[Evidence, Sequence[str]], np.ndarray]] = {
    f.__name__: f
    for f in (mean_error, min_error, quantile_error, rediffuse, spread, embedding, mid_frequency,
              condition_gap, fluctuation)
}  # fmt: skip

TOLERANCE = {
    "rediffuse": 1e-5,  # variances as differences of float32 sums; 3e-6 measured
    "spread": 1e-12,
    "mid_frequency": 1e-12,
    "embedding": 1e-9,  # features of float32, whose sums may depend on the batch
    "fluctuation": 1e-8,
}
"""How far scores may be off. An error is that of whole levels, where a pixel is within float32
rounding of one: 1e-10 of it, as here pixels are of any value."""


def assert_found(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    tolerance = TOLERANCE.get(name.removesuffix("_corrected"), 1e-10)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def expected(name: str, evidence: Evidence, ids: Sequence[str]) -> np.ndarray:
    """What an attack is to find, in float64."""
    plain = name.removesuffix("_corrected")
    formula = FORMULAS[plain]
    if name == plain:
        return formula(evidence, ids)
    if plain in BY_ALPHA:
        return formula(evidence, ids) + ALPHA * evidence.difficulty.column(ids)
    auxiliaries = evidence.known.ids(Role.AUXILIARY)
    x, y = evidence.difficulty.column(auxiliaries), formula(evidence, auxiliaries)
    found = []
    for i, score in zip(ids, formula(evidence, ids), strict=True):
        others = np.array([z != i for z in auxiliaries])  # all of them, for a candidate
        line = linregress(x[others], y[others])
        guess = line.intercept + line.slope * evidence.difficulty.column([i])[0]
        found.append(score - guess)
    return np.array(found)


@pytest.mark.parametrize("name", NEW)
def test_each_attack_is_its_formula(name: str) -> None:
    evidence, everyone = drawn(1, 4, 9, k=3, size=(24, 28))
    ids = everyone[::-1]
    table = attack(name)(evidence, ids, "victim")
    assert [*table.id] == ids
    assert_found(name, table.score, expected(name, evidence, ids))
    assert np.unique(table.score).size == len(ids)


@pytest.mark.parametrize("name", [n for n in NEW if n.removesuffix("_corrected") in WITH_ONE])
def test_one_answer_is_enough_for_some(name: str) -> None:
    evidence, everyone = drawn(2, 4, 9, k=1)
    table = attack(name)(evidence, everyone, "victim")
    assert_found(name, table.score, expected(name, evidence, everyone))


def test_a_perfect_answer_has_a_finite_fluctuation() -> None:
    evidence, everyone = drawn(3, 4, 9, k=1)
    first = evidence.reconstructions
    perfect = replace(evidence, reconstructions=replace(first, error=np.zeros(len(everyone))))
    found = attack("fluctuation")(perfect, everyone, "victim").score
    crops = np.mean([of_altered(evidence, everyone, crop) for crop in CROPS], axis=0)
    np.testing.assert_allclose(found, crops * 255 * 3 * 24 * 24, rtol=1e-12)


def test_equal_difficulties_correct_for_the_mean_alone() -> None:
    known = np.full(9, 0.1), np.arange(9.0)
    found = residuals(known, (np.array([0.1, 0.7]), np.array([1.0, 5.0])))
    np.testing.assert_allclose(found, [-3, 1], atol=1e-12)
    evidence, everyone = drawn(3, 4, 9, k=2)
    same = replace(evidence.difficulty, score=np.full_like(evidence.difficulty.score, 0.1))
    flat = replace(evidence, difficulty=same)
    found = attack("spread_corrected")(flat, everyone, "victim").score
    score = spread(evidence, everyone)
    others = [score[4:][np.arange(9) != i].mean() for i in range(9)]  # of each auxiliary
    np.testing.assert_allclose(found, score - [*[score[4:].mean()] * 4, *others], atol=1e-12)


@pytest.mark.parametrize(
    "name", ["rediffuse", "spread", "embedding", "condition_gap", "fluctuation"]
)
def test_a_correction_takes_auxiliaries(name: str) -> None:
    evidence, everyone = drawn(4, 4, 7, k=2)
    message = f"attack {name} with corrected=true: takes 8 auxiliaries.*7; raise data.n_auxiliary"
    with pytest.raises(UserError, match=message):
        attack(f"{name}_corrected")(evidence, everyone, "victim")
    with pytest.raises(UserError, match=message):
        run_stages(composed(f"attack.names=[{name}_corrected]", "query.mode=train",
                            "query.repeats=2", "data.n_auxiliary=7"))  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("attack=answers_only", "data.n_auxiliary=8"),
         "mean_error: takes 2 answers to each image, and there are 1; set query.repeats=4, for a "
         "victim that answers at random"),
        (("attack.names=[mid_frequency]", "attack.available.mid_frequency.low=0.6"),
         r"mid_frequency.low=0.6: must be at most attack.available.mid_frequency.high=0.5"),
        (("attack.names=[mid_frequency]", "attack.available.mid_frequency.low=0.32",
          "attack.available.mid_frequency.high=0.33", "data.image_size=16"),
         r"mid_frequency: an image of 16 pixels has no frequency between low=0.32 and high=0.33"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_at_once(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_stages(composed(*overrides))


@pytest.fixture(scope="module")
def null() -> tuple[Evidence, list[str]]:
    return drawn(0, 120, 30, k=2)


@pytest.mark.parametrize("name", [*NEW, "reconstruction", "membership"])
def test_nothing_is_found_where_labels_are_drawn_anew(
    name: str, null: tuple[Evidence, list[str]]
) -> None:
    """200 draws of who is a member: at most 5 % reject AUC 0.5, up to chance at the level 1 %."""
    evidence, everyone = null
    score = run_attack(name, attack(name), evidence, everyone).column(everyone[:120])
    rng, member = np.random.default_rng(0), np.arange(120) < 60
    draws = [rng.permutation(member) for _ in range(200)]
    rejected = sum(permutation_p_value(score, truth, rng) < 0.05 for truth in draws)
    assert binomtest(rejected, 200, 0.05, alternative="greater").pvalue > 0.01, rejected


@pytest.fixture(scope="module")
def planted() -> tuple[Evidence, list[str]]:
    return drawn(5, 60, 20, k=2, memory=0.5)


@pytest.mark.parametrize("name", NEW)
def test_better_answers_are_a_members(name: str, planted: tuple[Evidence, list[str]]) -> None:
    evidence, everyone = planted
    score = attack(name)(evidence, everyone[:60], "victim").score
    found = auc(score, np.arange(60) % 2 == 0)
    assert found > 0.6


def asking(tmp_path: Path, name: str, repeats: int) -> RunStages:
    return run_stages(composed(
        f"attack.names=[{name}]", f"query.repeats={repeats}", *BACKBONE, "difficulty=none",
        "victim=custom", "victim._target_=counting.CountingSampler", "data.protocol=official",
        "data.image_size=16", "data.n_members=4", "data.n_nonmembers=3", "data.n_auxiliary=8",
        "data.sources.procedural.n_train=4", "data.sources.procedural.n_test=11",
        "evaluation.permutations=20", "trainer=cpu", f"paths.store={tmp_path}",
    ))  # fmt: skip


FURTHER_QUERIES = [
    *((name, 3, 3) for name in (*WITH_TWO[1:], "embedding", "mid_frequency", "spread_corrected")),
    *(("condition_gap_corrected", 3, 4), ("fluctuation", 3, 7), ("fluctuation_corrected", 1, 5)),
    *((name, 1, 1) for name in ("reconstruction", "membership", "mid_frequency")),
    ("condition_gap", 1, 2),
]


@pytest.mark.parametrize(
    ("name", "repeats", "queries"),
    [
        *(
            ("mean_error", 3, 3),
            ("condition_gap", 3, 4),
            ("embedding", 1, 1),
            ("fluctuation", 1, 5),
        ),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in FURTHER_QUERIES),
    ],
)
def test_queries_are_those_that_the_victim_counts(
    tmp_path: Path, name: str, repeats: int, queries: int
) -> None:
    run = asking(tmp_path, name, repeats)
    assert isinstance(run.verdict, VerdictStage)
    CountingSampler.asked = 0
    with Store(tmp_path) as store:
        run.verdict.scores.tables(run.attack.evidence(store), store)
    assert CountingSampler.asked == queries * len(run.images.scored)
    assert run.verdict.knowledge[name].queries == queries


def test_a_verdict_counts_queries_likewise(tmp_path: Path) -> None:
    run = asking(tmp_path, "fluctuation,spread_corrected,reconstruction", 3)
    CountingSampler.asked = 0
    with Store(tmp_path) as store:
        (result,) = (store.result(goal) for goal in run.goals(None))
    assert isinstance(result, AuditResult)
    assert CountingSampler.asked == 7 * len(run.images.scored)
    assert [found.queries for found in result.knowledge.values()] == [7, 3, 1]
    assert [found.images for found in result.knowledge.values()] == [0, 8, 0]


def test_choices_hold_what_they_say() -> None:
    config = composed("attack=all")
    available = config.attack.available
    needs = {
        name: needs_of(component.kind, component.arguments)
        for name, component in build.attacks(
            composed(f"attack.names=[{','.join(available)}]")
        ).items()
    }
    of_any = {n for n in available if needs[n].answers < 2 and not needs[n].denoiser}
    assert {*config.attack.names} == of_any
    of_diffusion = [*composed("attack=answers_only").attack.names]
    of_diffusion += [name for name in available if needs[name].denoiser]
    assert composed("attack=diffusion").attack.names == of_diffusion
    assert composed("attack=answers_only").attack.names == ["reconstruction", "membership", *NEW]
    assert set(NEW) <= {*available}
    corrected = {name for name in NEW if needs[name].difficulty}
    assert corrected == {name for name in NEW if name.endswith("_corrected")}
    fitted = {name for name in NEW if needs[name].auxiliaries}
    assert fitted == {n for n in corrected if n.removesuffix("_corrected") not in BY_ALPHA}
