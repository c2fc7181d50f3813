"""What a W&B run is called by, and what it is found by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from made_stages import MadeStage
from mia_lab.sweeps.point import Point
from mia_lab.tasks import tracked
from support import composed


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arguments of the tracker for a command line."""

    def arguments(*overrides: str, identity: str = "x") -> dict[str, Any]:
        config = composed(*overrides)
        found: dict[str, Any] = tracked.make_tracker(  # type: ignore[assignment]
            config, [MadeStage(identity)], Path("outputs/runs/n/1"), "group"
        )
        return found

    monkeypatch.setattr(tracked, "Tracker", lambda mode, **options: {"mode": mode, **options})
    return arguments


def test_the_id_follows_what_is_asked_for_and_nothing_else(asked: Any) -> None:
    same = [asked(), asked("trainer=cpu", "tracking.project=p", "report.images=false")]
    assert len({found["run_id"] for found in same}) == 1
    # Seeds, settings and until= are inputs of the stages that a run ends in.
    others = [asked(identity="y"), asked("task=score"), asked("fail_if='auc/membership > 1'")]
    ids = {found["run_id"] for found in (*same, *others)}
    assert len(ids) == 4
    assert all(len(found) == 16 for found in ids)


def test_tags_and_groups(asked: Any) -> None:
    found = asked("data=maps", "victim=pix2pixhd", "data.protocol=official")
    assert found["tags"] == ("maps", "pix2pixhd", "official", "demo")
    assert (found["group"], found["job_type"]) == ("group", "audit")
    assert asked("task=difficulty")["tags"] == ("facades", "", "resplit", "demo")
    assert asked("tracking.group=mine")["group"] == "mine"


def test_a_point_is_named_by_what_varies_within_its_sweep(
    asked: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert asked()["name"] == "facades_pix2pix-1"
    monkeypatch.setattr(tracked, "is_sweep_point", lambda: True)
    config = composed()
    assert tracked._display_name(config, tmp_path / "4") == "facades_pix2pix-4"  # no note
    varying = ("difficulty.layers=[1,2]", "difficulty.ridge=10", "attack='default'")
    Point(tmp_path / "4", varying).write()
    name = tracked._display_name(config, tmp_path / "4")
    assert name == "facades_pix2pix layers=1,2 ridge=10 attack=default"
    Point(tmp_path / "5", ("seed=1", "+victim.seed=2", f"data.root={'x' * 200}")).write()
    name = tracked._display_name(config, tmp_path / "5")
    assert name.startswith("facades_pix2pix seed=1 victim.seed=2 root=...xxx")
    assert len(name) < 100


def test_layers_are_one_value_beside_the_configuration(asked: Any) -> None:
    config = asked("difficulty.layers=[1,layer2]")["config"]
    assert config["layers"] == "1,layer2"
    assert config["difficulty"]["layers"] == [1, "layer2"]
    assert config["tracking"]["mode"] == "offline"


def test_dashboards_are_remembered_in_the_store(asked: Any) -> None:
    assert asked("paths.store=here")["dashboards"] == Path("here")
    assert asked("tracking.dashboard=false")["dashboards"] is None
