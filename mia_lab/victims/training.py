"""Training of a victim with Lightning; a resumed training on the CPU is bit-equal."""

from __future__ import annotations

import csv
import io
import logging
import shutil
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader

from mia_lab.data.dataset import PairDataset, training_loader
from mia_lab.data.decoded import Item
from mia_lab.errors import UserError
from mia_lab.hardware import enough_gpu_memory, torch_device
from mia_lab.store.disk import write_file
from mia_lab.victims.callbacks import History, Preemption, Snapshots, TimedCheckpoint
from mia_lab.victims.distributed import GlobalBatchNorm, launch
from mia_lab.victims.files import CHECKPOINT_FILE, GENERATOR_FILE, LOSSES_FILE, export, recipe
from mia_lab.victims.resume import WholeCheckpoints, intact_checkpoint
from mia_lab.victims.settings import EpochHook, TrainingSettings

CHECKPOINTS = "resume"
"""Folder of the checkpoints that an interrupted training resumes from."""

log = logging.getLogger(__name__)

_HARMLESS_WARNINGS = (
    ".*does not have many workers.*",  # pictures are decoded once and cached in memory
    ".*available but not used.*",  # trainer=cpu on a machine with a GPU
    ".*exists and is not empty.*",  # the folder holds the checkpoint of the resume
    ".*dirpath has changed.*",  # another process wrote the checkpoint
    ".*`srun` command is available.*",  # a process of mia_lab on a machine of a cluster
    ".*LeafSpec.*",  # Lightning on torch 2.15
    ".*a Tensor that is not a leaf.*",  # torch.compile inspects the inputs of a network
    ".*did not find any unused parameters.*",  # a victim with a single network
)


def train(
    module: pl.LightningModule,
    dataset: PairDataset,
    folder: Path,
    settings: TrainingSettings,
    on_epoch: EpochHook | None = None,
) -> None:
    """Train a victim on a dataset and export it; resume if there is a checkpoint.

    Writes `GENERATOR_FILE` (the generator with its configuration), `CHECKPOINT_FILE` (all weights,
    for Lightning), `LOSSES_FILE` and the snapshots of `snapshot_file` to the folder.

    Several processes share each batch; gradients, losses and batch norm are those of the whole
    batch. Random layers such as dropout draw other numbers than in a single process.

    Args:
        module: a victim with a ``generator`` and the hyper-parameters ``epochs``, ``batch_size``
            and ``seed``, and optionally ``keep_epochs`` and ``input_encoding``. Training in several
            processes does not change it; the weights are in the folder.
        dataset: the members.
        folder: working folder; may hold the checkpoint of an interrupted training.
        settings: devices, precision, and the least time between two checkpoints.
        on_epoch: called after every epoch with its number, mean losses and the module; not called
            if several processes train.

    Raises:
        UserError: the devices do not fit, the disk is full, the GPU has too little memory, or a
            training process was killed.
        SystemExit: a signal stopped the training; the checkpoint remains.
    """
    _check_devices(module, settings)
    resume = intact_checkpoint(folder / CHECKPOINTS)  # one choice for all processes
    if settings.processes > 1:
        launch(_train, settings.processes, module, dataset, folder, settings, resume)
    else:
        _train(0, module, dataset, folder, settings, resume, on_epoch)


def _check_devices(module: pl.LightningModule, settings: TrainingSettings) -> None:
    devices, batch_size = settings.devices, module.hparams["batch_size"]
    if settings.strategy != "ddp" and devices > 1:
        raise UserError(
            f"trainer.devices={devices}: needs trainer=ddp; use trainer=ddp or trainer.devices=1"
        )
    if batch_size % devices:
        raise UserError(
            f"trainer.devices={devices}: cannot divide victim.batch_size={batch_size} into equal "
            "parts; change one of them"
        )
    on_gpu = torch_device(settings.accelerator).type == "cuda"
    if on_gpu and devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={devices}: {torch.cuda.device_count()} GPUs are visible; use fewer "
            "devices, or trainer.accelerator=cpu"
        )


