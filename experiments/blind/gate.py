"""Is the gate on the split right? `python gate.py real|power|null|draw|table`.

real: the published and the re-drawn splits of the datasets in MIA_LAB_DATA.
power: generated facades whose members were altered on purpose, by more and more.
null: 200 draws of members and non-members from one pool, where every alarm is a false one.
draw: the figure of the detections, from power.csv and null.csv. table: real.csv, for the README.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageEnhance
from tqdm import tqdm

from mia_lab.backbones.backbone import Backbone
from mia_lab.data import traces
from mia_lab.data.pairs import FolderPairs
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.data.source import Pair, PairSource
from mia_lab.data.splits import Counts, assign_official, assign_resplit
from mia_lab.data.transforms import resize
from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.difficulty_stages import POOLED, pool
from mia_lab.evaluation.blind import judge_split
from mia_lab.evaluation.decision import proportion_interval
from mia_lab.measures import Blind
from mia_lab.run import commit
from mia_lab.types import PairBatch

HERE = Path(__file__).parent
IMAGE_SIZE = 64
PERMUTATIONS = 200
COLUMNS = ("case", "seed", "n_members", "n_nonmembers", "verdict", "p_value", "best", "max",
           "upper95", "permutations")  # fmt: skip
BASELINES = ("difficulty", "features", "statistics", "jpeg", "file")
ORIGIN = {"device": f"CPU, {platform.machine()}", "commit": commit()}

REAL = {
    "facades": ("side_by_side", "BtoA", "test"),
    "maps": ("side_by_side", "BtoA", "val"),
    "cityscapes": ("two_folders", "AtoB", "test"),
}

Alter = Callable[[Image.Image], Image.Image]


class Seen:
    """What the gate looks at, image by image: difficulty and the features of each baseline."""

    def __init__(self) -> None:
        self._backbone = Backbone("tf_efficientnet_lite0", "packaged")
        self._scorer = SingleImageDifficulty(self._backbone)

    def __call__(
        self, source: PairSource, ids: Sequence[str], alter: Alter | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Difficulty (N,) and features (N, F) of each baseline; ``alter`` changes the targets."""
        files = getattr(source, "files", lambda _: ())
        rows: dict[str, traces.Columns] = {}
        difficulty, pooled = [], []
        for start in tqdm(range(0, len(ids), 16), "reading", unit=" batches", leave=False):
            part = ids[start : start + 16]
            pairs = [altered(source.load(i), alter) for i in part]
            for i, pair in zip(part, pairs, strict=True):
                rows[i] = traces.traces(pair, files(i))
            x, y = (
                torch.from_numpy(np.stack([resize(getattr(p, s), IMAGE_SIZE) for p in pairs]))
                for s in "xy"
            )
            batch = PairBatch(tuple(part), x.float() / 255, y.float() / 255)
            difficulty += self._scorer.score(self._scorer.factors([batch]), 0).mean()[:, 0].tolist()
            pooled.append(np.concatenate([pool(self._backbone, b) for b in (batch.x, batch.y)], 1))
        features = {POOLED: np.concatenate(pooled)} | traces.table(rows).sets(list(ids))
        return np.array(difficulty), features


def altered(pair: Pair, alter: Alter | None) -> Pair:
    return pair if alter is None else Pair(pair.x, alter(pair.y))


def brighter(percent: float) -> Alter:
    return lambda picture: ImageEnhance.Brightness(picture).enhance(1 + percent / 100)


