"""The software that computes: versions of libraries, and the commit of this package."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

NUMERICAL = ("numpy", "scipy", "scikit-learn")
"""Libraries that classifiers and statistics compute with."""

RECORDED = (
    *("torch", "torchvision", "pytorch-lightning", "timm", "onnxruntime"),
    *("diffusers", "transformers", "peft"),
    *NUMERICAL,
    "pillow",
)
"""Libraries whose versions are recorded with every result; they may change a number."""


@cache
def version(name: str) -> str:
    """The version of an installed library; "" of an extra that is not installed.

    It is read once in each process, because every point of a sweep needs it.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions(*names: str) -> dict[str, str]:
    """The versions of some libraries, by name."""
    return {name: version(name) for name in names}


def software() -> dict[str, str]:
    """This package's commit, and the versions of Python and of the libraries that compute."""
    found = {"python": platform.python_version(), **versions("mia_lab", *RECORDED)}
    return {"commit": commit(), **{name: value for name, value in found.items() if value}}


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
