"""Training a victim with Lightning: resumable at every checkpoint, bit for bit on the CPU."""

from __future__ import annotations

import csv
import io
import logging
import shutil
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader

from mia_lab.data.dataset import Item, PairDataset, training_loader
from mia_lab.errors import UserError
from mia_lab.hardware import torch_device
from mia_lab.store.disk import whole_file
from mia_lab.victims.callbacks import EpochHook, History, Preemption, Snapshots, TimedCheckpoint
from mia_lab.victims.distributed import GlobalBatchNorm, launch
from mia_lab.victims.filenames import CHECKPOINT_FILE, GENERATOR_FILE, LOSSES_FILE
from mia_lab.victims.files import WholeCheckpoints, export, recipe

__all__ = ["EpochHook", "TrainingSettings", "train"]

log = logging.getLogger(__name__)

_HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # pictures are decoded once and kept in memory
    ".*available but not used.*",  # trainer=cpu on a machine with a GPU
    ".*exists and is not empty.*",  # the checkpoint we resume from
    ".*dirpath has changed.*",  # that of another process, which began
    ".*`srun` command is available.*",  # a process of ours on a machine of a cluster
    ".*LeafSpec.*",  # Lightning on torch 2.15
    ".*a Tensor that is not a leaf.*",  # torch.compile looks at the inputs of a network
    ".*did not find any unused parameters.*",  # of a victim with one network
)


@dataclass(frozen=True)
class TrainingSettings:
    """Where and how training runs, none of it the victim's own; see ``conf/trainer``."""

    accelerator: str = "auto"
    precision: str = "32-true"
    checkpoint_every_s: float = 2.0
    strategy: str = "auto"
    devices: int = 1
    workers: int | None = None
    compile: bool = False

    @property
    def processes(self) -> int:
        return self.devices if self.strategy == "ddp" else 1


def train(
    module: pl.LightningModule,
    dataset: PairDataset,
    folder: Path,
    settings: TrainingSettings,
    on_epoch: EpochHook | None = None,
) -> None:
    """Train a victim on a dataset and export it; go on where an interrupted training stopped.

    Writes `GENERATOR_FILE` (the generator with its configuration), `CHECKPOINT_FILE` (all weights,
    for Lightning), `LOSSES_FILE` and the snapshots of `snapshot_file` to the folder.

    Several processes share each batch, and gradients, losses and batch norm are those of the whole
    batch. What is random in a network, such as dropout, differs from one process's.

    Args:
        module: a victim with a ``generator`` and the hyper-parameters ``epochs``, ``batch_size``
            and ``seed``, and perhaps ``keep_epochs`` and ``input_encoding``. After training in
            several processes it is as before: the weights are in the folder.
        dataset: the members.
        folder: where to work; may hold the checkpoint of an interrupted training.
        settings: devices, precision, and the least time between two checkpoints.
        on_epoch: called after every epoch with its number, mean losses and the module, unless
            several processes train.

    Raises:
        UserError: the devices do not fit, the disk is full, or a training process was killed.
        SystemExit: stopped by a signal; the checkpoint stays.
    """
    _check_devices(module, settings)
    if settings.processes > 1:
        launch(_train, settings.processes, module, dataset, folder, settings)
    else:
        _train(0, module, dataset, folder, settings, on_epoch)


def _check_devices(module: pl.LightningModule, settings: TrainingSettings) -> None:
    devices, batch_size = settings.devices, module.hparams["batch_size"]
    if settings.strategy != "ddp" and devices > 1:
        raise UserError(f"trainer.devices={devices}: several devices need trainer=ddp")
    if batch_size % devices:
        raise UserError(
            f"trainer.devices={devices}: cannot divide victim.batch_size={batch_size} into equal "
            "parts; change either"
        )
    on_gpu = torch_device(settings.accelerator).type == "cuda"
    if on_gpu and devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={devices}: {torch.cuda.device_count()} GPUs are visible here; "
            "use fewer, or trainer.accelerator=cpu"
        )


