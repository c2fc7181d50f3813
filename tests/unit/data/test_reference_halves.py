"""What reference victims are trained on, and with which settings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mia_lab.config import build
from mia_lab.stages.references import References
from mia_lab.types import Role, Split, reference
from support import composed


@pytest.fixture
def references() -> References:
    config = composed("+experiment=facades_pix2pix", "reference.count=4", "seed=3")
    scored = [f"train/{i:06d}" for i in range(12)]
    groups = {image: f"g{i // 2}" for i, image in enumerate(scored)}
    return References(config, build.source(config.data), None, scored, scored[2:], groups)


def test_a_victim_is_given_no_settings_that_it_does_not_have(references: References) -> None:
    mine = {"_target_": "my.Victim", "epochs": 3, "seed": 0}
    first, second = (references.settings(mine, number) for number in range(2))
    assert first.keys() == mine.keys()
    assert first["seed"] != second["seed"]
    ours = references.settings({**mine, "in_channels": None, "keep_epochs": [1], "epoch": 1}, 0)
    assert (ours["in_channels"], ours["keep_epochs"], ours["epoch"]) == (3, [], None)


def test_groups_are_in_or_out_as_wholes(references: References) -> None:
    assert references.pool == tuple(f"train/{i:06d}" for i in range(2, 12))
    for half in references.members:
        assert {int(i[-6:]) // 2 for i in half}.isdisjoint(
            int(i[-6:]) // 2 for i in references.pool if i not in half
        )
    ids = np.array([*references.pool, "train/000000"])
    empty = np.array([""] * len(ids))
    split = references.split(SimpleNamespace(id=ids, group=empty, content=empty))
    assert isinstance(split, Split)
    for number, half in enumerate(references.members):
        assert split.ids(Role.MEMBER, model=reference(number)) == half
        assert set(split.candidates(reference(number))) == set(references.pool)
