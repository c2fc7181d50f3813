"""How a process uses memory; each in a process of its own, whose memory holds nothing else."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY, VERSION = platform.libc_ver()
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
about_glibc = pytest.mark.skipif(LIBRARY != "glibc", reason="about glibc")
about_pages = pytest.mark.skipif(
    LIBRARY != "glibc"
    or tuple(map(int, VERSION.split("."))) < (2, 35)
    or (HUGE.exists() and "[always]" in HUGE.read_text()),
    reason="glibc before 2.35 keeps no large blocks; huge pages are few",
)

RESIDENT = """
import os
from pathlib import Path

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
"""


def printed(code: str) -> list[float]:
    """The numbers that some code prints."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in ran.stdout.split()]


@about_glibc
def test_memory_that_threads_have_freed_is_given_back() -> None:
    code = """
from mia_lab.hardware import in_order

def work(_):
    parts = [bytes(100_000) for _ in range(1000)]  # below the size that is mapped alone
    last = bytes(1000)  # lies behind them, so that the heap cannot shrink
    del parts
    return last

before = resident()
kept = [*in_order(work, range(4))]
print(len(kept), resident() - before)
"""
    kept, grown = printed(RESIDENT + code)
    assert kept == 4
    assert grown < 20


@about_pages
def test_freed_memory_is_kept_until_a_stage_ends() -> None:
    """Blocks as large as the feature maps of a network cost new pages once, not every time."""
    code = """
import resource
from mia_lab.process import computing, keep_memory

MB = 2**20

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def passes():
    before = faults()
    for _ in range(10):
        block = bytearray(40 * MB)  # above the most that glibc ever keeps by itself
        del block
    return (faults() - before) * os.sysconf("SC_PAGE_SIZE") / MB

passes()
print(passes())
start = resident()
keep_memory()
with computing():
    passes()
    print(passes(), resident() - start)
print(resident() - start)
"""
    by_default, kept, during, after = printed(RESIDENT + code)
    assert by_default > 300
    assert kept < 1
    assert during > 30
    assert after < 10


def test_a_task_of_the_command_collects_garbage_but_no_imports(tmp_path: Path) -> None:
    code = f"""
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count()))  # the last thing that happens
import mia_lab.tasks.audit as task  # PyTorch, too
from mia_lab import process
from mia_lab.__main__ import main

def run(*_):
    print(int(gc.isenabled()), gc.get_freeze_count(), len(gc.get_objects()))
    made = [[] for _ in range(10_000)]
    process.imported()  # once more: what was made since must stay collectable
    print(gc.get_freeze_count())

task.run = run
sys.argv = ["mia_lab", "+experiment=facades_pix2pix", "paths.outputs={tmp_path}"]
main()
"""
    on, frozen, looked_at, later, at_end = printed(code)
    assert on == 1
    assert frozen > 200_000
    assert looked_at < 1000
    assert later < frozen + 100
    assert at_end == 0
