"""Folder layouts, directions, formats, and every way a folder can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from mia_lab.data import traces
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.source import MissingPart, all_ids
from mia_lab.errors import UserError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def side_by_side(path: Path, size: tuple[int, int] = (64, 32)) -> None:
    """A red left half (A) and a blue right half (B)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, BLUE)
    picture.paste(RED, (0, 0, size[0] // 2, size[1]))
    picture.save(path)


def solid(path: Path, colour: object, mode: str = "RGB", size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]


def colours(pairs: FolderPairs, image_id: str) -> list[tuple[int, ...]]:
    pair = pairs.load(image_id)
    return [tuple(picture.pixels[3, 3].tolist()) for picture in (pair.x, pair.y)]


@pytest.mark.parametrize(("direction", "expected"), [("AtoB", [RED, BLUE]), ("BtoA", [BLUE, RED])])
def test_side_by_side_either_direction(
    tmp_path: Path, direction: str, expected: list[tuple[int, ...]]
) -> None:
    side_by_side(tmp_path / "train" / "1.png")
    pairs = FolderPairs(str(tmp_path), "side_by_side", direction)
    assert pairs.ids("train") == ("train/1",)
    assert colours(pairs, "train/1") == expected
    pair = pairs.load("train/1")
    assert pair.x.pixels.shape == pair.y.pixels.shape == (32, 32, 3)


@pytest.mark.parametrize(("direction", "expected"), [("AtoB", [RED, BLUE]), ("BtoA", [BLUE, RED])])
def test_two_folders_either_direction_and_mixed_formats(
    tmp_path: Path, direction: str, expected: list[tuple[int, ...]]
) -> None:
    solid(tmp_path / "trainA" / "city" / "1.png", RED)
    solid(tmp_path / "trainB" / "city" / "1.bmp", BLUE)
    pairs = FolderPairs(str(tmp_path), "two_folders", direction)
    assert pairs.ids("train") == ("train/city/1",)
    assert colours(pairs, "train/city/1") == expected


@pytest.mark.parametrize(
    ("mode", "colour", "ending", "expected"),
    [
        ("L", 80, "png", (80, 80, 80)),
        ("1", 1, "png", (255, 255, 255)),
        ("P", 0, "png", (0, 0, 0)),
        ("RGBA", (1, 2, 3, 255), "png", (1, 2, 3)),
        ("RGB", (9, 8, 7), "tiff", (9, 8, 7)),
        ("RGB", (9, 8, 7), "webp", (9, 8, 7)),
    ],
)
def test_formats_become_rgb(
    tmp_path: Path, mode: str, colour: object, ending: str, expected: tuple[int, ...]
) -> None:
    solid(tmp_path / "A" / f"x.{ending}", colour, mode)
    solid(tmp_path / "B" / "x.png", BLUE)
    pairs = FolderPairs(str(tmp_path), "two_folders", "AtoB", train="")
    assert pairs.ids("train") == ("x",)
    got = np.array(colours(pairs, "x")[0])
    assert np.abs(got - np.array(expected)).max() <= 3  # webp is lossy


def test_other_files_are_not_pictures(tmp_path: Path) -> None:
    side_by_side(tmp_path / "train" / "1.png")
    (tmp_path / "train" / "notes.txt").write_text("hello")
    (tmp_path / "train" / ".hidden.png").write_text("hello")
    assert FolderPairs(str(tmp_path), "side_by_side", "AtoB").ids("train") == ("train/1",)


@pytest.mark.parametrize("copy", [".ipynb_checkpoints/1-checkpoint", "__MACOSX/a/1", "a/._1"])
def test_hidden_copies_are_not_pairs(tmp_path: Path, copy: str) -> None:
    side_by_side(tmp_path / "train/1.png")
    side_by_side(tmp_path / f"train/{copy}.png")
    for name in (".DS_Store", "Thumbs.db", "paper.pdf"):
        (tmp_path / "train" / name).write_text("notes")
    assert FolderPairs(str(tmp_path), "side_by_side", "AtoB").ids("train") == ("train/1",)


def test_hidden_folders_are_not_entered(tmp_path: Path) -> None:
    """Even if they lead to a folder that another link leads to."""
    side_by_side(tmp_path / "elsewhere/1.png")
    (tmp_path / "train/.cache").mkdir(parents=True)
    for link in ("a", ".b", ".cache/c"):
        (tmp_path / "train" / link).symlink_to(tmp_path / "elsewhere")
    root = tmp_path / ".data"  # its own name does not count
    (tmp_path / "train").rename(root)
    assert FolderPairs(str(root), "side_by_side", "AtoB", train="").ids("train") == ("a/1",)


def test_linked_folders_count_by_content(tmp_path: Path) -> None:
    for side in "AB":
        solid(tmp_path / f"train{side}/c1/1.png", RED)
        solid(tmp_path / f"elsewhere/{side}/2.png", BLUE)
        (tmp_path / f"train{side}/c2").symlink_to(tmp_path / f"elsewhere/{side}")

    def fingerprint() -> str:
        pairs = FolderPairs(str(tmp_path), "two_folders", "AtoB")
        assert pairs.ids("train") == ("train/c1/1", "train/c2/2")
        return pairs.fingerprint(["train/c2/2"])

    before = fingerprint()
    solid(tmp_path / "elsewhere/A/2.png", RED)
    assert fingerprint() != before


@pytest.mark.parametrize("folder", ["train{}", "train_{}", "{}/train"])
def test_two_folders_are_found(tmp_path: Path, folder: str) -> None:
    solid(tmp_path / folder.format("A") / "1.png", RED)
    solid(tmp_path / folder.format("B") / "1.png", BLUE)
    pairs = FolderPairs(str(tmp_path), "two_folders", "AtoB")
    assert pairs.ids("train") == ("train/1",)
    assert colours(pairs, "train/1") == [RED, BLUE]
    solid(tmp_path / ("trainA" if folder != "train{}" else "A/train") / "1.png", RED)
    with pytest.raises(UserError, match=r"are the pairs here, or in \S+\? .* data\.input_dir and"):
        pairs.ids("train")


def test_two_folders_of_any_names(tmp_path: Path) -> None:
    solid(tmp_path / "root/masks/1.png", RED)
    solid(tmp_path / "photos/1.png", BLUE)

    def opened() -> FolderPairs:
        root, photos = str(tmp_path / "root"), str(tmp_path / "photos")
        return FolderPairs(root, "two_folders", "AtoB", input_dir="masks", target_dir=photos)

    pairs = opened()
    assert pairs.ids("train") == ("1",)
    assert colours(pairs, "1") == [RED, BLUE]
    assert all_ids(pairs) == ("1",)
    with pytest.raises(MissingPart):
        pairs.ids("test")
    for part, name in (("train", "2"), ("test", "3")):
        solid(tmp_path / f"root/masks/{part}/{name}.png", RED)
        solid(tmp_path / f"photos/{part}/{name}.png", BLUE)
    assert all_ids(opened()) == ("train/2", "test/3")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"direction": "BtoA"}, r"data\.direction=BtoA: data\.input_dir says which"),
        ({"layout": "side_by_side"}, r"in one file; set data\.layout=two_folders"),
        ({"target_dir": None}, r"data\.input_dir=masks: takes data\.target_dir as well"),
        ({"input_dir": None}, r"data\.target_dir=photos: takes data\.input_dir as well"),
        ({"ignore_label": 255}, r"data\.ignore_label=255: .* set data\.layout=image_label"),
        ({"layout": "side_by_side", "input_dir": None, "target_dir": None, "match": "x"}, "=x: "),
    ],
)
def test_settings_that_contradict_each_other(wrong: dict[str, object], message: str) -> None:
    settings = {"root": "x", "layout": "two_folders", "direction": "AtoB"}
    settings |= {"input_dir": "masks", "target_dir": "photos"}
    with pytest.raises(UserError, match=message):
        FolderPairs(**(settings | wrong))  # type: ignore[arg-type]


