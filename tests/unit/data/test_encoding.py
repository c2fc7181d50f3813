"""One-hot labels: colours, residuals, boundaries, and how a dataset carries them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.data.encoding import LabelEncoding, boundary_map, nearest_colors
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.picture import Picture
from mia_lab.data.procedural import render
from mia_lab.data.procedural.facade_layout import PALETTE as CMP
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.procedural.street_things import PALETTE as STREETS
from mia_lab.data.source import Pair
from mia_lab.data.transforms import Resizing
from mia_lab.errors import UserError
from support import composed

THREE = [[0, 0, 0], [200, 100, 0], [200, 100, 0]]


def palette(data: str) -> list[list[int]]:
    found = composed(f"data={data}").data.palette
    assert found is not None
    return found


def as_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def square(size: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return Resizing.of(size).sample


def two_colors(size: int = 32) -> NDArray[np.uint8]:
    picture = np.zeros((size, size, 3), np.uint8)
    picture[:, size // 2 :] = THREE[1]
    return picture


def test_classes_are_the_nearest_colours() -> None:
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (40, 3), dtype=np.uint8)
    colors[7] = colors[3]
    picture = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    picture[0, :40] = colors
    classes, residual = nearest_colors(picture, colors, square(96))
    distances = np.linalg.norm(picture[:, :, None].astype(float) - colors, axis=-1)
    np.testing.assert_array_equal(classes, distances.argmin(-1))
    assert classes[0, 7] == 3
    assert residual == pytest.approx(distances.min(-1).mean(), rel=1e-5)  # noise is flat nowhere


def test_residual_is_that_of_flat_places() -> None:
    picture = two_colors()
    picture[:, 16:] += 3
    picture[8, 8] = 60  # neither it nor its four neighbours are flat
    _, residual = nearest_colors(picture, np.array(THREE, np.uint8), square(32))
    right, left = 32 * 15, 32 * 15 - 5  # without the columns along the edge
    assert residual == pytest.approx(3 * np.sqrt(3) * right / (right + left), rel=1e-5)


def test_generated_labels_are_exact() -> None:
    """Facades by their known classes, streets by their colours."""
    facades = ProceduralPairs("facades", "BtoA", 0, 3, 0)
    streets = ProceduralPairs("streets", "AtoB", 0, 3, 0)
    names = np.array(palette("cityscapes"))
    for index, image_id in enumerate(facades.ids("train")):
        planes, residual = LabelEncoding(palette("facades"), False).encode(
            image_id, facades.load(image_id), square(256)
        )
        assert residual == 0
        np.testing.assert_array_equal(planes[0], render("facades", 0, index).labels)
        planes, residual = LabelEncoding(names.tolist(), False).encode(
            image_id, streets.load(image_id), square(256)
        )
        assert residual == 0
        np.testing.assert_array_equal(names[planes[0]], render("streets", 0, index).input)


@pytest.mark.parametrize(("style", "colors"), [("facades", CMP), ("streets", STREETS)])
def test_labels_survive_jpeg(style: str, colors: dict[str, tuple[int, int, int]]) -> None:
    encoding = LabelEncoding(list(colors.values()), False)
    scene = render(style, 0, 1)
    picture = Picture.of(as_jpeg(scene.input, 75))
    planes, residual = encoding.encode("a", Pair(picture, picture), square(256))
    assert 0 < residual < 4
    assert (planes[0] == scene.labels).mean() > 0.85
    photo = Picture.of(as_jpeg(scene.target, 90))
    with pytest.raises(UserError, match=r"a: its colours differ from data.palette by .* levels"):
        encoding.encode("a", Pair(photo, picture), square(256))


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("name", ["facades", "cityscapes"])
def test_real_label_maps_are_told_from_photos(real_data: Path, name: str, size: int) -> None:
    layout = ("side_by_side", "BtoA") if name == "facades" else ("two_folders", "AtoB")
    pairs = FolderPairs(str(real_data / name), *layout)
    encoding = LabelEncoding(palette(name), False)
    for image_id in pairs.ids("train")[::25]:
        pair = pairs.load(image_id)
        _, residual = encoding.encode(image_id, pair, square(size))
        assert residual < 5.5
        with pytest.raises(
            UserError, match=f"{image_id}: .*; correct data.palette or data.direction"
        ):
            encoding.encode(image_id, Pair(pair.y, pair.x), square(size))


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("name", ["facades", "cityscapes"])
def test_maps_are_no_label_maps(real_data: Path, name: str, direction: str) -> None:
    pairs = FolderPairs(str(real_data / "maps"), "side_by_side", direction, "train", "val")
    encoding = LabelEncoding(palette(name), False)
    for image_id in pairs.ids("train")[::60]:
        with pytest.raises(UserError, match=r"data.input_encoding=rgb"):
            encoding.encode(image_id, pairs.load(image_id), square(64))


def test_boundaries_are_where_a_neighbour_differs() -> None:
    ids = render("streets", 0, 2).instances
    assert ids is not None
    ids = ids[60:200, 40:180]
    expected = np.zeros(ids.shape, np.uint8)
    height, width = ids.shape
    for i in range(height):
        for j in range(width):
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < height and 0 <= m < width and ids[k, m] != ids[i, j]:
                    expected[i, j] = 1
    assert 0 < expected.mean() < 0.5
    np.testing.assert_array_equal(boundary_map(ids), expected)


def test_sampling_takes_the_centres_of_the_whole_picture() -> None:
    picture = np.arange(12 * 20).reshape(12, 20)
    np.testing.assert_array_equal(square(4)(picture), picture[1::3][:, [2, 7, 12, 17]])
    larger = Image.fromarray(picture.astype(np.int32)).resize((48, 48), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(square(48)(picture), np.asarray(larger))


class Known:
    """One pair whose source knows everything."""

    def __init__(self, labels: Sequence[int] | None, instances: bool = True) -> None:
        picture = Picture.of(two_colors())
        ids = None if labels is None else np.full((32, 32), labels[0], np.int32)
        if ids is not None and labels is not None:
            ids[:, 16:] = labels[1]
        objects = np.zeros((32, 32), np.int32)
        objects[10:20, 10:20] = 26001
        self.pair = Pair(picture, picture, objects if instances else None, ids)

    def ids(self, subset: str) -> Sequence[str]:
        return ("train/a", "train/b")

    def load(self, image_id: str) -> Pair:
        return self.pair

    def fingerprint(self, ids: Sequence[str]) -> str:
        return ""


def test_known_labels_come_before_colours() -> None:
    planes, residual = LabelEncoding(THREE, False).encode("a", Known([2, 0]).pair, square(32))
    assert residual == 0
    assert planes.shape == (1, 32, 32)
    assert (planes[0, :, :16] == 2).all()
    assert (planes[0, :, 16:] == 0).all()


@pytest.mark.parametrize("labels", [(0, 3), (-1, 0)])
def test_labels_outside_the_palette(labels: tuple[int, int]) -> None:
    with pytest.raises(
        UserError, match=r"a: the labels range .* but data.palette has the classes 0 to 2"
    ):
        LabelEncoding(THREE, False).encode("a", Known(labels).pair, square(32))


def test_boundaries_need_instances() -> None:
    with pytest.raises(UserError, match=r"a: this pair has no instance ids.*data.instances=false"):
        LabelEncoding(THREE, True).encode("a", Known([0, 1], instances=False).pair, square(32))


@pytest.mark.parametrize(
    "wrong", [[], [[0, 0, 0]], [[0, 0], [1, 1]], [[0, 0, 0], [0, 0, 256]], [[0, 0, 0]] * 257]
)
def test_wrong_palettes(wrong: list[list[int]]) -> None:
    with pytest.raises(UserError, match=r"data.palette: needs 2 to 256 colours"):
        LabelEncoding(wrong, False)


def test_identity_is_plain_and_tells_encodings_apart() -> None:
    one, other = LabelEncoding(THREE, True), LabelEncoding(THREE, False)
    assert json.loads(json.dumps(one.identity())) == one.identity() != other.identity()
    assert (one.channels, other.channels) == (4, 3)


@pytest.mark.parametrize("boundaries", [True, False])
def test_dataset_gives_one_hot_labels(boundaries: bool) -> None:
    source = Known(None)
    pairs = PairDataset(source, source.ids("train"), 32, encoding=LabelEncoding(THREE, boundaries))
    assert pairs.in_channels == 3 + boundaries
    expected = torch.zeros(3 + boundaries, 32, 32)
    expected[0, :, :16] = 1
    expected[1, :, 16:] = 1
    if boundaries:
        assert source.pair.instances is not None
        expected[3] = torch.from_numpy(boundary_map(source.pair.instances))
    plain = next(PairDataset(source, source.ids("train"), 32).batches(2))
    assert plain.encoded is None
    subset = pairs.subset(source.ids("train"))
    for batch in (next(subset.batches(2)), next(iter(training_loader(subset, 2, 0)))):
        assert batch.encoded is not None
        assert batch.encoded.dtype == torch.float32
        assert torch.equal(batch.encoded, expected.expand(2, -1, -1, -1))
        assert torch.equal(batch.x, plain.x)
        assert torch.equal(batch.y, plain.y)
    assert pairs.residuals == {"train/a": 0, "train/b": 0}


def test_labels_count_in_the_memory_budget() -> None:
    source, encoding = Known([0, 1]), LabelEncoding(THREE, True)
    for bytes_each, kept in ((8, 2), (7, 1)):
        pairs = PairDataset(source, source.ids("train"), 32, 2 * bytes_each * 32**2, encoding)
        next(pairs.batches(2))
        assert sum(pairs._decoded.get(i) is not None for i in pairs.ids) == kept
