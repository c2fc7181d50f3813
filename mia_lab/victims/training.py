"""Training a victim with Lightning: resumable at every checkpoint, bit for bit on the CPU."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.victims.blackbox import torch_device

log = logging.getLogger(__name__)

GENERATOR_FILE = "victim.safetensors"
CHECKPOINT_FILE = "victim.ckpt"
LOSSES_FILE = "losses.csv"

PATIENCE = 20
"""Writing checkpoints takes at most about one part in so many of a training's time."""

_HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # pictures are decoded once and kept in memory
    ".*available but not used.*",  # trainer=cpu on a machine with a GPU
    ".*exists and is not empty.*",  # the checkpoint we resume from
    ".*LeafSpec.*",  # Lightning on torch 2.15
)

EpochHook = Callable[[int, Mapping[str, float], pl.LightningModule], None]


@dataclass(frozen=True)
class TrainingSettings:
    """Where and how training runs, none of it the victim's own; see ``conf/trainer``."""

    accelerator: str = "auto"
    precision: str = "32-true"
    checkpoint_every_s: float = 2.0


def train(
    module: pl.LightningModule,
    dataset: PairDataset,
    folder: Path,
    settings: TrainingSettings,
    on_epoch: EpochHook | None = None,
) -> None:
    """Train a victim on a dataset and export it; go on where an interrupted training stopped.

    Writes `GENERATOR_FILE` (the generator with its configuration), `CHECKPOINT_FILE` (all weights,
    for Lightning) and `LOSSES_FILE` to the folder.

    Args:
        module: a victim with a ``generator`` and the hyper-parameters ``epochs``, ``batch_size``
            and ``seed``.
        dataset: the members.
        folder: where to work; may hold the checkpoint of an interrupted training.
        settings: devices, precision, and the least time between two checkpoints.
        on_epoch: called after every epoch with its number, mean losses and the module.
    """
    loader = training_loader(dataset, module.hparams["batch_size"], module.hparams["seed"])
    resume = folder / "resume" / "last.ckpt"
    history = _History(module.hparams["epochs"] * len(loader), on_epoch)
    with warnings.catch_warnings(), _quiet_lightning():
        for harmless in _HARMLESS_WARNINGS:
            warnings.filterwarnings("ignore", message=harmless)
        trainer = pl.Trainer(
            max_epochs=module.hparams["epochs"],
            accelerator=torch_device(settings.accelerator).type,
            devices=1,
            precision=settings.precision,  # type: ignore[arg-type]
            plugins=[_AtomicCheckpoints(), LightningEnvironment()],
            callbacks=[history, _TimedCheckpoint(resume.parent, settings.checkpoint_every_s)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        try:
            trainer.fit(module, loader, ckpt_path=str(resume) if resume.exists() else None)
        except SystemExit as stop:  # what Lightning makes of SIGINT (code 1) and SIGTERM (no code)
            log.warning("training was stopped; the same command goes on from its last checkpoint")
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        trainer.save_checkpoint(folder / CHECKPOINT_FILE, weights_only=True)
    export(cast(nn.Module, module.generator), folder / GENERATOR_FILE)
    _write_losses(folder / LOSSES_FILE, history.rows)
    shutil.rmtree(resume.parent, ignore_errors=True)


def export(generator: nn.Module, path: Path) -> None:
    """Save a generator as safetensors, with the name and arguments that build it again."""
    recipe = {
        "architecture": type(generator).__name__,
        "arguments": getattr(generator, "arguments", {}),
    }
    # One entry only: the file format shuffles them, and equal victims shall be equal files.
    metadata = {"generator": json.dumps(recipe, sort_keys=True)}
    tensors = {k: v.cpu().contiguous() for k, v in generator.state_dict().items()}
    path.write_bytes(save(tensors, metadata=metadata))  # save_file would make it private to us


def _write_losses(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide hints and device banners; warnings stay."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _History(Callback):
    """Mean losses of every epoch, kept through a resume, and one progress bar for all epochs."""

    def __init__(self, total: int, on_epoch: EpochHook | None) -> None:
        self.rows: list[dict[str, float]] = []
        self._total = total
        self._on_epoch = on_epoch
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        done = len(self.rows) * int(trainer.num_training_batches)
        if self.rows:
            log.info("training goes on after epoch %d", len(self.rows))
        self._bar = tqdm(total=self._total, initial=done, desc="training", unit=" steps")

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        assert self._bar is not None
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {k: float(v) for k, v in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, **losses})
        assert self._bar is not None
        self._bar.set_description(f"training, epoch {epoch}, l1 {losses.get('l1', 0):.4f}")
        if self._on_epoch is not None:
            self._on_epoch(epoch, losses, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_exception(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


class _TimedCheckpoint(ModelCheckpoint):
    """Keeps the last epoch on disk, without spending much of the time on writing it.

    It waits at least ``every_s`` seconds, and `PATIENCE` times what the last writing took; 0
    saves every epoch.
    Lightning's own ``train_time_interval`` is ignored under manual optimisation.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        super().__init__(folder, filename="last", save_top_k=1, enable_version_counter=False)
        self._wait_s = self._every_s = every_s
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start = time.monotonic()
        if start - self._saved >= self._wait_s:
            super().on_train_epoch_end(trainer, pl_module)
            self._saved = time.monotonic()
            if self._every_s:
                self._wait_s = max(self._every_s, PATIENCE * (self._saved - start))


class _AtomicCheckpoints(TorchCheckpointIO):
    """A checkpoint appears complete or not at all, whatever the file system."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        torch.save(checkpoint, partial)
        partial.replace(target)
