"""Training in several processes of one machine, started by the one that asked for it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from tqdm import tqdm

from mia_lab.errors import UserError
from mia_lab.victims.callbacks import unless_handled

log = logging.getLogger(__name__)

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""With which clusters announce the end."""

GRACE_S = 5.0
"""How long the other processes have to say what they know, when one has failed."""

Team = Sequence[tuple[SpawnProcess, Connection]]


def launch(work: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Run ``work(rank, *arguments)`` in new processes, which find each other through Lightning.

    They are spawned, as CUDA does not survive a fork, get copies of the arguments, and never
    outlive this process: a warning signal or an error here ends them at once.

    Args:
        work: a function of a module.
        processes: how many.
        arguments: anything that pickle takes.

    Raises:
        UserError: an argument cannot be copied, a process was killed, or met one.
        SystemExit: with 128 + n, on a warning signal n that nobody else handles.
    """
    try:
        payload = pickle.dumps((work, arguments))  # by value: torch's own would share the memory
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"trainer.strategy=ddp: data and victim cannot be sent to other processes ({error}); "
            "use trainer=auto"
        ) from error
    context = multiprocessing.get_context("spawn")
    place = (find_free_network_port(), torch.get_num_threads(), logging.getLogger().level)
    team: list[tuple[SpawnProcess, Connection]] = []
    log.info("training in %d processes", processes)
    try:
        with unless_handled(_exit, *WARNINGS):
            for rank in range(processes):
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_begin, args=(rank, *place, payload, sender))
                process.start()
                sender.close()
                team.append((process, receiver))
            _watch(team)
    finally:
        for process, _ in team:
            process.kill()  # checkpoints are written whole or not at all
            process.join()


def _exit(number: int, _: object) -> NoReturn:
    log.warning("training was stopped; the same command goes on from its last checkpoint")
    raise SystemExit(128 + number)


def _watch(team: Team) -> None:
    """Return when all have ended well; of many failures, raise the first cause."""
    running = [process for process, _ in team]
    while running and not any(process.exitcode for process, _ in team):
        wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    end = time.monotonic() + GRACE_S
    for process in running:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode or 0 for process, _ in team]
    if not any(codes):
        return
    for rank, code in enumerate(codes):
        if code < 0:
            raise UserError(
                f"trainer.devices={len(team)}: training process {rank} was killed by signal "
                f"{-code} (too little memory?); the same command goes on from its last checkpoint"
            )
    words = [receiver.recv() for _, receiver in team if receiver.poll()]
    for expected, text in sorted(words, reverse=True):
        raise UserError(text) if expected else RuntimeError(f"in a training process:\n{text}")
    raise RuntimeError("a training process ended without a word")


def _begin(
    rank: int, port: int, threads: int, level: int, payload: bytes, sender: Connection
) -> None:
    # The parent hears the signals meant for the group, and decides.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *WARNINGS))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    here = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in here.items()})
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # its own would outlive a killed process
    logging.basicConfig(format="%(message)s", level=level if rank == 0 else logging.ERROR)
    try:
        work, arguments = pickle.loads(payload)
        work(rank, *arguments)
        dist.destroy_process_group()
    except BaseException as error:
        expected = isinstance(error, UserError)
        sender.send((expected, str(error) if expected else traceback.format_exc()))
        os._exit(1)  # at once: an orderly end would wait for the others


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _SumOfProcesses(torch.autograd.Function):
    """The sum over all processes; each one's gradient is that of all their losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, equal in size; PyTorch has it on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)

        def mean(values: Tensor) -> Tensor:
            local = values.mean(dim=(0, 2, 3))
            total: Tensor = _SumOfProcesses.apply(local)
            return (total / dist.get_world_size())[:, None, None]

        level = mean(x)
        centred = x - level
        variance = mean(centred.square())
        out = centred * (variance + self.eps).rsqrt()
        self._learn(level, variance, x.numel() // x.shape[1])
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out

    @torch.no_grad()
    def _learn(self, mean: Tensor, variance: Tensor, n_local: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        n = n_local * dist.get_world_size()
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.flatten(), self.momentum)
        self.running_var.lerp_(variance.flatten() * (n / (n - 1)), self.momentum)


class GlobalBatchNorm(LayerSync):
    """Batch norm over all processes, on CPUs; Lightning's ``sync_batchnorm`` on GPUs."""

    def apply(self, model: nn.Module) -> nn.Module:
        for layer in model.modules():
            if type(layer) is nn.BatchNorm2d:
                layer.__class__ = _GlobalBatchNorm2d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for layer in model.modules():
            if type(layer) is _GlobalBatchNorm2d:
                layer.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
        return model
