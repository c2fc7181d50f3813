"""A process of the store's stress test: computes, reads back, sometimes prunes, until killed."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from made_stages import MadeStage
from mia_lab.store import Store

SIZE = 20_000


def content(key: str, part: int) -> np.ndarray:
    """What an entry of a key holds."""
    seed = int.from_bytes(hashlib.sha256(f"{key}{part}".encode()).digest()[:8])
    return np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)


def compute(key: str, folder: Path) -> None:
    for part in range(3):
        np.save(folder / f"{part}.npy", content(key, part))
        time.sleep(random.uniform(0, 0.01))


def stage(name: str, number: int, is_resumable: bool = False) -> MadeStage:
    """A stage that writes what its key says."""
    plain = MadeStage(name, given={"n": number}, is_resumable=is_resumable)
    return replace(plain, make=partial(compute, plain.key))


STAGES = [stage("kept", n, n % 2 == 0) for n in range(12)]
PRUNED = [stage("pruned", n) for n in range(12)]


def check(folder: Path, key: str, hold_s: float) -> None:
    maps = [np.load(folder / f"{part}.npy", mmap_mode="r") for part in range(3)]
    time.sleep(hold_s)
    for part, seen in enumerate(maps):
        assert (seen == content(key, part)).all(), f"{folder}: corrupt"
        again = np.load(folder / f"{part}.npy")
        assert (again == seen).all(), f"{folder}: changed while in use"


def work(root: Path, notes: Path, prunes: bool) -> None:
    """Jobs of a few stages each, noted once they are done."""
    random.seed()
    while True:
        with Store(root) as store:
            reads = []
            for stage in random.sample([*STAGES, *PRUNED], 4):
                start = time.perf_counter()
                folder = store.folder(stage)
                reads.append([stage.name, stage.key, time.perf_counter() - start])
                check(folder, stage.key, random.uniform(0, 0.01))
            for stage_name, key, _ in reads:
                check(root / stage_name / key, key, 0)
        removed = 0
        if prunes:
            with Store(root) as pruner:
                victims = [e for e in pruner.entries() if e.stage == "pruned"]
                removed = sum(pruner.remove(e) for e in victims)
                pruner.tidy()
        with notes.open("a") as file:
            file.write(json.dumps({"reads": reads, "removed": removed}) + "\n")


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "prunes")
