"""The devices of the machine, the precision that they support, and work on several cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch

from mia_lab.errors import UserError
from mia_lab.process import release_memory

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many cores this process may use: OMP_NUM_THREADS, else those that the system allows."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    import joblib  # loky, which it brings, takes a while to import

    return int(joblib.cpu_count())


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Divide each operation among so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_cores(device: torch.device) -> Callable[..., Iterator[Any]]:
    """How to apply a function to items: :func:`in_order` on a CPU, in turn on a GPU."""
    return in_order if device.type == "cpu" else map


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Apply a function to items on all cores, and give the results in the order of the items.

    Each item is computed by one thread on one core, so that results do not depend on the number of
    cores. This costs less than to divide each operation among the cores: no core waits for another.

    Args:
        function: safe to be called by several threads; it should spend its time outside of Python.
        items: taken by the calling thread, a few ahead of the results.

    Example:
        >>> list(in_order(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    n, threads = cores(), torch.get_num_threads()
    waiting: deque[Future[R]] = deque()
    # A thread sets its own number, and that of threads that start later.
    with ThreadPoolExecutor(n, "mia_lab", partial(torch.set_num_threads, 1)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > n:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)
    release_memory()


def torch_device(accelerator: str) -> torch.device:
    """The device of an accelerator name; ``auto`` is the GPU (CUDA or ROCm) if there is one.

    Raises:
        UserError: a GPU is requested and none is visible.
    """
    if accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: no GPU is visible; use trainer=cpu")
    return torch.device("cpu")


@contextmanager
def enough_gpu_memory(remedy: str) -> Iterator[None]:
    """Say in one line what to change where the GPU's memory does not suffice.

    Args:
        remedy: what to change.

    Raises:
        UserError: the memory does not suffice.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(f"the GPU has too little memory; {remedy}") from error


def resolve_precision(precision: str, accelerator: str) -> str:
    """The precision of a training: ``auto`` is ``bf16-mixed`` on GPUs that support it.

    Raises:
        UserError: float16 is requested on a CPU.
    """
    if precision not in ("auto", "16-mixed"):
        return precision
    has_gpu = torch_device(accelerator).type == "cuda"
    if precision == "16-mixed":
        if not has_gpu:
            raise UserError("trainer.precision=16-mixed: needs a GPU; use auto, or bf16-mixed")
        return precision
    return "bf16-mixed" if has_gpu and _has_bf16() else "32-true"


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
