"""Callbacks of a training: history, checkpoints, snapshots, and preemption."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn
from tqdm import tqdm

from mia_lab.progress import progress_bar
from mia_lab.victims.files import export, snapshot_file
from mia_lab.victims.settings import EpochHook

log = logging.getLogger(__name__)

PATIENCE = 20
"""Least ratio between the interval of checkpoints and the time that writing one takes."""


class History(Callback):
    """Records the mean losses of every epoch, also across a resume, and shows a progress bar."""

    def __init__(self, total: int, on_epoch: EpochHook | None) -> None:
        self.rows: list[dict[str, float]] = []
        self._total = total
        self._on_epoch = on_epoch
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        done = len(self.rows) * int(trainer.num_training_batches)
        if self.rows:
            log.info("training resumes after epoch %d", len(self.rows))
        self._bar = progress_bar(
            "training", self._total, "steps", initial=done, disable=not trainer.is_global_zero
        )

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        assert self._bar is not None
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {k: float(v) for k, v in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, **losses})
        assert self._bar is not None
        shown = "".join(f", {k} {losses[k]:.4f}" for k in ("l1", "loss") if k in losses)
        self._bar.set_description(f"training, epoch {epoch}{shown}")
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


class TimedCheckpoint(ModelCheckpoint):
    """Writes a checkpoint after an epoch, and limits the share of time spent on writing.

    Two checkpoints are at least ``every_s`` seconds apart, and at least `PATIENCE` times as long as
    the last one took to write. With ``every_s`` 0 every epoch is saved. Lightning ignores its own
    ``train_time_interval`` under manual optimisation.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        super().__init__(folder, filename="last", save_top_k=1, enable_version_counter=False)
        self._wait_s = self._every_s = every_s
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        start = time.monotonic()
        due: bool = trainer.strategy.broadcast(start - self._saved >= self._wait_s)
        if due:  # the clock of the first process decides, so that all processes save together
            super().on_train_epoch_end(trainer, pl_module)
            self._saved = time.monotonic()
            if self._every_s:
                self._wait_s = max(self._every_s, PATIENCE * (self._saved - start))


class Snapshots(Callback):
    """Saves the generator after the given epochs, counted from 1.

    Lightning saves checkpoints after it has run all other callbacks, so a resumed training has the
    snapshots of all earlier epochs.
    """

    def __init__(self, folder: Path, epochs: Collection[int], input_encoding: str) -> None:
        self._folder = folder
        self._epochs = epochs
        self._input_encoding = input_encoding

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and epoch in self._epochs:
            generator = cast(nn.Module, pl_module.generator)
            export(generator, self._folder / snapshot_file(epoch), self._input_encoding)


class Preemption(Callback):
    """Stops training between two steps after SIGUSR1 or SIGUSR2, the warnings of a cluster.

    A signal that has a handler already, such as that of a cluster's launcher, is left to it.
    """

    def __init__(self) -> None:
        self._received = 0

    @contextmanager
    def handles_signals(self) -> Iterator[None]:
        """Handle the signals within the context."""
        with unless_handled(self._receive, signal.SIGUSR1, signal.SIGUSR2):
            yield

    def _receive(self, number: int, _: object) -> None:
        self._received = number

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        if self._received:
            raise SystemExit(128 + self._received)


@contextmanager
def unless_handled(handler: Callable[[int, Any], None], *signals: signal.Signals) -> Iterator[None]:
    """Handle, within the context, the signals that have no handler yet."""
    free = [s for s in signals if signal.getsignal(s) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        free = []  # Python handles signals in the main thread only
    for number in free:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)
