"""How long would the paper's trainings take here? `python measure.py` times ten steps a victim."""

from __future__ import annotations

import csv
import os
import platform
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from mia_lab.cli import CONF, prepare
from mia_lab.config.resolved import typed
from mia_lab.config.validate import validate
from mia_lab.run import commit
from mia_lab.stages import Stages
from mia_lab.store import Store

HERE = Path(__file__).parent
STEPS = 10

PER_EPOCH = f"data.n_members={STEPS} data.n_nonmembers={STEPS} data.n_auxiliary=0"


def measure(victim: str) -> dict[str, str]:
    """Time of ten steps of batch 1 at 256 px, the first ten left out."""
    prepare()
    asked = f"+experiment=facades_{victim} data.source=folder scale=paper scale.perceptual=lite0"
    few = f"{PER_EPOCH} victim.epochs=2 trainer.accelerator=cpu until=victim"
    overrides = [*f"{asked} {few}".split(), f"trainer.threads={os.cpu_count()}"]
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = typed(compose("config", [*overrides, f"paths.outputs={folder}"]))
        validate(config)
        with Store(Path(folder)) as store:
            Stages(config, store).victim(lambda *_: ended.append(time.perf_counter()))
    step = (ended[1] - ended[0]) / STEPS
    return {
        "victim": victim,
        "seconds_a_step": f"{step:.3f}",
        "overrides": " ".join(overrides),
        "seed": str(config.seed),
        "device": f"CPU, {platform.machine()}, {config.trainer.threads} threads",
        "torch": torch.__version__,
        "commit": commit(),
    }


def main() -> None:
    rows = [measure(victim) for victim in ("pix2pix", "pix2pixhd")]
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
