"""Folders of label ids, photos and instance ids."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mia_lab.data.encoding import LabelEncoding, checked_palette
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.transforms import Resizing
from mia_lab.errors import UserError

PALETTE = [[0, 0, 0], [10, 20, 30], [200, 100, 50]]
LABELS = np.random.default_rng(0).integers(0, 3, (32, 40))
PHOTO = np.random.default_rng(1).integers(0, 256, (32, 40, 3), dtype=np.uint8)
INSTANCES = np.where(LABELS == 2, 26001, LABELS)

CITYSCAPES = {
    "label": "aachen_000000_000019_gtFine_labelIds.png",
    "img": "aachen_000000_000019_leftImg8bit.png",
    "inst": "aachen_000000_000019_gtFine_instanceIds.png",
}


def write(path: Path, picture: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "train_label" / CITYSCAPES["label"], LABELS.astype(np.uint8))
    write(tmp_path / "train_img" / CITYSCAPES["img"], PHOTO)
    write(tmp_path / "train_inst" / CITYSCAPES["inst"], INSTANCES.astype(np.uint16))
    return tmp_path


def opened(root: Path) -> FolderPairs:
    return FolderPairs(str(root), "image_label", "AtoB", palette=PALETTE)


def load(root: Path) -> None:
    pairs = opened(root)
    pairs.load(pairs.ids("train")[0])


def test_round_trip_with_names_of_cityscapes(root: Path) -> None:
    pairs = opened(root)
    assert pairs.has_instances
    assert pairs.ids("train") == ("train/aachen_000000_000019",)
    pair = pairs.load("train/aachen_000000_000019")
    np.testing.assert_array_equal(pair.x.pixels, np.array(PALETTE)[LABELS])
    np.testing.assert_array_equal(pair.y.pixels, PHOTO)
    for found, expected in ((pair.labels, LABELS), (pair.instances, INSTANCES)):
        assert found is not None
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


def test_plain_names_and_no_instances(tmp_path: Path) -> None:
    write(tmp_path / "train_label" / "1.png", LABELS.astype(np.uint16))
    write(tmp_path / "train_img" / "1.bmp", PHOTO)
    pairs = opened(tmp_path)
    assert not pairs.has_instances
    assert pairs.ids("train") == ("train/1",)
    pair = pairs.load("train/1")
    assert pair.instances is None
    np.testing.assert_array_equal(pair.labels, LABELS)


def test_ids_of_32_bits(root: Path) -> None:
    shutil.rmtree(root / "train_inst")
    large = INSTANCES.astype(np.int32) * 1000
    write(root / "train_inst" / "aachen_000000_000019.tiff", large)
    pairs = opened(root)
    np.testing.assert_array_equal(pairs.load(pairs.ids("train")[0]).instances, large)


@pytest.mark.parametrize("kind", ["label", "img", "inst"])
def test_missing_partner(root: Path, kind: str) -> None:
    for other in {"label", "img", "inst"} - {kind}:
        file = root / f"train_{other}" / CITYSCAPES[other]
        shutil.copy(file, file.with_name(file.name.replace("000019", "000020")))
    with pytest.raises(
        UserError, match=rf"has no partner aachen_000000_000020\.\* in .*_{kind} \(1 of"
    ):
        load(root)


def test_label_without_a_colour(root: Path) -> None:
    write(root / "train_label" / CITYSCAPES["label"], (LABELS + 1).astype(np.uint8))
    with pytest.raises(
        UserError, match=r"labelIds.png: the label ids range from 1 to 3, but data.palette .* 0 to"
    ):
        load(root)


@pytest.mark.parametrize(("void", "kind"), [(255, np.uint8), (-1, np.int32), (65535, np.uint16)])
def test_void_pixels_are_a_class_of_their_own(root: Path, void: int, kind: type) -> None:
    ids = LABELS.copy()
    ids[:3] = void
    (root / "train_label" / CITYSCAPES["label"]).unlink()
    write(root / "train_label" / "aachen_000000_000019.tiff", ids.astype(kind))
    with pytest.raises(UserError, match=r"or set data\.ignore_label to the id of void pixels"):
        load(root)
    pairs = FolderPairs(str(root), "image_label", "AtoB", palette=PALETTE, ignore_label=void)
    pair = pairs.load(pairs.ids("train")[0])
    expected = np.where(ids == void, 3, ids)
    np.testing.assert_array_equal(pair.labels, expected)
    np.testing.assert_array_equal(pair.x.pixels, np.array([*PALETTE, [0, 0, 0]])[expected])
    encoding = LabelEncoding(PALETTE, False, void)
    assert encoding.channels == 4
    planes, residual = encoding.encode("a", pair, Resizing.of(16).sample)
    assert (set(planes.ravel().tolist()), residual) == ({0, 1, 2, 3}, 0)


def test_256_colours_and_an_ignore_label_among_them(root: Path) -> None:
    palette = [[level, level, 255 - level] for level in range(256)]
    ids = LABELS.copy()
    ids[:3] = 255
    write(root / "train_label" / CITYSCAPES["label"], ids.astype(np.uint8))
    pairs = FolderPairs(str(root), "image_label", "AtoB", palette=palette)
    np.testing.assert_array_equal(pairs.load(pairs.ids("train")[0]).labels, ids)
    assert LabelEncoding(palette[:255], False, 255).channels == 256
    for settings, message in (
        ((PALETTE, 2), r"data\.ignore_label=2: has a colour in data\.palette"),
        ((palette, -1), r"needs 1 to 255 colours .* besides data\.ignore_label=-1; got 256"),
    ):
        with pytest.raises(UserError, match=message):
            checked_palette(*settings)


def test_colours_instead_of_ids(root: Path) -> None:
    write(root / "train_label" / CITYSCAPES["label"], PHOTO)
    with pytest.raises(UserError, match=r"pixel format RGB.*data.layout=two_folders"):
        load(root)


def test_ids_as_jpeg(root: Path) -> None:
    (root / "train_label" / CITYSCAPES["label"]).unlink()
    write(root / "train_label" / "aachen_000000_000019.jpg", LABELS.astype(np.uint8))
    with pytest.raises(UserError, match="JPEG compression changes ids"):
        load(root)


def test_instances_of_another_size(root: Path) -> None:
    write(root / "train_inst" / CITYSCAPES["inst"], np.zeros((16, 20), np.uint16))
    with pytest.raises(UserError, match=r"instanceIds.png: differs in size from .*labelIds.png"):
        load(root)


def test_photo_of_another_shape(root: Path) -> None:
    write(root / "train_img" / CITYSCAPES["img"], PHOTO[:, :32])
    with pytest.raises(UserError, match=r"leftImg8bit.png has 32 x 32; both pictures of a pair"):
        load(root)


def test_settings_of_input_pictures_are_refused(root: Path) -> None:
    """Label ids have no range and no channels."""
    for given, remedy in (
        ({"input_channels": 1}, r"data\.input_channels=1: with data\.layout=image_label"),
        ({"value_range": [0, 4095]}, r"set data\.value_range=\[null,\[0,4095\]\] for the target$"),
        ({"value_range": [[0, 33], None]}, r"data\.value_range: gives the input .*; leave it out$"),
    ):
        with pytest.raises(UserError, match=remedy):
            FolderPairs(str(root), "image_label", "AtoB", palette=PALETTE, **given)  # type: ignore[arg-type]
    pairs = FolderPairs(
        *(str(root), "image_label", "AtoB"),
        palette=PALETTE,
        value_range=[None, [0, 510]],
        target_channels=1,
    )
    pair = pairs.load(pairs.ids("train")[0])
    assert (pair.x.high, pair.y.high, pair.x.channels, pair.y.channels) == (255, 510, 3, 1)


def test_settings(root: Path) -> None:
    with pytest.raises(UserError, match=r"set data.direction=AtoB"):
        FolderPairs(str(root), "image_label", "BtoA", palette=PALETTE)
    with pytest.raises(UserError, match=r"data.palette: needs 2 to 256 colours"):
        FolderPairs(str(root), "image_label", "AtoB")


@pytest.mark.parametrize("kind", ["label", "img", "inst"])
def test_fingerprint_covers_all_files_and_the_palette(root: Path, kind: str) -> None:
    def fingerprint(palette: list[list[int]] = PALETTE) -> str:
        pairs = FolderPairs(str(root), "image_label", "AtoB", palette=palette)
        return pairs.fingerprint(pairs.ids("train"))

    before = fingerprint()
    assert before == fingerprint() != fingerprint(PALETTE[::-1])
    picture = np.asarray(Image.open(root / f"train_{kind}" / CITYSCAPES[kind])).copy()
    picture[0, 0] = 1 - picture[0, 0] % 2
    write(root / f"train_{kind}" / CITYSCAPES[kind], picture)
    assert before != fingerprint()


def test_generated_streets_have_instances() -> None:
    assert ProceduralPairs("streets", "AtoB", 0, 1, 0).has_instances
    assert not ProceduralPairs("streets", "BtoA", 0, 1, 0).has_instances
    assert not ProceduralPairs("facades", "BtoA", 0, 1, 0).has_instances
