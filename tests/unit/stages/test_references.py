"""What reference models are trained on, and with which settings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mia_lab.config.checks import check
from mia_lab.data.dataset import PairDataset
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.splits import halves
from mia_lab.errors import UserError
from mia_lab.stages.graph import run_stages
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


def pairs(root: Path, seed: int, mode: str = "RGB") -> Path:
    """Twelve pairs, side by side; the last channel of RGBA is opaque."""
    noise, shape = np.random.default_rng(seed), (32, 64, len(mode))
    (root / "train").mkdir(parents=True)
    for number in range(12):
        pixels = noise.integers(0, 256, shape, np.uint8)
        pixels[:, :, 3:] = 255
        Image.fromarray(pixels.squeeze()).save(root / f"train/{number:02d}.png")
    return root


def elsewhere(ours: Path, theirs: Path, *more: str) -> str:
    """What is said of reference models that are trained on pairs of another folder."""
    given = ("data=custom", f"data.root={ours}", "scale.image_size=32", "trainer.accelerator=cpu")
    given += ("+data@reference.data=custom", f"reference.data.root={theirs}")
    config = composed(*given, "attack.names=[watson]", "reference.count=2", *more)
    check(config)
    try:
        run_stages(config, resolve=False)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "reading",
    [
        [],
        ["reference.data.alpha=white"],
        ["data.alpha=keep", "reference.data.alpha=keep"],
        ["data.value_range=[0,255]"],
        ["reference.data.direction=BtoA", "reference.data.exif=apply"],
    ],
)
def test_the_same_file_read_otherwise_is_no_other_image(tmp_path: Path, reading: list[str]) -> None:
    ours, theirs = pairs(tmp_path / "ours", 0, "RGBA"), pairs(tmp_path / "theirs", 1, "RGBA")
    assert elsewhere(ours, theirs, *reading) == ""
    for number in range(12):  # under another name
        shutil.copy(ours / f"train/{number:02d}.png", theirs / f"train/{90 + number}.png")
    assert "is among the images that attacks score" in elsewhere(ours, theirs, *reading)


@pytest.mark.parametrize(
    ("mode", "more", "message"),
    [
        (
            "L",
            [],
            r"reference\.data\.input_channels: the inputs have 1 .* victim's .* 3; set",
        ),
        ("L", ["reference.data.input_channels=3"], r"data\.target_channels: .* have 1 .* have 3"),
        ("RGB", ["data.resize=crop"], r"reference\.data\.resize=squash: .* data\.resize=crop; set"),
    ],
)
def test_images_elsewhere_are_like_the_victims(
    tmp_path: Path, mode: str, more: list[str], message: str
) -> None:
    ours, theirs = pairs(tmp_path / "ours", 0), pairs(tmp_path / "theirs", 1, mode)
    assert re.search(message, elsewhere(ours, theirs, *more))
    as_ours = ("input_channels=3", "target_channels=3", "resize=crop")
    alike = [f"reference.data.{setting}" for setting in as_ours]
    assert elsewhere(ours, theirs, *alike, "data.resize=crop") == ""
