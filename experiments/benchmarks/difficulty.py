"""Our difficulty engine against the authors' algorithm and against scikit-learn, in one run.

Same images, same Wide-ResNet50-2, same machine, in turns. The rival is the released algorithm:
features of four blocks resized with scikit-image to 56 x 56, 3840 columns, and least squares on
70 % of the pixels of the target, which Pillow resizes from its stored size. Ours is timed at the
default penalty, and at penalty 0, which is the same problem. The network's weights are random:
a part of its columns are zeros, which ours leaves out at penalty 0.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.linalg import lstsq
from skimage.transform import resize as skimage_resize
from sklearn.linear_model import Ridge

import shared
from mia_lab.backbones.backbone import Backbone
from mia_lab.data.dataset import PairDataset
from mia_lab.data.pairs import FolderPairs
from mia_lab.difficulty.columns import compact_factor
from mia_lab.difficulty.features import extract, prepare, target_pixels
from mia_lab.difficulty.protocol import PixelProtocol, pixel_order
from mia_lab.difficulty.score import FactorBatch, Setting, score_batch
from mia_lab.errors import UserError
from mia_lab.progress import progress
from mia_lab.types import PairBatch

IMAGES = 20
SEED = 0
GRID = 56
TURN = 5
LAYERS = (1, 2, 3, 4)
SUBSETS = [c for n in LAYERS for c in itertools.combinations(LAYERS, n)]
PENALTIES = [10.0**power for power in range(-4, 9)]


def measurements() -> Iterator[shared.Measurement]:
    yield {"images": IMAGES, "data": "maps", "grid": GRID, "seed": SEED}, measure


def image_pairs() -> list[PairBatch]:
    source = FolderPairs(str(shared.data_root() / "maps"), "side_by_side", "BtoA", "train", "val")
    dataset = PairDataset(source, source.ids("train")[:IMAGES], 256)
    return list(dataset.full_size())


class Stopwatch:
    """Seconds of each named part, for every image."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds.setdefault(part, []).append(time.perf_counter() - start)
        return result

    def median(self, *parts: str) -> float:
        """Of the sum of some parts."""
        return statistics.median(map(sum, zip(*(self.seconds[p] for p in parts), strict=True)))


def training_rows(image_id: str) -> tuple[np.ndarray, np.ndarray]:
    order = pixel_order(image_id, SEED, GRID * GRID)
    (held_out,) = PixelProtocol().held_out(GRID * GRID)
    return order[: held_out.start], order[held_out]


def upsampled(maps: list[torch.Tensor]) -> np.ndarray:
    """All columns (P, 3840), as the released code makes them."""
    resized = [
        skimage_resize(m[0].permute(1, 2, 0).double().numpy(), (GRID, GRID)).reshape(GRID**2, -1)
        for m in maps
    ]
    return np.concatenate(resized, axis=1)


def released(watch: Stopwatch, backbone: Backbone, pair: PairBatch) -> float:
    maps = watch(
        "released: backbone",
        lambda: backbone.features(prepare(pair.x, "official", GRID), LAYERS),
    )
    picture = Image.fromarray((pair.y[0] * 255).round().byte().permute(1, 2, 0).numpy())

    def resized() -> tuple[np.ndarray, np.ndarray]:
        target = np.asarray(picture.resize((GRID, GRID))).reshape(GRID**2, 3) / 255
        return upsampled(maps), target

    columns, target = watch("released: resizing", resized)
    train, test = training_rows(pair.ids[0])

    def fit() -> float:
        mean, level = columns[train].mean(axis=0), target[train].mean(axis=0)
        weights, *_ = lstsq(columns[train] - mean, target[train] - level, cond=1e-6)
        return float(np.abs((columns[test] - mean) @ weights + level - target[test]).mean())

    return float(watch("released: fit", fit))


def ours(
    watch: Stopwatch, name: str, backbone: Backbone, pair: PairBatch, ridge: float, preprocess: str
) -> float:
    maps = watch(
        f"{name}: backbone",
        lambda: backbone.features(prepare(pair.x, preprocess, GRID), LAYERS),
    )

    def factors() -> FactorBatch:
        # What `extract` does after the backbone.
        found = {k: compact_factor(m) for k, m in zip(LAYERS, maps, strict=True)}
        return FactorBatch(pair.ids, found, target_pixels(pair.y, preprocess, GRID))

    batch = watch(f"{name}: factors", factors)
    settings = [Setting(LAYERS, ridge)]
    scores = watch(f"{name}: fit", lambda: score_batch(batch, settings, PixelProtocol(), SEED))
    return float(scores.score[0, 0, 0])


def grid_by_us(batch: FactorBatch) -> float:
    settings = [Setting(subset, ridge) for subset in SUBSETS for ridge in PENALTIES]
    start = time.perf_counter()
    score_batch(batch, settings, PixelProtocol(), SEED)
    return time.perf_counter() - start


