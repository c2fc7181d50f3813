"""Scores joined from those of parts equal those of all images at once, bit for bit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mia_lab.data.dataset import PairDataset
from mia_lab.data.picture import Picture
from mia_lab.data.source import Pair
from mia_lab.errors import UserError
from mia_lab.stages.difficulty import DifficultyStage
from mia_lab.stages.graph import difficulty_stages, run_stages
from mia_lab.store import Store
from mia_lab.tasks import estimate
from support import composed

SMALL = ("trainer=cpu", "difficulty.grid_size=16", "difficulty.batch_size=3", "data.image_size=32")

COUNTS = ("data.n_members=6", "data.n_nonmembers=5", "data.n_auxiliary=4")


class Noise:
    """Pairs of a few colours each."""

    def load(self, image_id: str) -> Pair:
        rng = np.random.default_rng(len(image_id))
        x, y = (
            Picture.of(Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((32, 32)))
            for _ in range(2)
        )
        return Pair(x, y)

    def ids(self, subset: str) -> tuple[str, ...]:
        raise NotImplementedError

    def fingerprint(self, ids: tuple[str, ...]) -> str:
        return " ".join(ids)


def images(n: int) -> PairDataset:
    """Pairs whose ids are of different lengths."""
    return PairDataset(Noise(), ["i" * (number + 1) for number in range(n)], 32, cache_bytes=0)


def stages(pairs: PairDataset, *overrides: str) -> tuple[DifficultyStage, ...]:
    return difficulty_stages(composed("task=difficulty", *overrides), pairs)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Pictures with their difficulty, for the choice supervised."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "difficulty"])
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", number])
    return folder


@pytest.mark.parametrize(
    ("n", "overrides"),
    [
        (14, (*SMALL,)),
        (14, (*SMALL, "difficulty.keep_gb=0", "difficulty.repeats=2")),
        (
            8,
            (
                *(
                    *SMALL,
                    "difficulty.protocol=kfold",
                    "difficulty.maps=true",
                    "difficulty.folds=2",
                ),
                *("difficulty.grid.ridge=[0]", "difficulty.grid.features_from=[target]"),
            ),
        ),
        (97, ("difficulty=image_statistics", "data.image_size=32")),
        pytest.param(
            65,
            ("difficulty=supervised", "difficulty.folder=LABELS", "data.image_size=32"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["features", "streamed", "grid and maps", "statistics", "supervised"],
)
def test_parts_join_to_what_is_computed_at_once(
    n: int, overrides: tuple[str, ...], labels: Path, tmp_path: Path
) -> None:
    pairs = images(n)
    overrides = tuple(override.replace("LABELS", str(labels)) for override in overrides)
    whole = stages(pairs, *overrides)
    joined = stages(pairs, *overrides, "difficulty.shard=all/3")
    assert [stage.key for stage in joined] == [stage.key for stage in whole]
    with Store(tmp_path / "whole") as at_once, Store(tmp_path / "parts") as store:
        second = stages(pairs, *overrides, "difficulty.shard=2/3")
        for stage in second:
            assert 0 < len(store.result(stage).id) < n
        missing = [stage.path for stage in store.missing(*joined)]
        assert not {stage.path for stage in second} & {*missing}
        assert {stage.path for stage in joined} <= {*missing}
        for one, several in zip(whole, joined, strict=True):
            assert content(store.folder(several)) == content(at_once.folder(one)) != {}
        assert store.missing(*whole) == store.missing(*joined) == ()


def test_parts_share_the_room_for_features(tmp_path: Path) -> None:
    """If the features of all images are too many, those of parts are not kept either."""
    pairs = images(9)
    (stage,) = stages(pairs, *SMALL)
    size: Any = stage.undivided
    for share, kept in ((1.01, 1), (0.99, 0)):
        room = f"difficulty.keep_gb={share * size.features.size / 1e9}"
        with Store(tmp_path / str(share)) as store:
            for one in stages(pairs, *SMALL, room, "difficulty.shard=1/3"):
                store.result(one)
            assert len([*store.root.glob("features/*")]) == kept


def test_an_audit_is_the_same_however_its_scores_were_computed() -> None:
    audit = (*SMALL, *COUNTS)
    whole, joined = (
        run_stages(composed(*audit, *shard)) for shard in ((), ("difficulty.shard=all/3",))
    )
    assert joined.verdict is not None
    assert whole.verdict is not None
    assert joined.verdict.key == whole.verdict.key
    parts = joined.attack.difficulty[0].upstream["parts"]
    assert isinstance(parts, tuple)
    assert len(parts) == 3
    with pytest.raises(UserError, match="there are 15 images, 5 batches of 3; use 5 parts at most"):
        run_stages(composed(*audit, "difficulty.shard=all/6"))


def test_costs_are_measured_on_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of all images; two are no five parts."""
    config = composed(*SMALL, *COUNTS, "difficulty.shard=all/5")
    found = run_stages(config)
    stage: Any = found.attack.difficulty[0].undivided
    monkeypatch.setattr(estimate, "_slope", lambda some: (len(some(2).features.images), 0))
    cost = estimate._difficulty(config, found, stage)
    assert cost.seconds == 2 * 15
    assert cost.stored == int(stage.features.size)
