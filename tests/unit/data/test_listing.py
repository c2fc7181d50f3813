"""Folders of pictures as file systems have them: odd names, links, and missing permissions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from mia_lab.data.pairs import FolderPairs
from mia_lab.data.pictures import pictures
from mia_lab.errors import UserError
from mia_lab.store.content import Contents, content_sha256, files_below
from mia_lab.victims.outputs import Outputs
from unprivileged import unprivileged_folder

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")
PALETTE = [[0, 0, 0], [255, 255, 255]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with unprivileged_folder() as found:
        yield found


def picture(path: Path, mode: str = "RGB", width: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, 32)).save(path)
    return path


def side_by_side(root: Path) -> Path:
    picture(root / "train/a/1.png", width=64)
    return root / "train/a"


def two_folders(root: Path) -> Path:
    for side in "AB":
        picture(root / f"train{side}/a/1.png")
    return root / "trainB/a"


def label_maps(root: Path) -> Path:
    picture(root / "train_label/a/1.png", "L")
    picture(root / "train_img/a/1.png")
    return root / "train_label/a"


def masks(root: Path) -> Path:
    label_maps(root)
    picture(root / "train_inst/a/1.png", "L")
    return root / "train_inst/a"


def answers(root: Path) -> Path:
    return picture(root / "answers/a/1.png").parent


def ids(root: Path, layout: str) -> object:
    palette = PALETTE if layout == "image_label" else None
    return FolderPairs(root, layout, "AtoB", palette=palette).ids("train")  # type: ignore[arg-type]


LISTED: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "side by side": (side_by_side, lambda root: ids(root, "side_by_side")),
    "two folders": (two_folders, lambda root: ids(root, "two_folders")),
    "label maps": (label_maps, lambda root: ids(root, "image_label")),
    "masks of instances": (masks, lambda root: ids(root, "image_label")),
    "answers": (answers, lambda root: Outputs(str(root / "answers"), 32)),
}
"""What makes a folder of pictures, and what lists it."""


def not_utf8(inside: Path) -> str:
    picture(inside / NOT_UTF8)
    return r"caf\xe9.png: the name is not UTF-8; rename the file or its folder"


def in_a_folder_that_is_not_utf8(inside: Path) -> str:
    picture(inside / os.fsdecode(b"\xff") / "1.png")
    return r"\xff/1.png: the name is not UTF-8; rename the file or its folder"


def dangling(inside: Path) -> str:
    (inside / "2.png").symlink_to("gone.png")
    return "2.png: is a link to gone.png, which is not there or out of reach; correct or remove"


def dangling_folder(inside: Path) -> str:
    (inside / "more").symlink_to("gone")
    return "more: is a link to gone, which is not there or out of reach"


def dangling_to_bytes(inside: Path) -> str:
    (inside / "2.png").symlink_to(NOT_UTF8)
    return r"2.png: is a link to caf\xe9.png, which is not there"


def looping(inside: Path) -> str:
    (inside / "2.png").symlink_to("2.png")
    return "2.png: is a link to 2.png, which is not there or out of reach"


def looping_folder(inside: Path) -> str:
    outside = inside.parents[1] / "outside"
    outside.mkdir()
    (outside / "again").symlink_to(outside)
    (inside / "more").symlink_to(outside)
    return "more/again: is the same folder as "


def pipe(inside: Path) -> str:
    os.mkfifo(inside / "2.png")
    return "2.png: is no regular file; remove it"


def unreadable(inside: Path) -> str:
    picture(inside / "2.png").chmod(0)
    return "2.png: cannot be read (Permission denied); correct its permissions, or remove it"


def unreadable_folder(inside: Path) -> str:
    picture(inside / "b/2.png").parent.chmod(0)
    return "b: cannot be read (Permission denied); correct its permissions, or remove it"


def folder_of_which_only_names_are_read(inside: Path) -> str:
    picture(inside / "b/2.png").parent.chmod(0o400)
    return "2.png: cannot be read (Permission denied)"


@pytest.mark.parametrize("listed", LISTED)
@pytest.mark.parametrize(
    "spoil",
    [
        *(not_utf8, in_a_folder_that_is_not_utf8, dangling, dangling_folder, dangling_to_bytes),
        *(looping, looping_folder, pipe, unreadable, unreadable_folder),
        folder_of_which_only_names_are_read,
    ],
)
def test_one_line_that_names_the_path(
    folder: Path, listed: str, spoil: Callable[[Path], str]
) -> None:
    make, read = LISTED[listed]
    inside = make(folder)
    read(folder)
    expected = spoil(inside)
    with pytest.raises(UserError) as told:
        read(folder)
    message = str(told.value)
    assert expected in message
    assert str(folder) in message
    assert message.isprintable()
    message.encode()


@pytest.mark.parametrize("spoil", [not_utf8, dangling_folder, looping_folder, unreadable_folder])
def test_a_folder_that_counts_by_its_content(folder: Path, spoil: Callable[[Path], str]) -> None:
    """Such as the labels of ``difficulty=supervised``."""
    inside = answers(folder)
    content_sha256(folder / "answers")
    expected = spoil(inside)
    with pytest.raises(UserError) as told:
        content_sha256(folder / "answers")
    assert expected in str(told.value)


def test_linked_folders_are_listed(tmp_path: Path) -> None:
    """They were left out without a word."""
    picture(tmp_path / "elsewhere/paris/1.png")
    picture(tmp_path / "train/2.png")
    (tmp_path / "train/cities").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/3.png").symlink_to(tmp_path / "train/2.png")
    assert [*pictures(tmp_path / "train")] == ["2", "3", "cities/paris/1"]
    before = content_sha256(tmp_path / "train")
    picture(tmp_path / "elsewhere/paris/1.png", "L")
    assert content_sha256(tmp_path / "train") != before


def test_links_to_folders_inside_add_nothing(tmp_path: Path) -> None:
    """Such as `current`, `.venv/lib64` and loops: their content is listed in its own place."""
    picture(tmp_path / "2024/1.png")
    before = content_sha256(tmp_path)
    (tmp_path / "current").symlink_to("2024")
    (tmp_path / "2024/again").symlink_to("..")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/to-b").symlink_to("../2024")
    assert [*pictures(tmp_path)] == ["2024/1"]
    assert content_sha256(tmp_path) == before


def test_what_is_no_picture_is_no_obstacle(folder: Path) -> None:
    picture(folder / "1.png")
    (folder / "NOTES.txt").symlink_to("gone.txt")
    picture(folder / "lost+found/2.png").parent.chmod(0)
    picture(folder / ".Trash-1000/2.png").parent.chmod(0)
    for name in (os.fsdecode(b"notes\xff.txt"), "private.txt", ".hidden.png"):
        (folder / name).write_text("mine")
        (folder / name).chmod(0)
    os.mkfifo(folder / "pipe")
    (folder / ".#1.png").symlink_to("alice@host.4711")  # an editor's lock
    assert [*pictures(folder)] == ["1"]


def test_files_are_sorted_as_paths(tmp_path: Path) -> None:
    names = ["b/1", "b-c/1", "b.png", "a", "b/a/1", "b/B"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert files_below(tmp_path, Path.is_file) == sorted(tmp_path / name for name in names)


def test_a_picture_that_becomes_unreadable_later(folder: Path) -> None:
    path = picture(folder / "train/1.png", width=64)
    pairs = FolderPairs(folder, "side_by_side", "AtoB")
    found = pairs.ids("train")
    path.chmod(0)
    for read in (pairs.fingerprint, lambda i: pairs.load(*i), lambda _: Contents().read(path)):
        with pytest.raises(UserError, match=r"1\.png: cannot be read \(Permission denied\)"):
            read(found)
    path.unlink()
    with pytest.raises(UserError, match=r"1\.png: .* \(No such file or directory\); restore it"):
        pairs.fingerprint(found)
