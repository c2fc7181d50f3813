"""The images of a run: roles, and identical pairs in several of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mia_lab.config import build
from mia_lab.config.checks import check
from mia_lab.errors import UserError
from mia_lab.stages.graph import run_stages
from mia_lab.stages.images import RunImages, run_images
from mia_lab.stages.victim import TrainedVictim
from mia_lab.store import Store
from mia_lab.types import Role
from support import composed


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Pairs 0 to 3 are one blank tile, stored in several ways; pairs 4 and 5 are equal as well."""
    noise = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    twin = noise.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    for i in range(12):
        pixels = noise.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        pixels = np.zeros_like(pixels) if i < 4 else twin if i < 6 else pixels
        picture, ending = Image.fromarray(pixels), ("png", "bmp")[i % 2]
        picture.save(tmp_path / f"train/{i:02d}.{ending}")
    return tmp_path


def settings(root: Path, *more: str) -> list[str]:
    return [*("data=custom", f"data.root={root}", "trainer.accelerator=cpu"), *more]


def manifest(root: Path, twins: str = "member") -> list[str]:
    """Every other pair is a member, except that both twins have one role."""
    roles = {f"{i:02d}": "member" if i % 2 else "nonmember" for i in range(12)}
    roles |= {"04": twins, "05": twins}
    lines = [f"train/{name},{role}" for name, role in roles.items()]
    (root / "roles.csv").write_text("\n".join(["id,role", *lines]))
    given = ["data.protocol=manifest", f"data.manifest={root}/roles.csv", "data.n_auxiliary=null"]
    return settings(root, *given)


def images(*overrides: str) -> RunImages:
    config = composed(*overrides)
    check(config)
    return run_stages(config, resolve=False).images


def test_identical_pairs_with_several_roles_are_dropped(tiles: Path) -> None:
    found = images(*manifest(tiles), "data.duplicates=drop")
    assert found.dropped == ("train/00", "train/01", "train/02", "train/03")
    assert {"train/04", "train/05"} <= set(found.members)  # of one role
    assert sorted(found.dataset.ids) == [f"train/{i:02d}" for i in range(4, 12)]
    for path in (tiles / "train").iterdir():
        Image.new("RGB", (64, 32)).save(path)
    with pytest.raises(UserError, match=r"data\.duplicates=drop: leaves out 12 images, .* member"):
        images(*manifest(tiles), "data.duplicates=drop")


def test_a_victim_is_not_trained_on_dropped_pairs(tiles: Path) -> None:
    victims = {}
    for duplicates in ("error", "drop", "keep"):
        config = composed(*settings(tiles, f"data.duplicates={duplicates}"))
        victims[duplicates] = run_stages(config, resolve=False).victim
    dropped, kept = victims["drop"], victims["keep"]
    assert isinstance(dropped, TrainedVictim)
    assert isinstance(kept, TrainedVictim)
    blank = {f"train/{i:02d}" for i in range(4)}
    assert not blank & set(dropped.training_set.ids)
    assert blank & set(kept.training_set.ids)
    assert dropped.key != kept.key == victims["error"].key


def test_dropping_comes_after_the_draw(tiles: Path) -> None:
    drawn = images(*settings(tiles, "data.duplicates=keep"))
    left = images(*settings(tiles, "data.duplicates=drop"))
    assert left.dropped
    assert left.rows == {i: row for i, row in drawn.rows.items() if i not in left.dropped}


