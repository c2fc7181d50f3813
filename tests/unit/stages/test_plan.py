from __future__ import annotations

from pathlib import Path

import pytest

from mia_lab.stages import plan
from mia_lab.stages.plan import Plan, difficulty_identity, remembered
from mia_lab.store import Stage, Store
from support import composed

STAGES = {"difficulty": (Stage("difficulty", 2, {"a": [1, 2.5]}), Stage("difficulty", 2, {"a": 3}))}


def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    victim = Plan({"victim": (Stage("victim", 1, {"b": None}, resumable=True),)}, {"x": "y"})
    whole = victim | Plan(STAGES, {"backbone": "resnet18"})
    whole.save(tmp_path)
    found = Plan.load(tmp_path)
    assert found == whole
    assert found.stage("difficulty").key == STAGES["difficulty"][0].key
    assert found.record == {"x": "y", "backbone": "resnet18"}


def test_plans_are_made_once_for_each_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make() -> Plan:
        made.append(1)
        return Plan(STAGES, {})

    with Store(tmp_path) as store:
        for _ in range(2):
            assert remembered(store, {"seed": 0}, make) == Plan(STAGES, {})
        assert len(made) == 1
        remembered(store, {"seed": 1}, make)
        monkeypatch.setattr(plan, "code_sha256", lambda: "another")
        remembered(store, {"seed": 0}, make)
    assert len(made) == 3


def test_files_of_weights_count_by_content(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    config = composed(f"backbone.weights={weights}")
    found = []
    for content in ("a", "b"):
        weights.write_text(content)
        found.append(difficulty_identity(config))
    assert found[0] != found[1]
    alpha = composed(f"backbone.weights={weights}", "difficulty.grid.alpha=[1]")
    assert difficulty_identity(alpha) == found[1]
    ridge = composed(f"backbone.weights={weights}", "difficulty.ridge=7")
    assert difficulty_identity(ridge) != found[1]
