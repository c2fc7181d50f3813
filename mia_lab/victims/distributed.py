"""Training in several processes of one machine.

Lightning's DDP strategy trains, but this module starts the processes. Lightning's launcher ``ddp``
would run the command line again in each process, which in a sweep or a notebook repeats the whole
run. Its launcher ``ddp_spawn`` turns every failure into an exception that holds a traceback as
text, so that a `UserError` of a process would lose its type and its one-line message.
"""

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

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals with which clusters announce that a job will end."""

GRACE_S = 5.0
"""Seconds that the other processes have to report their errors after one has failed."""

Workers = Sequence[tuple[SpawnProcess, Connection]]


def launch(work: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Run ``work(rank, *arguments)`` in new processes, which connect to each other by Lightning.

    The processes are spawned, because CUDA does not survive a fork, and receive copies of the
    arguments. They never outlive this process: a termination signal or an error ends them at once.

    Args:
        work: a function at the top level of a module.
        processes: number of processes.
        arguments: any arguments that can be pickled.

    Raises:
        UserError: an argument cannot be pickled, a process was killed, or a process raised one.
        SystemExit: with code 128 + n, on a termination signal n that has no other handler.
    """
    try:
        payload = pickle.dumps((work, arguments))  # torch's pickler would share the memory
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"trainer.strategy=ddp: cannot send data and victim to other processes ({error}); "
            "use trainer=auto"
        ) from error
    context = multiprocessing.get_context("spawn")
    settings = (find_free_network_port(), torch.get_num_threads(), logging.getLogger().level)
    workers: list[tuple[SpawnProcess, Connection]] = []
    log.info("training in %d processes", processes)
    try:
        with unless_handled(_exit, *TERMINATION_SIGNALS):
            for rank in range(processes):
                receiver, sender = context.Pipe(duplex=False)
                arguments_of_worker = (rank, *settings, payload, sender)
                process = context.Process(target=_run_worker, args=arguments_of_worker)
                process.start()
                sender.close()
                workers.append((process, receiver))
            _join(workers)
    finally:
        for process, _ in workers:
            process.kill()  # safe, because checkpoints are written atomically
            process.join()


def _exit(number: int, _: object) -> NoReturn:
    log.warning("training stopped; run the same command again to resume from the last checkpoint")
    raise SystemExit(128 + number)


def _join(workers: Workers) -> None:
    """Wait until all processes have ended; if some fail, raise the error of the first cause."""
    running = [process for process, _ in workers]
    while running and not any(process.exitcode for process, _ in workers):
        wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    end = time.monotonic() + GRACE_S
    for process in running:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode or 0 for process, _ in workers]
    if not any(codes):
        return
    for rank, code in enumerate(codes):
        if code < 0:
            raise UserError(
                f"trainer.devices={len(workers)}: training process {rank} was killed by signal "
                f"{-code} (too little memory?); run the same command again to resume from the last "
                "checkpoint"
            )
    reports = [receiver.recv() for _, receiver in workers if receiver.poll()]
    for expected, text in sorted(reports, reverse=True):
        raise UserError(text) if expected else RuntimeError(f"in a training process:\n{text}")
    raise RuntimeError("a training process failed without reporting an error")


def _run_worker(
    rank: int, port: int, threads: int, level: int, payload: bytes, sender: Connection
) -> None:
    """Target of a training process: run the work, and report an error through the pipe."""
    # The parent handles the signals that are sent to the process group.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *TERMINATION_SIGNALS))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    ranks = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in ranks.items()})
    torch.set_num_threads(threads)
    tqdm.set_lock(threading.RLock())  # the default lock is a semaphore that outlives a kill
    logging.basicConfig(format="%(message)s", level=level if rank == 0 else logging.ERROR)
    try:
        work, arguments = pickle.loads(payload)
        work(rank, *arguments)
        dist.destroy_process_group()
    except BaseException as error:
        expected = isinstance(error, UserError)
        sender.send((expected, str(error) if expected else traceback.format_exc()))
        os._exit(1)  # a regular exit would wait for the other processes


def _exit_with_parent() -> None:
    """Exit as soon as the parent process has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _AllReduceSum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of the gradients of all processes.

    PyTorch's differentiable ``all_reduce`` is deprecated, and its replacement is not public.
    """

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
    """Batch norm over the batches of all processes, which are equal in size.

    PyTorch's ``SyncBatchNorm`` accepts tensors on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)

        def mean(values: Tensor) -> Tensor:
            local = values.mean(dim=(0, 2, 3))
            total: Tensor = _AllReduceSum.apply(local)
            return (total / dist.get_world_size())[:, None, None]

        mean_of_x = mean(x)
        centred = x - mean_of_x
        variance = mean(centred.square())
        out = centred * (variance + self.eps).rsqrt()
        self._update_statistics(mean_of_x, variance, x.numel() // x.shape[1])
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor, n_local: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        n = n_local * dist.get_world_size()
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.flatten(), self.momentum)
        self.running_var.lerp_(variance.flatten() * (n / (n - 1)), self.momentum)


class GlobalBatchNorm(LayerSync):
    """Synchronises batch norm over all processes on CPUs, where ``sync_batchnorm`` fails."""

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
