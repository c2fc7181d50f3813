"""Names that tell runs apart by what was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mia_lab.config import load
from mia_lab.reporting.labels import COMMON, run_labels
from support import composed


def plain(*overrides: str) -> dict[str, Any]:
    config: dict[str, Any] = load.plain(composed("+experiment=facades_pix2pix", *overrides))
    return config


def labels(*runs: str) -> tuple[list[str], str]:
    """Labels of runs given as their overrides, divided by spaces."""
    folders = [Path("runs") / chr(ord("A") + i) for i in range(len(runs))]
    return run_labels([plain(*run.split()) for run in runs], folders)


def test_a_label_says_what_differs_and_not_what_follows() -> None:
    assert labels("", "seed=1") == (["seed=0", "seed=1"], "")
    two = labels("attack.alpha=0.5", "attack.alpha=1 difficulty.layers=[2]")[0]
    assert two[1] == "difficulty.layers=[2] attack.alpha=1"
    # Everything that comes with a choice is said by its name.
    assert labels("", "scale=paper backbone=efficientnet_lite0 data.source=procedural")[0] == [
        "scale=demo",
        "scale=paper",
    ]
    assert labels("", "victim=pix2pixhd")[0] == ["victim=pix2pix", "victim=pix2pixhd"]


def test_what_does_not_matter_is_left_out() -> None:
    other = "paths.outputs=x name=y tracking=wandb tracking.mode=disabled trainer.workers=1"
    other += " query.batch_size=3 report.images=false evaluation.permutations=20"
    assert labels("", f"{other} seed=2")[0] == ["seed=0", "seed=2"]
    assert labels("", "paths.outputs=x") == (["A", "B"], "")


def test_any_key_tells_runs_apart_that_are_alike_otherwise() -> None:
    assert labels("", "query.batch_size=3")[0] == ["query.batch_size=16", "query.batch_size=3"]
    assert labels("seed=1", "seed=1 report.images=false", "seed=2 name=x", "seed=2 name=y")[0] == [
        "seed=1 report.images=true",
        "seed=1 report.images=false",
        "seed=2 name=x",
        "seed=2 name=y",
    ]


def test_keys_that_some_runs_lack_tell_the_others_apart() -> None:
    http = "victim=http victim.url=http://host:1/translate data.protocol=official"
    names, common = labels(http, f"{http} victim.encoding=npy", "data.protocol=official")
    assert names == [
        "victim.encoding=png",
        "victim.encoding=npy",
        "victim=pix2pix",
    ]
    assert common == "victim=http"
    # Of one component, a key that only one run has.
    own = "victim=custom victim._target_=mia_lab.victims.http.Http"
    assert labels(
        f"{own} +victim.url=http://a:1", f"{own} +victim.url=http://a:1 +victim.retries=1"
    )[0] == [COMMON, "victim.retries=1"]


def test_what_most_runs_share_goes_without_saying() -> None:
    names, common = labels(
        "", "attack.alpha=0.5", "difficulty.layers=[2]", "seed=1 victim.epochs=1"
    )
    assert names == [COMMON, "attack.alpha=0.5", "difficulty.layers=[2]", "seed=1 victim.epochs=1"]
    assert common == "seed=0 victim.epochs=8 difficulty.layers=[1,2,3,4] attack.alpha=1"


def test_no_two_labels_are_alike() -> None:
    assert labels("seed=1", "seed=2", "seed=2")[0] == ["seed=1", f"{COMMON} (B)", f"{COMMON} (C)"]
    folders = [Path("one/0"), Path("two/0"), Path("two/1")]
    assert run_labels([None, None, None], folders)[0] == ["one/0", "two/0", "two/1"]
    assert run_labels([plain("seed=1"), plain("seed=2"), None], folders)[0] == [
        "seed=1",
        "seed=2",
        "two/1",
    ]


def test_labels_stay_short() -> None:
    many = "seed=1 victim.epochs=1 attack.alpha=0.5 difficulty.ridge=2 difficulty.repeats=2"
    (first, second), _ = labels("", f"{many} data.n_members=3")
    assert second == "seed=1 data.n_members=3 victim.epochs=1 difficulty.ridge=2 +2 more"
    assert first.startswith("seed=0 ")
    (_, long), _ = labels("", f"data.root=/{'x' * 80}/pairs")
    assert long.endswith("/pairs")
    assert len(long) < 60
