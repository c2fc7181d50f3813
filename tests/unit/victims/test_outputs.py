"""Pictures in a folder as a victim's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mia_lab.config import build
from mia_lab.errors import UserError
from mia_lab.victims.outputs import Outputs
from support import composed


def picture(path: Path, level: int = 51, size: int = 16, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), level, np.uint8)).save(path, kind)
    return path


def test_answers_come_by_id_not_by_order(tmp_path: Path) -> None:
    picture(tmp_path / "train/0001.png", 51)
    picture(tmp_path / "0002.png", 102)
    victim = Outputs(str(tmp_path), 16)
    ids = ("train/0002", "train/0001")
    victim.check(ids)
    answers = victim.recall(ids)
    assert answers.shape == (2, 3, 16, 16)
    assert torch.equal(answers[:, 0, 0, 0], torch.tensor([102, 51]) / 255)
    assert victim.transport == "pictures"


def test_a_jpeg_is_known_by_its_content(tmp_path: Path) -> None:
    picture(tmp_path / "0001.png", kind="JPEG")
    picture(tmp_path / "0002.png")
    picture(tmp_path / "unasked.jpg")
    victim = Outputs(str(tmp_path), 16)
    victim.check(["0002"])
    assert victim.transport == "pictures"
    victim.check(["0001", "0002"])
    assert victim.transport == "pictures, some of them lossy (JPEG or WebP, say)"


def test_the_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    picture(tmp_path / "a/0001.png", 1)
    picture(tmp_path / "b/0001.png", 1)
    picture(tmp_path / "c/0001.png", 2)
    prints = [Outputs(str(tmp_path / f), 16).fingerprint(["0001"]) for f in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_an_answer_that_changes_after_its_fingerprint_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "1.png")
    outputs = Outputs(str(tmp_path), 16)
    outputs.fingerprint(["1"])
    picture(path, 52)
    with pytest.raises(UserError, match=f"{path}: has changed since this run began"):
        outputs.recall(["1"])


def test_what_does_not_fit_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    picture(tmp_path / "train/0001.png")
    picture(tmp_path / "0009.png")
    small = picture(tmp_path / "train/0002.png", size=8)
    victim = Outputs(str(tmp_path), 16)
    with pytest.raises(UserError, match=r"no picture train/0003\.\* \(2 of 3 are missing\)"):
        victim.check(["train/0001", "train/0003", "train/0004"])
    with pytest.raises(UserError, match=r"answer to train/0009 or to test/0009\?"):
        victim.check(["train/0009", "test/0009"])
    with pytest.raises(UserError, match=rf"{small}: 8 x 8 .* set data\.image_size=8,"):
        victim.check(["train/0001", "train/0002"])
    picture(tmp_path / "0001.png", 7)
    with pytest.raises(UserError, match=r"is this the answer to train/0001, or \S*0001\.png\?"):
        Outputs(str(tmp_path), 16).check(["train/0001"])
    picture(tmp_path / "0001.jpg", 7)
    with pytest.raises(UserError, match="two pictures named 0001"):
        Outputs(str(tmp_path), 16)


@pytest.mark.parametrize(
    ("answer", "others"),
    [
        ("0001_fake_B.png", ["0001_real_A.png", "0001_real_B.png"]),
        ("images/0001_fake_B.png", ["images/0001_real_A.png", "images/0001_real_B.png"]),
        ("images/train/0001_fake.png", ["images/train/0001_real.png"]),
        ("images/0001_synthesized_image.jpg", ["images/0001_input_label.jpg"]),
    ],
)
def test_results_of_published_programs(tmp_path: Path, answer: str, others: list[str]) -> None:
    for other in others:
        picture(tmp_path / other, 200)
    picture(tmp_path / answer, 51)
    victim = Outputs(str(tmp_path), 16)
    victim.check(["train/0001"])
    assert victim.recall(["train/0001"])[0, 0, 0, 0] == 51 / 255
    with pytest.raises(
        UserError, match=r"no picture train/0002\.\* .* but it has (images/)?\S*0001_"
    ):
        victim.check(["train/0002"])
    picture(tmp_path / "0001.png")
    with pytest.raises(UserError, match=r"is this the answer to train/0001, or \S*0001_\S+\?"):
        Outputs(str(tmp_path), 16).check(["train/0001"])


def test_answers_of_two_sides(tmp_path: Path) -> None:
    Image.new("RGB", (32, 16)).save(tmp_path / "0001.png")
    Outputs(str(tmp_path), [32, 16]).check(["0001"])
    with pytest.raises(UserError, match=r"32 x 16 pixels, .* set data\.image_size=\[32,16\]"):
        Outputs(str(tmp_path), [16, 32]).check(["0001"])


def test_pictures_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"victim\.folder=\S*none: no such folder"):
        Outputs(str(tmp_path / "none"), 16)
    (tmp_path / "0001.png").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"0001\.png: is no picture of the formats"):
        Outputs(str(tmp_path), 16).check(["0001"])
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "0001.png")
    assert Outputs(str(tmp_path), 16).recall(["0001"]).shape == (1, 1, 16, 16)
    (tmp_path / "0001.png").unlink()
    np.save(tmp_path / "0001.npy", np.full((16, 16), 0.25, np.float32))
    outputs = Outputs(str(tmp_path), 16)
    with pytest.raises(UserError, match=r"0001\.npy: holds float32 values, .* victim\.value_range"):
        outputs.check(["0001"])
    with pytest.raises(UserError, match=r"0001\.npy: holds float32 values, .* victim\.value_range"):
        outputs.recall(["0001"])
    recalled = Outputs(str(tmp_path), 16, [0, 1]).recall(["0001"])
    np.testing.assert_array_equal(recalled, np.full((1, 1, 16, 16), 0.25))
    (tmp_path / "0001.npy").unlink()
    Image.new("RGBA", (16, 16), (1, 2, 3, 4)).save(tmp_path / "0001.png")
    with pytest.raises(UserError, match="transparent pixels"):
        Outputs(str(tmp_path), 16).recall(["0001"])


def test_answers_of_other_channels(tmp_path: Path) -> None:
    """pix2pix writes grey answers as RGB."""
    tiled = picture(tmp_path / "0001.png", 51)
    ids = ["0001", "0002"]
    Image.new("L", (16, 16), 102).save(tmp_path / "0002.png")
    with pytest.raises(
        UserError,
        match=rf"{tiled}: number of channels is 3, but the targets have 1; set victim\.channels=1, "
        r"which converts RGB to grey, or data\.target_channels=1 for",
    ):
        Outputs(str(tmp_path), 16, out_channels=1).check(ids)
    found = Outputs(str(tmp_path), 16, out_channels=1, channels=1)
    found.check(ids)
    levels = torch.tensor([51.0, 102.0]).reshape(2, 1, 1, 1) / 255
    assert torch.equal(found.recall(ids), levels.expand(2, 1, 16, 16))
    for of_targets, whose in ((3, "the targets"), (None, "the other answers")):
        mixed = Outputs(str(tmp_path), 16, out_channels=of_targets)
        with pytest.raises(
            UserError, match=rf"0002\.png: number of channels is 1, but {whose} have 3; set victim"
        ):
            mixed.recall(ids)
    with pytest.raises(UserError, match=r"is 3, but the targets have 4; give answers and targets"):
        Outputs(str(tmp_path), 16, out_channels=4).recall(ids)
    converted = Outputs(str(tmp_path), 16, out_channels=3, channels=3).recall(ids)
    assert torch.equal(converted, levels.expand(2, 3, 16, 16))


def test_answers_are_read_as_the_targets(tmp_path: Path) -> None:
    """Stored rotated, of several pages, or of many pixels."""
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (32, 16), (1, 2, 3)).save(tmp_path / "0001.png", exif=exif)
    with pytest.raises(UserError, match=r"stored rotated .* set data\.exif=apply"):
        Outputs(str(tmp_path), [16, 32]).check(["0001"])
    victim = Outputs(str(tmp_path), [16, 32], exif="apply")
    victim.check(["0001"])
    assert victim.recall(["0001"]).shape == (1, 3, 32, 16)
    (tmp_path / "0001.png").unlink()
    pages = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in (51, 102)]
    pages[0].save(tmp_path / "0001.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match=r"has 2 pages; choose one with data\.page=0"):
        Outputs(str(tmp_path), 16).check(["0001"])
    assert Outputs(str(tmp_path), 16, page=1).recall(["0001"])[0, 0, 0, 0] == 102 / 255
    with pytest.raises(UserError, match=r"16 x 16 pixels, more than data\.max_megapixels=0\.0001"):
        Outputs(str(tmp_path), 16, page=1, max_megapixels=1e-4).check(["0001"])


def test_settings_of_answers_follow_those_of_the_targets() -> None:
    given = ("data.exif=apply", "data.page=1", "data.max_megapixels=5", "data.target_channels=1")
    given += ("data.source=folder", "data.root=.", "data.alpha=white")
    config = composed("victim=outputs", "victim.folder=x", *given)
    found = build.victim(config, (3, 1)).arguments
    names = ("exif", "page", "max_megapixels", "channels", "out_channels", "alpha")
    assert [found[name] for name in names] == ["apply", 1, 5, 1, 1, "white"]
