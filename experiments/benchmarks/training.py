"""Training pix2pix with mia_lab against the loop that one writes by hand, in one run, in turns.

    python experiments/benchmarks/training.py                                     # two cores
    python experiments/benchmarks/training.py --device cuda --image-size 256 --width 64

Both train the same networks, from the same weights, on the same decoded pairs, with the same
losses. The rival is a plain float32 loop in PyTorch, with its defaults: a DataLoader, Adam, the two
updates of the reference implementation. Ours is `train()` as an audit calls it, with checkpoints
and history. Rates leave out the first epoch, which warms up. Adds to `training.csv` beside this
file.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from mia_lab.data.dataset import PairDataset, collate
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.hardware import resolve_precision
from mia_lab.types import PairBatch
from mia_lab.victims.filenames import LOSSES_FILE
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.training import TrainingSettings, train

HERE = Path(__file__).parent
PEAK_TFLOPS = {"H200": (989.0, 495.0), "H100": (989.0, 495.0), "A100": (312.0, 156.0)}
"""Of dense 16-bit and of TF32 products, by a part of the device's name (its maker's figures)."""

LOSSES = ("l1", "generator_gan", "discriminator")


def victim(options: argparse.Namespace) -> Pix2Pix:
    return Pix2Pix(
        image_size=options.image_size,
        in_channels=3,
        width=options.width,
        discriminator_width=options.width,
        dropout=0.5,
        lambda_l1=100.0,
        learning_rate=2e-4,
        beta1=0.5,
        epochs=options.epochs,
        decay_fraction=0.0,
        batch_size=options.batch_size,
        load_scale=1.0,
        flip=False,
        seed=0,
    )


class PlainLoop:
    """What the reference implementation does, written out."""

    def __init__(self, module: Pix2Pix, device: str) -> None:
        self.device = device
        self.generator = module.generator.to(device)
        self.discriminator = module.discriminator.to(device)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), 2e-4, (0.5, 0.999))
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


def by_hand(dataset: PairDataset, options: argparse.Namespace) -> tuple[float, list[float]]:
    """Images a second, and the losses of the last epoch."""
    torch.manual_seed(0)
    loop = PlainLoop(victim(options), options.device)
    loader = DataLoader(dataset, options.batch_size, shuffle=True, collate_fn=collate)
    marks = []
    for _ in range(options.epochs):
        losses = [loop.step(batch) * len(batch) for batch in loader]
        means = (torch.stack(losses).sum(dim=0) / len(dataset)).tolist()
        marks.append(now(options.device))
    return len(dataset) * (len(marks) - 1) / (marks[-1] - marks[0]), means


def ours(dataset: PairDataset, options: argparse.Namespace) -> tuple[float, list[float]]:
    """Images a second, and the losses of the last epoch."""
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    settings = TrainingSettings(
        accelerator, resolve_precision(options.precision, accelerator), compile=options.compile
    )
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        module, path = victim(options), Path(folder)
        train(module, dataset, path, settings, lambda *_: marks.append(now(options.device)))
        with (path / LOSSES_FILE).open() as file:
            last = list(csv.DictReader(file))[-1]
    rate = len(dataset) * (len(marks) - 1) / (marks[-1] - marks[0])
    return rate, [float(last[name]) for name in LOSSES]


def flops_per_image(dataset: PairDataset, options: argparse.Namespace) -> float:
    loop = PlainLoop(victim(options), options.device)
    batch = next(dataset.batches(options.batch_size))
    with FlopCounterMode(display=False) as counter:
        loop.step(batch)
    return counter.get_total_flops() / len(batch)


def shares_of_peak(
    mine: float, theirs: float, flops: float, options: argparse.Namespace
) -> Iterator[tuple[str, float, str]]:
    """Of what a known GPU can do, in the precision of each."""
    name = torch.cuda.get_device_name()
    for part, (half, tf32) in PEAK_TFLOPS.items():
        if part in name:
            peak = tf32 if resolve_precision(options.precision, "gpu") == "32-true" else half
            yield "ours: share of peak", mine * flops / peak / 1e12, f"of {peak:g} TFLOP/s"
            yield "plain loop: share of peak", theirs * flops / tf32 / 1e12, f"of {tf32:g} TFLOP/s"


def measure(options: argparse.Namespace) -> Iterator[tuple[str, float, str]]:
    source = ProceduralPairs("facades", "BtoA", seed=0, n_train=options.images, n_test=0)
    dataset = PairDataset(source, source.ids("train"), options.image_size)
    for _ in dataset.batches(options.images):
        pass  # decoded
    rates: dict[str, list[float]] = {"ours": [], "plain loop": []}
    last: dict[str, list[list[float]]] = {"ours": [], "plain loop": []}
    for turn in range(options.repeats):
        rivals = [("ours", ours), ("plain loop", by_hand)]
        for name, rival in rivals if turn % 2 else reversed(rivals):
            rate, losses = rival(dataset, options)
            rates[name].append(rate)
            last[name].append(losses)
    mine, theirs = (statistics.median(found) for found in rates.values())
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    yield "ours", mine, "images/s, median"
    yield "plain loop", theirs, "images/s, median"
    yield "ours / plain loop", statistics.median(ratios), "median of the turns' ratios"
    yield "ours / plain loop, lowest", min(ratios), "of the turns"
    yield "ours / plain loop, highest", max(ratios), "of the turns"
    for number, loss in enumerate(LOSSES):
        a, b = (statistics.median(row[number] for row in rows) for rows in last.values())
        yield f"{loss}, ours", a, f"mean of epoch {options.epochs}"
        yield f"{loss}, plain loop", b, f"mean of epoch {options.epochs}"
        yield f"{loss}, difference", a - b, "ours less plain loop"
    flops = flops_per_image(dataset, options)
    yield "operations", flops / 1e9, "GFLOP an image"
    if options.device == "cuda":
        yield from shares_of_peak(mine, theirs, flops, options)


def machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {options.threads} threads, CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--precision", default="auto", help="of ours; the loop's is float32")
    parser.add_argument("--compile", action="store_true", help="ours")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE / "training.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    flags = (
        f"plain loop: cuDNN TF32 {torch.backends.cudnn.allow_tf32}, "
        f"float32 products {torch.get_float32_matmul_precision()}, "
        f"cuDNN benchmark {torch.backends.cudnn.benchmark}, NCHW"
    )
    print(flags)
    settings = (
        f"{options.image_size} px, width {options.width}, batch {options.batch_size}, "
        f"ours {resolve_precision(options.precision, options.device.replace('cuda', 'gpu'))}"
        f"{', compiled' if options.compile else ''}; {flags}"
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    versions = f"torch {torch.__version__}, lightning {pl.__version__}"
    new = not options.output.exists()
    with options.output.open("a") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(["what", "value", "unit", "settings", "machine", "versions", "commit"])
        for what, value, unit in measure(options):
            row = [f"{value:.4g}", unit, settings, machine(options), versions, commit]
            writer.writerow([what, *row])
            print(f"{what:<32} {value:10.4g} {unit}")


if __name__ == "__main__":
    main()
