"""How a process of ours uses memory and threads, whatever it computes."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def start() -> None:
    """Prepare a process that runs only mia_lab, best before PyTorch is imported."""
    # Threads of PyTorch that wait for each other by spinning slow down all processes of a machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_memory()
    gc.disable()  # imports create objects that stay, see `imported`


def keep_memory() -> None:
    """Have glibc keep large freed blocks for later ones, for the life of the process; mallopt(3).

    By default it gives blocks above 32 MB back at once. Then each pass of a network asks the system
    for its pages again, which took a quarter of the time of a U-Net on 16 images of 256 px.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3
        mallopt(trim_threshold, 2**30)
        if not mallopt(mmap_threshold, 2**30):
            mallopt(mmap_threshold, 2**25)  # the most that older versions accept


def imported() -> None:
    """Collect garbage again after :func:`start`, but leave out the objects that exist by now.

    PyTorch, Lightning and SciPy create about a million objects that stay. To go through them again
    and again takes a tenth of the time of a short audit.
    """
    if not gc.isenabled():
        gc.freeze()
        atexit.register(gc.unfreeze)  # else libraries report at the end what they could not free
        gc.enable()


@contextmanager
def computing() -> Iterator[None]:
    """Give NumPy one thread, and what was freed back to the system in the end.

    Threads of BLAS wait by spinning: on small matrices they gain nothing, and beside another
    process they take four times as long.
    """
    from threadpoolctl import threadpool_limits  # may be missing where nothing is computed

    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        release_memory()


def release_memory() -> None:
    """Give free memory back to the system; glibc keeps what threads have freed."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