def _train(
    rank: int,
    module: pl.LightningModule,
    dataset: PairDataset,
    folder: Path,
    settings: TrainingSettings,
    resume: Path | None,
    on_epoch: EpochHook | None = None,
) -> None:
    """Train in one process; the process of rank 0 writes the files."""
    hparams = module.hparams
    loader = _loader(module, dataset, settings, rank)
    checkpoints = folder / CHECKPOINTS
    encoding = hparams.get("input_encoding", "rgb")
    generator = cast(nn.Module, module.generator)
    history, preemption = History(hparams["epochs"] * len(loader), on_epoch), Preemption()
    callbacks = [
        history,
        Snapshots(folder, hparams.get("keep_epochs", ()), encoding),
        TimedCheckpoint(checkpoints, settings.checkpoint_every_s),
        preemption,
    ]
    with quiet_lightning(), prepared(module, settings), preemption.handles_signals():
        trainer = pl.Trainer(
            max_epochs=hparams["epochs"],
            callbacks=callbacks,
            default_root_dir=folder,
            **hardware(settings, WholeCheckpoints(recipe(generator, encoding))),
        )
        try:
            with enough_gpu_memory("set a smaller victim.batch_size or data.image_size"):
                trainer.fit(module, loader, ckpt_path=resume)
        except SystemExit as stop:  # Lightning raises it for SIGINT (code 1) and SIGTERM (no code)
            log.warning(
                "training stopped; run the same command again to resume from the last checkpoint"
            )
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from stop
        trainer.save_checkpoint(folder / CHECKPOINT_FILE, weights_only=True)
    if rank == 0:
        export(generator, folder / GENERATOR_FILE, encoding)
        _write_losses(folder / LOSSES_FILE, history.rows)
        shutil.rmtree(checkpoints, ignore_errors=True)


def _loader(
    module: pl.LightningModule, dataset: PairDataset, settings: TrainingSettings, rank: int
) -> DataLoader[Item]:
    """Batches of a training process, from the module's ``training_loader`` if it has one."""
    hparams, n = module.hparams, settings.processes
    if not hasattr(module, "training_loader"):
        size, seed = hparams["batch_size"] // n, hparams["seed"]
        return training_loader(dataset, size, seed, settings.workers, rank, n)
    if n > 1:
        raise UserError(
            f"trainer.devices={n}: {type(module).__name__} draws its own batches in one process; "
            "use trainer.devices=1"
        )
    own: DataLoader[Item] = cast(Any, module).training_loader(dataset)
    return own


def hardware(settings: TrainingSettings, checkpoints: WholeCheckpoints) -> dict[str, Any]:
    """Arguments of Lightning's trainer."""
    device, several = torch_device(settings.accelerator).type, settings.processes > 1
    plugins: list[Any] = [checkpoints, LightningEnvironment()]
    if several and device == "cpu":
        plugins.append(GlobalBatchNorm())
    # A step of one network does not use the parameters of the other.
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
    """Set a module and PyTorch's flags for speed within the context, and restore them afterwards.

    On GPUs: channels last; cuDNN chooses the fastest algorithms, so that two trainings are equal
    only up to rounding; float32 matrix products may use TF32, as convolutions do by default. On the
    CPU channels last was slower at demo scale. With ``compile`` the networks are compiled in place;
    their state dicts do not change.

    Raises:
        UserError: the networks cannot be compiled.
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
                f"trainer.compile=true: torch.compile fails on this machine ({reason}); "
                "use trainer.compile=false"
            ) from error
        raise
    finally:
        for network in networks:
            network._compiled_call_impl = None  # PyTorch has no public function for this
        if on_gpu:
            module.to(memory_format=torch.contiguous_format)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_float32_matmul_precision(products)


def _write_losses(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue())


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide hints, device banners and harmless warnings."""
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