def jpeg(quality: int) -> Alter:
    def alter(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return alter


def record(case: str, seed: int, found: Blind, truth: np.ndarray) -> dict[str, Any]:
    n = int(truth.sum())
    row = {
        "case": case,
        "seed": seed,
        "n_members": n,
        "n_nonmembers": len(truth) - n,
        "verdict": found.verdict.value,
        "p_value": round(found.p_value, 4),
        "best": found.best,
        "max": round(found.max, 4),
        "upper95": round(found.upper95, 4),
        "permutations": found.permutations,
    }
    return row | {e.name: round(e.auc, 4) for e in found.baselines}


def judged(
    difficulty: np.ndarray, features: Mapping[str, np.ndarray], truth: np.ndarray, seed: int
) -> Blind:
    ids = np.array([f"{i:06d}" for i in range(len(truth))])
    return judge_split(difficulty, features, ids, truth, seed=seed, permutations=PERMUTATIONS)


def real() -> Iterator[dict[str, Any]]:
    """300 + 300 images where there are as many, as published and re-drawn."""
    root, seen = Path(os.environ["MIA_LAB_DATA"]), Seen()
    for name, (layout, direction, test) in REAL.items():
        source = FolderPairs(str(root / name), layout, direction, "train", test)
        train, others = source.ids("train"), source.ids("test")
        n = min(300, len(others))
        half = min(300, len(train) // 2)
        splits = {
            "official": assign_official(train, others, Counts(n, n, 0), 0),
            "resplit": assign_resplit(train, Counts(half, half, 0), 0),
        }
        for protocol, rows in splits.items():
            ids = sorted(rows)
            truth = np.array([rows[i]["role"] == "member" for i in ids])
            yield record(f"{name} {protocol}", 0, judged(*seen(source, ids), truth, 0), truth)


def power(pool_size: int = 600, n: int = 100, seeds: int = 10) -> Iterator[dict[str, Any]]:
    """n + n generated facades; the members' targets were altered before anyone looks."""
    source = ProceduralPairs("facades", "BtoA", 0, pool_size, 0)
    ids, seen = source.ids("train"), Seen()
    plain = seen(source, ids)
    cases: dict[str, tuple[Any, Any]] = {"nothing": (plain, plain)}
    for percent in (2, 5, 10, 20):
        cases[f"brightness {percent} %"] = (seen(source, ids, brighter(percent)), plain)
    cases["JPEG 75 against 95"] = (seen(source, ids, jpeg(75)), seen(source, ids, jpeg(95)))
    shift = plain[0].std()
    for share in (0.25, 0.5, 1.0):
        cases[f"difficulty {share:g} SD"] = ((plain[0] + share * shift, plain[1]), plain)
    for case, (members, others) in cases.items():
        for seed in tqdm(range(seeds), case, leave=False):
            chosen = np.random.default_rng(seed).permutation(pool_size)[: 2 * n]
            truth = np.arange(2 * n) < n
            difficulty = np.where(truth, members[0][chosen], others[0][chosen])
            features = {
                name: np.where(truth[:, None], members[1][name][chosen], others[1][name][chosen])
                for name in plain[1]
            }
            yield record(case, seed, judged(difficulty, features, truth, seed), truth)


def null(pool_size: int = 600, n: int = 100, draws: int = 200) -> Iterator[dict[str, Any]]:
    """Members and non-members of one pool, drawn again and again."""
    source = ProceduralPairs("facades", "BtoA", 0, pool_size, 0)
    difficulty, features = Seen()(source, source.ids("train"))
    truth = np.arange(2 * n) < n
    for seed in tqdm(range(draws), "null draws", leave=False):
        chosen = np.random.default_rng([1, seed]).permutation(pool_size)[: 2 * n]
        mine = {name: columns[chosen] for name, columns in features.items()}
        yield record("null", seed, judged(difficulty[chosen], mine, truth, seed), truth)


def read(part: str) -> list[dict[str, str]]:
    with (HERE / f"{part}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """The README's table of real pictures, in Markdown."""
    lines = [
        "| pictures at 64 px | images | verdict | p | best baseline | its AUC | 95 % upper bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name, protocol = row["case"].split()
        cells = [
            f"{name.capitalize()}, {protocol}",
            f"{row['n_members']} + {row['n_nonmembers']}",
            row["verdict"],
            f"{float(row['p_value']):.2g}",
            row["best"],
            f"{float(row['max']):.3f}",
            f"{float(row['upper95']):.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def alarms(rows: Sequence[Mapping[str, str]]) -> dict[str, tuple[int, int]]:
    """How often each case was called confounded, and of how many."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        hits, n = found.get(row["case"], (0, 0))
        found[row["case"]] = (hits + (row["verdict"] == "confounded"), n + 1)
    return found


def draw() -> None:
    """Share of draws that were called confounded, with Clopper-Pearson intervals."""
    counted = {
        "nothing (200 draws)": alarms(read("null"))["null"],
        **{case: c for case, c in alarms(read("power")).items() if case != "nothing"},
    }
    figure = Figure(figsize=(6, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for place, (hits, n) in enumerate(counted.values()):
        low, high = proportion_interval(hits, n)
        axes.plot([100 * low, 100 * high], [place, place], color="#0072B2", lw=2)
        axes.plot(100 * hits / n, place, "o", color="#0072B2", ms=6)
    axes.axvline(5, color="#6E6E6E", ls=":", lw=1.2)
    axes.text(6, -0.55, "5 %", fontsize=8, color="#6E6E6E", va="center")
    axes.set_yticks(range(len(counted)), list(counted))
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="called confounded (% of draws, 95 % interval)")
    axes.set_ylabel("what sets the members apart")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "power.png", metadata={"Software": None})


def main(parts: Sequence[str]) -> None:
    if "table" in parts:
        print(table(read("real")))
        return
    if "draw" in parts:
        draw()
        return
    for part in parts or ("real", "power", "null"):
        with (HERE / f"{part}.csv").open("w", newline="") as file:
            columns = (*COLUMNS, *BASELINES, *ORIGIN)
            writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
            writer.writeheader()
            for row in {"real": real, "power": power, "null": null}[part]():
                writer.writerow(row | ORIGIN)
                file.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
