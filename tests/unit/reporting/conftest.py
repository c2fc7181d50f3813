from __future__ import annotations

import numpy as np
import pytest

from mia_lab.evaluation import compare_attacks, difficulty_alone, evaluate
from mia_lab.types import AuditResult, Gallery, ScoreTable, Split


def make_result(n: int = 40, ids: tuple[str, ...] | None = None, size: int = 16) -> AuditResult:
    """An audit of n members and n non-members whose error grows with their difficulty."""
    rng = np.random.default_rng(0)
    names = np.array(ids or [f"facade-{i:04d}" for i in range(2 * n)])
    is_member = np.arange(len(names)) % 2 == 0
    difficulty = rng.uniform(0.04, 0.16, len(names))
    noise = rng.normal(0, 0.008, len(names))
    error = 0.04 + 0.5 * difficulty + np.where(is_member, 0, 0.015) + noise
    membership = error - 0.5 * difficulty
    tables = tuple(
        ScoreTable(attack, "victim", names, -values)
        for attack, values in {"reconstruction": error, "membership": membership}.items()
    )
    y = rng.uniform(size=(4, 3, 4, 4)).repeat(size // 4, axis=2).repeat(size // 4, axis=3)
    answer = np.clip(y + rng.normal(0, 0.08, y.shape), 0, 1)
    return AuditResult(
        name="facades_pix2pix",
        split=Split(
            id=names,
            role=np.where(is_member, "member", "nonmember"),
            group=np.full(len(names), ""),
            model=np.full(len(names), "victim"),
            content=np.full(len(names), "0" * 64),
        ),
        scores=tables,
        difficulty=difficulty,
        alpha=0.5,
        evaluations=tuple(evaluate(t.attack, t.score, is_member) for t in tables),
        comparisons=(compare_attacks(tables[1], tables[0], is_member),),
        blind=(difficulty_alone(difficulty, is_member),),
        near_duplicates=((str(names[0]), str(names[1]), 3),),
        gallery=Gallery(
            ids=tuple(str(i) for i in names[:4]),
            captions=("member, error 0.081", "non-member, error 0.102") * 2,
            x=(1 - y).astype(np.float32),
            y=y.astype(np.float32),
            reconstruction=answer.astype(np.float32),
        ),
        timing_s={"victim": 61.25, "attacks": 0.5},
        record={"mia_lab": "0.1.0", "seed": "0"},
    )


@pytest.fixture
def result() -> AuditResult:
    return make_result()