def test_kept_pairs_are_refused_by_another_run(tiles: Path, tmp_path: Path) -> None:
    """Though the store has a split of the same rows."""
    given = manifest(tiles)
    with Store(tmp_path / "store") as store:
        stages = run_stages(composed(*given, "data.duplicates=keep"), resolve=False)
        kept = store.result(stages.split).split
        assert len(kept.ids(Role.MEMBER, Role.NONMEMBER)) == 12
        with pytest.raises(UserError, match=r"\(2 sets|are the same pair; .*data\.duplicates=drop"):
            store.result(run_stages(composed(*given), resolve=False).split)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.n_members=3"], r"data\.n_members=3: data\.manifest says which images"),
        (["data.n_nonmembers=3"], r"data\.n_nonmembers=3: data\.manifest says"),
        (["data.n_auxiliary=0"], r"data\.n_auxiliary=0: data\.manifest says"),
        (["data.ignore_label=9"], r"data\.ignore_label=9: .* set data\.layout=image_label"),
    ],
)
def test_settings_that_a_manifest_overrules(tiles: Path, more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        images(*manifest(tiles), *more)


def test_counts_of_a_scale_are_for_what_is_drawn() -> None:
    assert composed("data=maps", "scale=demo").data.n_members == 100
    given = composed("data=maps", "scale=demo", "data.protocol=manifest").data
    assert (given.n_members, given.n_nonmembers, given.n_auxiliary) == (None, None, None)


def test_groups_come_from_one_place(tiles: Path) -> None:
    given = manifest(tiles)
    path = tiles / "roles.csv"
    path.write_text(path.read_text().replace("\n", ",a\n").replace("role,a", "role,group"))
    with pytest.raises(UserError, match=r"data\.group_by=\S+: data\.manifest=\S+ gives groups"):
        images(*given, r"data.group_by='\d+'")


def test_coins_and_dropped_pairs_exclude_each_other(tiles: Path) -> None:
    coins = settings(tiles, "data.assignment=bernoulli", "data.duplicates=drop")
    with pytest.raises(UserError, match=r"data\.duplicates=drop: would leave out images by how"):
        images(*coins)


@pytest.mark.parametrize("more", [(), ("data.duplicates=drop",)], ids=["all", "drop"])
def test_the_order_of_rows_does_not_matter(tiles: Path, more: tuple[str, ...]) -> None:
    """Neither do sets of texts, whose order changes from process to process."""
    rows = [f"train/{i:02d},,mine" for i in range(6)] + [
        f"train/{i:02d},auxiliary," for i in range(6, 12)
    ]
    orders = []
    for lines in (rows, rows[::-1]):
        (tiles / "roles.csv").write_text("\n".join(["id,role,collection", *lines]))
        config = composed(
            *settings(tiles, "task=dataset_inference", "data.protocol=manifest", *more),
            f"data.manifest={tiles}/roles.csv",
            "data.n_auxiliary=null",
        )
        found = run_images(config, build.source(config.data))
        orders.append((list(found.collections), found.auxiliaries, found.candidates))
        assert list(found.collections) == sorted(found.collections)
    assert orders[0] == orders[1]


def test_files_that_a_manifest_lists_need_no_root(tmp_path: Path) -> None:
    lines = ["input,target,role"]
    for i in range(4):
        for side in "xy":
            Image.new("RGB", (32, 32), (i, 50, 0)).save(tmp_path / f"{side}{i}.png")
        lines.append(f"x{i}.png,y{i}.png,{'non' * (i % 2)}member")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    given = ["data=custom", "data.protocol=manifest", f"data.manifest={tmp_path}/pairs.csv"]
    found = images(*given)
    assert found.members == ("x0", "x2")
    assert found.listed["x0"] == (tmp_path / "x0.png", tmp_path / "y0.png")
    with pytest.raises(UserError, match=r"data\.source=procedural: .* lists files"):
        images("data.source=procedural", *given[1:], "data.style=maps")


def test_named_folders_need_no_layout(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            Image.new("RGB", (32, 32), (i, 50, 0)).save(tmp_path / folder / f"{folder}_{i}.png")
    given = [f"data.input_dir={tmp_path}/in", f"data.target_dir={tmp_path}/out"]
    config = composed("data=custom", *given)
    check(config)
    source = run_stages(config, resolve=False).images.dataset.source
    assert source.matched_by == f"in_NAME in {tmp_path}/in, out_NAME in {tmp_path}/out"  # type: ignore[attr-defined]
    assert run_images(config, source).dataset.ids == ("0", "1", "2", "3")
    with pytest.raises(
        UserError, match=r"data\.input_dir=\S+: is read with data\.source=folder alone"
    ):
        images("data=maps", *given)


@pytest.mark.parametrize(
    ("guesses", "words"),
    [
        ("16", "evaluation.guesses=16: there are 15 candidates; ask for fewer guesses"),
        ("split", "evaluation.guesses=split: needs at least 16 candidates, and there are 15"),
    ],
)
def test_guesses_fit_the_candidates(guesses: str, words: str) -> None:
    coins = ("data.assignment=bernoulli", "data.n_nonmembers=7", "trainer.accelerator=cpu")
    with pytest.raises(UserError, match=words):
        images(*coins, "data.n_members=8", f"evaluation.guesses={guesses}")
    assert len(images(*coins, "data.n_members=8", "evaluation.guesses=bonferroni").candidates) == 15
    assert len(images(*coins, "data.n_members=9", f"evaluation.guesses={guesses}").candidates) == 16