def _train(
    rank: int,
    module: pl.LightningModule,
    dataset: PairDataset,
    folder: Path,
    settings: TrainingSettings,
    on_epoch: EpochHook | None = None,
) -> None:
    """What every training process does; the first one writes."""
    hparams = module.hparams
    loader = _loader(module, dataset, settings, rank)
    resume = folder / "resume" / "last.ckpt"
    encoding = hparams.get("input_encoding", "rgb")
    generator = cast(nn.Module, module.generator)
    history, preemption = History(hparams["epochs"] * len(loader), on_epoch), Preemption()
    callbacks = [
        history,
        Snapshots(folder, hparams.get("keep_epochs", ()), encoding),
        TimedCheckpoint(resume.parent, settings.checkpoint_every_s),
        preemption,
    ]
    with _quiet_lightning(), prepared(module, settings), preemption.heeded():
        trainer = pl.Trainer(
            max_epochs=hparams["epochs"],
            callbacks=callbacks,
            default_root_dir=folder,
            **_hardware(settings, WholeCheckpoints(recipe(generator, encoding))),
        )
        try:
            trainer.fit(module, loader, ckpt_path=str(resume) if resume.exists() else None)
        except SystemExit as stop:  # what Lightning makes of SIGINT (code 1) and SIGTERM (no code)
            log.warning("training was stopped; the same command goes on from its last checkpoint")
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        trainer.save_checkpoint(folder / CHECKPOINT_FILE, weights_only=True)
    if rank == 0:
        export(generator, folder / GENERATOR_FILE, encoding)
        _write_losses(folder / LOSSES_FILE, history.rows)
        shutil.rmtree(resume.parent, ignore_errors=True)


def _loader(
    module: pl.LightningModule, dataset: PairDataset, settings: TrainingSettings, rank: int
) -> DataLoader[Item]:
    """Batches of a training process; a module may have a way of its own to draw them."""
    hparams, n = module.hparams, settings.processes
    if not hasattr(module, "training_loader"):
        size, seed = hparams["batch_size"] // n, hparams["seed"]
        return training_loader(dataset, size, seed, settings.workers, rank, n)
    if n > 1:
        raise UserError(
            f"trainer.devices={n}: {type(module).__name__} draws its batches itself, for one "
            "process; use trainer.devices=1"
        )
    own: DataLoader[Item] = cast(Any, module).training_loader(dataset)
    return own


def _hardware(settings: TrainingSettings, checkpoints: WholeCheckpoints) -> dict[str, Any]:
    """Arguments of Lightning's trainer."""
    device, several = torch_device(settings.accelerator).type, settings.processes > 1
    plugins: list[Any] = [checkpoints, LightningEnvironment()]
    if several and device == "cpu":
        plugins.append(GlobalBatchNorm())
    # The step of one network leaves the other's parameters unused.
    strategy = DDPStrategy(find_unused_parameters=True) if several else "auto"
    return {
        "accelerator": device,
        "strategy": strategy,
        "devices": settings.processes,
        "precision": settings.precision,
        "plugins": plugins,
        "sync_batchnorm": several and device == "cuda",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }


@contextmanager
def prepared(module: pl.LightningModule, settings: TrainingSettings) -> Iterator[None]:
    """Within, a module and PyTorch's flags are set for speed, and afterwards as they were.

    On GPUs: channels last; cuDNN picks the fastest algorithms, so that two trainings are equal only
    to rounding; float32 products may use TF32, as PyTorch lets convolutions anyway. On the CPU
    channels last was slower at demo scale. With ``compile`` the networks are compiled where they
    are; their state dicts stay the same.

    Raises:
        UserError: they cannot be compiled.
    """
    on_gpu = torch_device(settings.accelerator).type == "cuda"
    benchmark, products = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    networks = list(module.children()) if settings.compile else []
    try:
        if on_gpu:
            module.to(memory_format=torch.channels_last)
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        for network in networks:
            network.compile()
        yield
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"trainer.compile=true: torch.compile fails here ({reason}); "
                "use trainer.compile=false"
            ) from error
        raise
    finally:
        for network in networks:
            network._compiled_call_impl = None  # there is no public way back
        if on_gpu:
            module.to(memory_format=torch.contiguous_format)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_float32_matmul_precision(products)


def _write_losses(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode()
    with whole_file(path, len(content)) as file:
        file.write(content)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide hints and device banners; warnings stay, but for harmless ones."""
    loggers = [logging.getLogger(n) for n in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for harmless in _HARMLESS_WARNINGS:
                warnings.filterwarnings("ignore", message=harmless)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