def test_pairs_that_a_manifest_lists(tmp_path: Path) -> None:
    solid(tmp_path / "a/1.png", RED)
    solid(tmp_path / "b/2.png", BLUE)
    path = tmp_path / "pairs.csv"
    path.write_text("input,target,role\na/1.png,b/2.png,member\n")
    pairs = FolderPairs(None, "side_by_side", "AtoB", manifest=str(path))
    assert all_ids(pairs) == ("a/1",)
    assert colours(pairs, "a/1") == [RED, BLUE]
    moved = FolderPairs(str(tmp_path), "two_folders", "AtoB", manifest=str(path))
    assert moved.fingerprint(moved.ids("train")) == pairs.fingerprint(["a/1"])
    solid(tmp_path / "b/2.png", RED)
    changed = FolderPairs(None, "side_by_side", "AtoB", manifest=str(path))
    assert changed.fingerprint(changed.ids("train")) != pairs.fingerprint(["a/1"])
    with pytest.raises(UserError, match=r"data\.direction=BtoA: data\.manifest says which picture"):
        FolderPairs(None, "side_by_side", "BtoA", manifest=str(path))
    with pytest.raises(UserError, match=r"data\.match=x: .* data\.manifest lists the files"):
        FolderPairs(None, "side_by_side", "AtoB", manifest=str(path), match="x")
    path.write_text("id,role\ntrain/1,member\n")  # gives roles alone
    side_by_side(tmp_path / "train/1.png")
    plain = FolderPairs(str(tmp_path), "side_by_side", "AtoB", manifest=str(path))
    assert plain.ids("train") == ("train/1",)


def test_fingerprint_follows_content_not_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        side_by_side(tmp_path / name / "train" / "1.png")

    def fingerprint(name: str, direction: str = "AtoB") -> str:
        pairs = FolderPairs(str(tmp_path / name), "side_by_side", direction)
        return pairs.fingerprint(pairs.ids("train"))

    assert fingerprint("one") == fingerprint("two")
    assert fingerprint("one") != fingerprint("one", "BtoA")
    side_by_side(tmp_path / "two" / "train" / "1.png", (66, 32))
    assert fingerprint("one") != fingerprint("two")


