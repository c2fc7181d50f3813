"""What ran: the command, this package's commit, the libraries, and how long each part took."""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from mia_lab.stages.versions import versions

PACKAGE = Path(__file__).resolve().parents[1]

LIBRARIES = (
    *("torch", "torchvision", "pytorch-lightning", "timm", "onnxruntime"),
    *("numpy", "scipy", "scikit-learn", "pillow"),
)
"""Libraries that compute; their versions may change a number."""


class Clock:
    """Seconds spent in each named part of a task."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


def command_line() -> str:
    """The command as typed, or as a sweep composed it for this point, as a shell reads it."""
    if not HydraConfig.initialized():
        return ""
    return shlex.join(["python", "-m", "mia_lab", *HydraConfig.get().overrides.task])


def software_record() -> dict[str, str]:
    """What ran: this package's commit, Python, and the libraries that compute."""
    found = {"python": platform.python_version(), **versions("mia_lab", *LIBRARIES)}
    return {"commit": commit(), **{name: version for name, version in found.items() if version}}


@cache
def commit(*also: str) -> str:
    """The commit of the checkout that this code runs from, or that it is an installed package.

    Args:
        also: paths whose changes count besides those of the package and its configuration,
            relative to the package; documents, for instance, change no number.
    """
    code = ("--", ".", "../conf", *also)
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no", *code)
    if not head:
        return "installed package, no checkout"
    return head + (" with uncommitted changes" if changes else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
