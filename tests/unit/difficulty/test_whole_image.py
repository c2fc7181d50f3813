"""Difficulties of one number an image: against direct formulas, and learned from labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy as scipy_entropy

from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.config import build
from mia_lab.difficulty.multi_image import MultiImage
from mia_lab.difficulty.statistics import STATISTICS, ImageStatistics
from mia_lab.difficulty.supervised import Supervised
from mia_lab.difficulty.whole_image import NoDifficulty, WholeImageDifficulty
from mia_lab.errors import UserError
from mia_lab.store.content import content_sha256
from mia_lab.types import PairBatch
from support import composed
from tables import answers

PICTURE = (np.arange(24 * 20 * 3) ** 2 % 251).astype(np.uint8).reshape(24, 20, 3)


def batch(pictures: np.ndarray) -> PairBatch:
    y = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return PairBatch(tuple(map(str, range(len(y)))), torch.zeros_like(y), y)


def test_statistics_equal_direct_formulas() -> None:
    found = {
        name: ImageStatistics(name).score_images(batch(PICTURE[None]))[0] for name in STATISTICS
    }
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "png", optimize=True)
    assert found["compressed_size"] == min(1, len(file.getvalue()) / PICTURE.size)
    levels = PICTURE.astype(float) / 255
    down = [abs(levels[i + 1, j, c] - levels[i, j, c]) for i, j, c in np.ndindex(23, 20, 3)]
    right = [abs(levels[i, j + 1, c] - levels[i, j, c]) for i, j, c in np.ndindex(24, 19, 3)]
    assert found["total_variation"] == pytest.approx((np.mean(down) + np.mean(right)) / 2)
    grey = PICTURE.astype(float) @ [0.299, 0.587, 0.114]
    counts = np.unique(np.rint(grey), return_counts=True)[1]
    assert found["entropy"] == pytest.approx(scipy_entropy(counts, base=2) / 8)
    padded = np.pad(grey / 255, 1, mode="symmetric")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    steep = 0
    for i, j in np.ndindex(24, 20):
        window = padded[i : i + 3, j : j + 3]
        steep += np.hypot((window * kernel).sum(), (window * kernel.T).sum()) / 4 >= 0.25
    assert found["edge_density"] == pytest.approx(steep / (24 * 20))


def test_statistics_grow_with_what_is_to_be_seen() -> None:
    flat = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, flat.shape, dtype=np.uint8)
    for name in STATISTICS:
        low, high = ImageStatistics(name).score_images(batch(np.concatenate([flat, noise])))
        assert 0 <= low < high <= 1
    assert ImageStatistics("entropy", "input").score_images(batch(noise))[0] == 0


def test_none_is_the_same_for_all() -> None:
    assert NoDifficulty().score_images(batch(PICTURE[None])).tolist() == [0.0]
    assert isinstance(NoDifficulty(), WholeImageDifficulty)


def test_multi_image_is_the_error_of_models_that_have_not_seen_the_image() -> None:
    tables = [answers(["a", "b"], [0.1, 0.2]), answers(["a", "b"], [0.3, 0.6])]
    score = MultiImage().score_references
    assert score(tables, [["a"], []]).column(["a", "b"]).tolist() == [0.3, 0.4]
    with pytest.raises(ValueError, match="training of every reference"):
        score(tables, [["a"], ["a"]])


def labelled(folder: Path, n: int = 40) -> np.ndarray:
    """Pictures whose difficulty is their brightness, which deep features can tell."""
    rng = np.random.default_rng(1)
    level = rng.integers(30, 220, n)
    rows = ["file,difficulty"]
    for number, value in enumerate(level):
        picture = rng.integers(value - 25, value + 25, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{value / 100}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return level / 100


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("tf_efficientnet_lite0", "packaged")


def test_supervised_learns_what_features_tell(tmp_path: Path, backbone: Backbone) -> None:
    labelled(tmp_path)
    score = Supervised(backbone, str(tmp_path), 48)
    rng = np.random.default_rng(7)
    new = np.array([40, 80, 120, 160, 200])
    pictures = np.stack([rng.integers(v - 25, v + 25, (48, 48, 3)).astype(np.uint8) for v in new])
    found = score.score_images(batch(pictures))
    assert np.corrcoef(found, new)[0, 1] > 0.95
    # The weights are those of a plain ridge regression on standardised features.
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mia_lab.difficulty.supervised import PENALTIES

    rows, labels = [], []
    for line in (tmp_path / "labels.csv").read_text().splitlines()[1:]:
        name, value = line.split(",")
        small = Image.open(tmp_path / name).convert("RGB")  # of the right size already
        x = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
        rows.append(pool(backbone, x)[0])
        labels.append(float(value))
    plain = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(np.stack(rows), labels)
    expected = plain.predict(pool(backbone, batch(pictures).y))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def relabelled(folder: Path, change: Callable[[np.ndarray], np.ndarray], ending: str) -> None:
    """The same labels of pictures that are stored in another way."""
    for path in folder.glob("*.png"):
        pixels = change(np.asarray(Image.open(path)))
        path.unlink()
        if ending == "npy":
            np.save(path.with_suffix(".npy"), pixels)
        else:
            Image.fromarray(pixels).save(path)
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace(".png", f".{ending}"))


@pytest.mark.parametrize(
    ("change", "ending", "settings", "message"),
    [
        (
            *(lambda p: p.astype(np.float32) * 16, "npy"),
            *({"value_range": [None, [0, 4080]]}, r"difficulty\.value_range=\[LOW,HIGH\]"),
        ),
        (
            *(lambda p: p.astype(np.int16) - 128, "npy"),
            *({"value_range": [[-128, 127], None], "of": "input"}, r"difficulty\.value_range="),
        ),
        (
            *(lambda p: np.dstack([p, np.full((48, 48), 254, np.uint8)]), "png"),
            *({"alpha": "black"}, r"set difficulty\.alpha to the colour"),
        ),
        (
            *(lambda p: np.pad(p, ((0, 0), (24, 24), (0, 0))), "png"),
            *({"resize": "crop"}, ""),
        ),
    ],
    ids=["reals", "signed", "alpha", "crop"],
)
def test_labelled_pictures_are_read_as_those_of_the_data(
    tmp_path: Path,
    backbone: Backbone,
    change: Callable[[np.ndarray], np.ndarray],
    ending: str,
    settings: dict[str, Any],
    message: str,
) -> None:
    labelled(tmp_path, 12)
    few = np.stack([PICTURE, PICTURE // 2])
    of = settings.get("of", "target")
    expected = Supervised(backbone, str(tmp_path), 48, of).score_images(batch(few))
    relabelled(tmp_path, change, ending)
    found = Supervised(backbone, str(tmp_path), 48, **settings).score_images(batch(few))
    np.testing.assert_allclose(found, expected, rtol=0.05)
    if message:
        with pytest.raises(UserError, match=message):
            Supervised(backbone, str(tmp_path), 48).score_images(batch(few))


def test_labelled_pictures_have_the_channels_of_the_side_that_is_scored(
    tmp_path: Path, backbone: Backbone
) -> None:
    labelled(tmp_path, 12)
    coloured = {f: np.asarray(Image.open(f)) * np.uint8([1, 0, 0]) for f in tmp_path.glob("*.png")}
    for path, pixels in coloured.items():
        Image.fromarray(pixels).save(path)
    few = batch(np.stack([PICTURE, PICTURE // 2]))
    in_colours = Supervised(backbone, str(tmp_path), 48, input_channels=1).score_images(few)
    in_grey = Supervised(backbone, str(tmp_path), 48, target_channels=1).score_images(few)
    for path in coloured:
        Image.open(path).convert("L").save(path)
    grey = Supervised(backbone, str(tmp_path), 48).score_images(few)
    np.testing.assert_allclose(in_grey, grey, rtol=1e-6)
    assert not np.allclose(in_colours, grey, rtol=0.01)


def test_settings_of_labelled_pictures_follow_those_of_the_data() -> None:
    given = ("data=custom", "data.root=.", "data.alpha=white", "data.exif=apply", "data.page=1")
    given += ("data.resize=fit", "data.value_range=[null,[0,4095]]", "data.target_channels=1")
    config = composed("difficulty=supervised", "difficulty.folder=x", *given)
    found = build.difficulty(config).arguments
    names = ("alpha", "exif", "page", "resize", "value_range", "target_channels")
    expected = ["white", "apply", 1, "fit", [None, [0, 4095]], 1]
    assert [found[name] for name in names] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 labels are too few"),
        ("picture,difficulty\n0.png,1\n", "line 2: needs the columns file and difficulty"),
        ("file,difficulty\n0.png,hard\n", "line 2: needs the columns file and difficulty"),
        ("file,difficulty\n0.png,nan\n", "line 2: difficulty=nan is not finite"),
        ("file,difficulty\nx.png,1\n", "x.png: no such file in"),
        ("file,difficulty\n../x.png,1\n", r"\.\./x.png: no such file in"),
        ("file,difficulty\n/etc/hostname,1\n", "/etc/hostname: no such file in"),
        ("file,difficulty\n0.png,1\n0.png,2\n", "line 3: names 0.png again"),
        (f"file,difficulty\n{200_000 * 'x'},1\n", r"labels\.csv cannot be read \(field larger"),
    ],
)
def test_damaged_labels(tmp_path: Path, backbone: Backbone, text: str, reason: str) -> None:
    labelled(tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=reason):
        Supervised(backbone, str(tmp_path), 48)
    with pytest.raises(UserError, match="cannot be read"):
        Supervised(backbone, str(tmp_path / "nowhere"), 48)


@pytest.mark.parametrize("name", ["up/x.png", "0.png/../../x.png", "/{outside}/x.png", "../x.png"])
def test_labels_name_files_of_their_folder(tmp_path: Path, backbone: Backbone, name: str) -> None:
    """Whatever is labelled counts for the key, so that a change of it is noticed."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    labelled(folder)
    Image.new("RGB", (48, 48)).save(tmp_path / "x.png")
    with (folder / "labels.csv").open("a") as file:
        file.write(f"{name.format(outside=tmp_path)},1\n")
    with pytest.raises(UserError, match=r"line 42: \S+x\.png: no such file in"):
        Supervised(backbone, str(folder), 48)


def test_labelled_pictures_behind_links_count_by_content(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder, outside = tmp_path / "labelled", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    labelled(outside)
    (folder / "linked").symlink_to(outside)
    rows = [f"linked/{number}.png,{number}" for number in range(10)]
    (folder / "labels.csv").write_text("\n".join(["file,difficulty", *rows]))
    Supervised(backbone, str(folder), 48)
    before = content_sha256(folder)
    Image.new("RGB", (48, 48)).save(outside / "3.png")
    assert content_sha256(folder) != before
    (folder / "linked").unlink()
    (folder / "linked").symlink_to("..")
    with pytest.raises(UserError, match=r"linked/labelled: is the same folder as"):
        Supervised(backbone, str(folder), 48)
