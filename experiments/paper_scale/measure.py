"""Times ten steps of each victim's training at paper scale."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import shared
from mia_lab.config.compose import composed
from mia_lab.stages.graph import run_stages
from mia_lab.stages.victim import TrainedVictim
from mia_lab.store import Store

STEPS = 10

PER_EPOCH = f"data.n_members={STEPS} data.n_nonmembers={STEPS} data.n_auxiliary=0"


def measurements() -> Iterator[shared.Measurement]:
    """Both victims."""
    for victim in ("pix2pix", "pix2pixhd"):
        yield {"victim": victim, "steps": STEPS}, partial(measure, victim)


def measure(victim: str) -> list[dict[str, Any]]:
    """Time of ten steps of batch 1 at 256 px; the first ten and checkpoints are left out."""
    asked = f"+experiment=facades_{victim} data.source=folder scale=paper scale.perceptual=lite0"
    few = f"{PER_EPOCH} victim.epochs=2 trainer.checkpoint_every_s=3600 until=victim"
    where = f"trainer.accelerator=cpu trainer.threads={os.cpu_count()}"
    overrides = f"{asked} {few} {where}".split()
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        config = composed(*overrides, f"paths.outputs={folder}")
        torch.set_num_threads(config.trainer.threads)
        with Store(Path(folder)) as store:
            victim = run_stages(config).victim
            assert isinstance(victim, TrainedVictim)
            store.folder(replace(victim, on_epoch=lambda *_: ended.append(time.perf_counter())))
    step = (ended[1] - ended[0]) / STEPS
    return [
        {
            "seconds_a_step": f"{step:.3f}",
            "overrides": " ".join(overrides),
            "seed": config.seed,
        }
    ]
