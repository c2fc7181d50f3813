"""What reference models are trained on, and with which settings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mia_lab.data.dataset import PairDataset
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.splits import halves
from mia_lab.stages.references import ReferenceTraining, reference_component
from mia_lab.types import Role, Split, reference
from support import composed

POOL = tuple(f"train/{i:06d}" for i in range(2, 12))


@pytest.fixture
def training() -> ReferenceTraining:
    groups = {image: f"g{i // 2}" for i, image in enumerate(POOL, start=2)}
    pool = PairDataset(ProceduralPairs("facades", "BtoA", 0, 12, 0), POOL, 32)
    return ReferenceTraining(pool, halves(POOL, 4, 3, groups), is_elsewhere=False)


def test_each_model_has_a_seed_of_its_own_and_keeps_no_epoch() -> None:
    config = composed("victim.keep_epochs=[1]", "victim.epoch=1", "reference.count=4")
    first, second = (reference_component(config, (3, 3), number).arguments for number in range(2))
    assert first["seed"] != second["seed"]
    assert (first["in_channels"], list(first["keep_epochs"]), first["epoch"]) == (3, [], None)


def test_groups_are_in_or_out_as_wholes(training: ReferenceTraining) -> None:
    for half in training.members:
        assert {int(i[-6:]) // 2 for i in half}.isdisjoint(
            int(i[-6:]) // 2 for i in POOL if i not in half
        )
    ids = np.array([*POOL, "train/000000"])
    empty = np.array([""] * len(ids))
    split = training.split(SimpleNamespace(id=ids, group=empty, content=empty))  # type: ignore[arg-type]
    assert isinstance(split, Split)
    for number, half in enumerate(training.members):
        assert split.ids(Role.MEMBER, model=reference(number)) == half
        assert set(split.candidates(reference(number))) == set(POOL)