def load_first(root: Path, layout: str) -> None:
    pairs = FolderPairs(str(root), layout, "AtoB")
    pairs.load(pairs.ids("train")[0])


def test_missing_root_folder_or_part(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.root=.*nowhere: no such folder"):
        load_first(tmp_path / "nowhere", "side_by_side")
    with pytest.raises(UserError, match=r"train: no such folder; set data.root, data.layout"):
        load_first(tmp_path, "side_by_side")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="contains no pictures"):
        load_first(tmp_path, "side_by_side")


def test_a_without_its_b(tmp_path: Path) -> None:
    for name in ("1", "2"):
        solid(tmp_path / "trainA" / f"{name}.png", RED)
    solid(tmp_path / "trainB" / "1.png", BLUE)
    with pytest.raises(UserError, match=r"trainA/2.png: has no partner 2\.\* in .*trainB"):
        load_first(tmp_path, "two_folders")
    (tmp_path / "trainA" / "2.png").rename(tmp_path / "trainB" / "2.png")
    with pytest.raises(UserError, match=r"trainB/2.png: has no partner 2\.\* in .*trainA"):
        load_first(tmp_path, "two_folders")


def test_one_name_twice(tmp_path: Path) -> None:
    side_by_side(tmp_path / "train" / "1.png")
    side_by_side(tmp_path / "train" / "1.jpg")
    with pytest.raises(UserError, match="two pictures named 1"):
        load_first(tmp_path, "side_by_side")


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "train" / "1.jpg"
    side_by_side(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r"1.jpg: cannot be decoded .*; replace or remove it"):
        load_first(tmp_path, "side_by_side")


@pytest.mark.parametrize("size", [(1, 1), (33, 32)])
def test_odd_width(tmp_path: Path, size: tuple[int, int]) -> None:
    side_by_side(tmp_path / "train" / "1.png", size)
    with pytest.raises(
        UserError,
        match=rf"1.png: is {size[0]} pixels wide, but a side-by-side",
    ):
        load_first(tmp_path, "side_by_side")


def test_tiny_pictures(tmp_path: Path) -> None:
    for side in "AB":
        solid(tmp_path / f"train{side}" / "1.png", RED, size=(1, 1))
    with pytest.raises(UserError, match="1 x 1 pixels, but needs at least"):
        load_first(tmp_path, "two_folders")


def test_partners_of_different_shape(tmp_path: Path) -> None:
    solid(tmp_path / "trainA" / "1.png", RED, size=(32, 32))
    solid(tmp_path / "trainB" / "1.png", BLUE, size=(64, 32))
    with pytest.raises(UserError, match="need the same aspect ratio"):
        load_first(tmp_path, "two_folders")
    solid(tmp_path / "trainB" / "1.png", BLUE, size=(64, 64))
    load_first(tmp_path, "two_folders")  # the same shape at another resolution is fine


@pytest.mark.parametrize(
    ("mode", "colour", "reason"),
    [("F", 0.5, "set data.value_range"), ("RGBA", (1, 2, 3, 100), "transparent pixels")],
)
def test_nothing_is_silently_clipped_or_flattened(
    tmp_path: Path, mode: str, colour: object, reason: str
) -> None:
    for side in "AB":
        ending = "tif" if mode == "F" else "png"
        solid(tmp_path / f"train{side}" / f"1.{ending}", colour, mode)
    with pytest.raises(UserError, match=reason):
        load_first(tmp_path, "two_folders")


def test_rotated_photos_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train" / "1.jpg"
    side_by_side(path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(UserError, match=r"1.jpg: is stored rotated"):
        load_first(tmp_path, "side_by_side")


def test_a_picture_that_changes_after_its_fingerprint_is_refused(tmp_path: Path) -> None:
    """Else the result of the new picture would be stored under the key of the old one."""
    for number in range(3):
        side_by_side(tmp_path / f"train/{number}.png")
    pairs = FolderPairs(tmp_path, "side_by_side", "AtoB")
    ids = pairs.ids("train")
    before = pairs.fingerprint(ids)
    changed = tmp_path / "train/1.png"
    times = changed.stat()
    solid(changed, (9, 9, 9), size=(64, 32))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    pairs.load("train/0")
    with pytest.raises(UserError, match=f"{changed}: has changed since this run began"):
        pairs.load("train/1")
    with pytest.raises(UserError, match=f"{changed}: has changed since this run began"):
        traces.traces(pairs.load("train/0"), [changed], pairs.read_file)
    assert pairs.fingerprint(ids) == before
    assert FolderPairs(tmp_path, "side_by_side", "AtoB").ids("train") == ids


def test_the_fingerprint_is_of_what_was_decoded_before(tmp_path: Path) -> None:
    side_by_side(tmp_path / "train/1.png")
    pairs = FolderPairs(tmp_path, "side_by_side", "AtoB")
    ids = pairs.ids("train")
    pairs.load("train/1")
    before = FolderPairs(tmp_path, "side_by_side", "AtoB")
    before.ids("train")
    expected = before.fingerprint(ids)
    solid(tmp_path / "train/1.png", (9, 9, 9), size=(64, 32))
    assert pairs.fingerprint(ids) == expected
