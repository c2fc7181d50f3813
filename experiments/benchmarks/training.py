"""Training pix2pix with mia_lab against the loop that one writes by hand, in one run, in turns.

Both train the same networks, from the same weights, on the same decoded pairs, with the same
losses. The rival is a plain float32 loop in PyTorch, with its defaults: a DataLoader, Adam, the two
updates of the reference implementation; once more with fused updates, which ours has. Ours is
`train()` as an audit calls it, with checkpoints and history. Rates leave out the first epoch, which
warms up.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import shared
from mia_lab.data.dataset import PairDataset, collate
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.hardware import resolve_precision
from mia_lab.progress import progress
from mia_lab.types import PairBatch
from mia_lab.victims.files import LOSSES_FILE
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train

PEAK_TFLOPS = {"H200": (989.0, 495.0), "H100": (989.0, 495.0), "A100": (312.0, 156.0)}
"""Of dense 16-bit and of TF32 products, by a part of the device's name (its maker's figures)."""

LOSSES = ("l1", "generator_gan", "discriminator")


@dataclass(frozen=True)
class Settings:
    """What is trained, how often, and on what."""

    accelerator: str = "cpu"
    image_size: int = 64
    width: int = 32
    batch_size: int = 4
    precision: str = "auto"
    compile: bool = False
    images: int = 100
    epochs: int = 4
    turns: int = 5
    seed: int = 0

    @property
    def device(self) -> str:
        """As PyTorch calls it."""
        return "cuda" if self.accelerator == "gpu" else "cpu"


ON_GPU = (
    Settings("gpu", image_size=256, width=64, batch_size=1),
    Settings("gpu", image_size=256, width=64, batch_size=16),
    Settings("gpu", image_size=256, width=64, batch_size=16, compile=True),
)
"""Published sizes, and the published batch."""


def on_cpu() -> Iterator[shared.Measurement]:
    yield asdict(Settings()), partial(measure, Settings())


def on_gpu() -> Iterator[shared.Measurement]:
    """None where there is no GPU."""
    for asked in ON_GPU if torch.cuda.is_available() else ():
        yield asdict(asked), partial(measure, asked)


def victim(asked: Settings) -> Pix2Pix:
    return Pix2Pix(
        image_size=asked.image_size,
        in_channels=3,
        out_channels=3,
        width=asked.width,
        discriminator_width=asked.width,
        dropout=0.5,
        lambda_l1=100.0,
        learning_rate=2e-4,
        beta1=0.5,
        epochs=asked.epochs,
        decay_fraction=0.0,
        batch_size=asked.batch_size,
        load_scale=1.0,
        flip=False,
        seed=asked.seed,
    )


class PlainLoop:
    """What the reference implementation does, written out; ``fused`` updates as ours does."""

    def __init__(self, module: Pix2Pix, device: str, *, fused: bool = False) -> None:
        self.device = device
        self.generator = module.generator.to(device)
        self.discriminator = module.discriminator.to(device)
        self.optimizer_g, self.optimizer_d = (
            torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999), fused=fused)
            for network in (self.generator, self.discriminator)
        )
        self.gan, self.l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def step(self, batch: PairBatch) -> torch.Tensor:
        """One update of both networks; the losses of `LOSSES`."""
        x, y = batch.x.to(self.device) * 2 - 1, batch.y.to(self.device) * 2 - 1
        fake = self.generator(x)
        self.discriminator.requires_grad_(True)
        judged_fake = self.discriminator(torch.cat([x, fake.detach()], 1))
        judged_real = self.discriminator(torch.cat([x, y], 1))
        loss_fake = self.gan(judged_fake, torch.zeros_like(judged_fake))
        loss_d = (loss_fake + self.gan(judged_real, torch.ones_like(judged_real))) / 2
        self.optimizer_d.zero_grad()
        loss_d.backward()
        self.optimizer_d.step()

        self.discriminator.requires_grad_(False)
        judged = self.discriminator(torch.cat([x, fake], 1))
        loss_gan, loss_l1 = self.gan(judged, torch.ones_like(judged)), self.l1(fake, y)
        self.optimizer_g.zero_grad()
        (loss_gan + 100 * loss_l1).backward()
        self.optimizer_g.step()
        return torch.stack([loss_l1 / 2, loss_gan, loss_d]).detach()


def now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def by_hand(
    dataset: PairDataset, asked: Settings, *, fused: bool = False
) -> tuple[float, list[float]]:
    """Images a second, and the losses of the last epoch."""
    torch.manual_seed(asked.seed)
    loop = PlainLoop(victim(asked), asked.device, fused=fused)
    loader = DataLoader(dataset, asked.batch_size, shuffle=True, collate_fn=collate)
    marks = []
    for _ in range(asked.epochs):
        losses = [loop.step(batch) * len(batch) for batch in loader]
        means = (torch.stack(losses).sum(dim=0) / len(dataset)).tolist()
        marks.append(now(asked.device))
    return len(dataset) * (len(marks) - 1) / (marks[-1] - marks[0]), means


def ours(dataset: PairDataset, asked: Settings) -> tuple[float, list[float]]:
    """Images a second, and the losses of the last epoch."""
    precision = resolve_precision(asked.precision, asked.accelerator)
    settings = TrainingSettings(asked.accelerator, precision, compile=asked.compile)
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        module, path = victim(asked), Path(folder)
        train(module, dataset, path, settings, lambda *_: marks.append(now(asked.device)))
        with (path / LOSSES_FILE).open() as file:
            last = list(csv.DictReader(file))[-1]
    rate = len(dataset) * (len(marks) - 1) / (marks[-1] - marks[0])
    return rate, [float(last[name]) for name in LOSSES]


OURS = "ours"
RIVALS = {
    OURS: ours,
    "plain loop": by_hand,
    "plain loop, fused Adam": partial(by_hand, fused=True),
}


def flops_per_image(dataset: PairDataset, asked: Settings) -> float:
    loop = PlainLoop(victim(asked), asked.device)
    batch = next(dataset.batches(asked.batch_size))
    with FlopCounterMode(display=False) as counter:
        loop.step(batch)
    return counter.get_total_flops() / len(batch)


def shares_of_peak(
    rates: dict[str, float], flops: float, asked: Settings
) -> Iterator[tuple[str, float, str]]:
    """Of what a known GPU can do, in the precision of each."""
    for part, (half, tf32) in PEAK_TFLOPS.items():
        if part in torch.cuda.get_device_name():
            mine = tf32 if resolve_precision(asked.precision, "gpu") == "32-true" else half
            for name, rate in rates.items():
                peak = mine if name == OURS else tf32
                yield f"{name}: share of peak", rate * flops / peak / 1e12, f"of {peak:g} TFLOP/s"


def measure(asked: Settings) -> Iterator[dict[str, str]]:
    flags = (
        f"ours {resolve_precision(asked.precision, asked.accelerator)}; "
        f"plain loop: cuDNN TF32 {torch.backends.cudnn.allow_tf32}, "
        f"float32 products {torch.get_float32_matmul_precision()}, "
        f"cuDNN benchmark {torch.backends.cudnn.benchmark}, NCHW"
    )
    for what, value, unit in timed(asked):
        yield {"what": what, "value": f"{value:.4g}", "unit": unit, "flags": flags}


def timed(asked: Settings) -> Iterator[tuple[str, float, str]]:
    source = ProceduralPairs("facades", "BtoA", seed=asked.seed, n_train=asked.images, n_test=0)
    dataset = PairDataset(source, source.ids("train"), asked.image_size)
    for _ in dataset.batches(asked.images):
        pass  # decoded
    rates: dict[str, list[float]] = {name: [] for name in RIVALS}
    last: dict[str, list[list[float]]] = {name: [] for name in RIVALS}
    for turn in progress(range(asked.turns), "training in turns", "turns"):
        for name in RIVALS if turn % 2 else reversed(RIVALS):
            rate, losses = RIVALS[name](dataset, asked)
            rates[name].append(rate)
            last[name].append(losses)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in rates.items():
        yield name, medians[name], "images/s, median"
        for number, loss in enumerate(LOSSES):
            value = statistics.median(losses[number] for losses in last[name])
            yield f"{name}: {loss}", value, f"mean of epoch {asked.epochs}"
        if name != OURS:
            ratios = [ours / theirs for ours, theirs in zip(rates[OURS], found, strict=True)]
            yield f"{OURS} / {name}", statistics.median(ratios), "median of the turns' ratios"
            yield f"{OURS} / {name}, lowest", min(ratios), "of the turns"
            yield f"{OURS} / {name}, highest", max(ratios), "of the turns"
    flops = flops_per_image(dataset, asked)
    yield "operations", flops / 1e9, "GFLOP an image"
    if asked.accelerator == "gpu":
        yield from shares_of_peak(medians, flops, asked)
