"""How a process of ours uses memory and threads, whatever it computes."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def start() -> None:
    """Prepare a process of which we are the main program; before PyTorch is imported."""
    # Threads of PyTorch that wait for each other by spinning slow down all processes of a machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    gc.disable()  # imports create objects that stay, see `imported`


def imported() -> None:
    """End what :func:`start` began: almost everything that the process needs is imported.

    No garbage collection looks at these objects any more. PyTorch, Lightning and SciPy make about
    a million; to go through them again and again takes a tenth of the time of a short audit.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextmanager
def computing() -> Iterator[None]:
    """How a stage computes.

    NumPy gets one thread: threads of BLAS wait by spinning, so on small matrices they gain nothing,
    and beside another process they take four times as long.

    glibc keeps freed memory until the end. By default it gives large blocks back at once; then each
    pass of a network asks the system for its pages again, up to a third of the time of a pass.
    """
    from threadpoolctl import threadpool_limits  # may be missing where nothing is computed

    _keep_memory()
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        release_memory()


def _keep_memory() -> None:
    """Have glibc keep freed blocks of any size for later ones, see mallopt(3)."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3
        mallopt(trim_threshold, 2**30)
        if not mallopt(mmap_threshold, 2**30):
            mallopt(mmap_threshold, 2**25)  # the most that older versions accept


def release_memory() -> None:
    """Give free memory back to the system; glibc keeps what threads have freed."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