def grid_by_sklearn(maps: list[torch.Tensor], target: np.ndarray, image_id: str) -> float:
    """Every point refitted on all columns; building them is not counted."""
    blocks = [upsampled([m]) for m in maps]
    train, test = training_rows(image_id)
    seconds = 0.0
    points = list(itertools.product(SUBSETS, PENALTIES))
    for subset, ridge in progress(points, "refitting with scikit-learn", "points"):
        columns = np.concatenate([blocks[k - 1] for k in subset], axis=1)
        start = time.perf_counter()
        model = Ridge(alpha=ridge).fit(columns[train], target[train])
        np.abs(model.predict(columns[test]) - target[test]).mean()
        seconds += time.perf_counter() - start
    return seconds


def float32_errors(wide: Backbone, pairs: list[PairBatch]) -> Iterator[tuple[str, float, str]]:
    """How far float32 moves a score, as a share of it; nothing where it is refused."""
    for name, backbone in (
        ("Wide-ResNet", wide),
        ("Lite0", Backbone("tf_efficientnet_lite0", "packaged")),
    ):
        batches = [extract(backbone, pair, LAYERS, grid_size=GRID) for pair in pairs]
        for ridge in (1e-2, 1.0, 1e2, 1e4):  # penalty 0 is solved in float64 in any case
            moved = []
            for batch in batches:
                arguments = batch, [Setting(LAYERS, ridge)], PixelProtocol(), SEED
                with contextlib.suppress(UserError):
                    single = score_batch(*arguments, torch.float32).score
                    moved.append(float(np.abs(single / score_batch(*arguments).score - 1).max()))
            what = f"float32, {name}, ridge {ridge:g}"
            if moved:
                yield what, max(moved), "largest change of a score, as a share of it"
            if refused := len(batches) - len(moved):
                yield what, refused, "images refused: the penalty drowns in rounding"


def measure() -> Iterator[dict[str, str]]:
    for what, value, unit in timed(image_pairs()):
        yield {"what": what, "value": f"{value:.4g}", "unit": unit}


def timed(pairs: list[PairBatch]) -> Iterator[tuple[str, float, str]]:
    backbone = Backbone("wide_resnet50_2.tv_in1k", "random")
    watch = Stopwatch()
    rivals = [
        lambda watch, pair: released(watch, backbone, pair),
        lambda watch, pair: ours(watch, "ours, ridge 1", backbone, pair, 1.0, "aligned"),
        lambda watch, pair: ours(watch, "ours, ridge 0, official", backbone, pair, 0.0, "official"),
    ]
    scores: dict[int, list[float]] = {}
    # In turns, but several images a turn, as each would be used: the threads of one library spin
    # for a while after a call, and would slow the first image of the next rival.
    turns = [pairs[start : start + TURN] for start in range(0, len(pairs), TURN)]
    for turn in progress(turns, "timing", "turns"):
        for number, rival in enumerate(rivals):
            rival(Stopwatch(), turn[0])  # warming up
            scores.setdefault(number, []).extend(rival(watch, pair) for pair in turn)
    for part, seconds in watch.seconds.items():
        yield part, statistics.median(seconds), "s, median over images"
    parts = {
        name: [p for p in watch.seconds if p.startswith(f"{name}:")]
        for name in ("released", "ours, ridge 1", "ours, ridge 0, official")
    }
    total = {name: watch.median(*found) for name, found in parts.items()}
    probe = {
        name: watch.median(*(p for p in found if not p.endswith("backbone")))
        for name, found in parts.items()
    }
    fit = {name: watch.median(f"{name}: fit") for name in parts}
    for name in ("ours, ridge 1", "ours, ridge 0, official"):
        yield f"{name}: end to end", total["released"] / total[name], "times faster"
        yield f"{name}: probe, from feature maps", probe["released"] / probe[name], "times faster"
        yield f"{name}: fit alone", fit["released"] / fit[name], "times faster"
    differences = np.abs(np.subtract(scores[0], scores[2]))
    yield "largest difference of scores, ridge 0", float(differences.max()), "score"
    yield from float32_errors(backbone, pairs)

    pair = pairs[-1]
    batch = extract(backbone, pair, LAYERS, grid_size=GRID)
    maps = backbone.features(prepare(pair.x, "aligned", GRID), LAYERS)
    passes = watch.seconds["ours, ridge 1: backbone"]
    mine = statistics.median(grid_by_us(batch) for _ in range(5))
    target = batch.target[0].flatten(1).T.double().numpy()
    theirs = grid_by_sklearn(maps, target, pair.ids[0])
    points = f"{len(SUBSETS)} subsets x {len(PENALTIES)} penalties"
    yield "grid: ours", mine, f"s, {points}"
    yield "grid: scikit-learn", theirs, f"s, {points}"
    yield "grid: ours in backbone passes", mine / statistics.median(passes), "passes"
