"""Offline W&B runs, read back by W&B's own reader."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


def run_folder(directory: Path) -> Path:
    """The one run below a directory that a tracker was given."""
    (run,) = (directory / "wandb").glob("offline-run-*")
    return run


def summary(directory: Path) -> dict[str, Any]:
    """``config``, ``summary``, ``run_id``, ``exit_code``, ..."""
    read: dict[str, Any] = json.loads(_inspect(directory, "--summary"))
    return read


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _inspect(directory).splitlines()]


def history(directory: Path) -> list[dict[str, Any]]:
    return [r["history"]["item"] for r in records(directory) if r["type"] == "history"]


def identity(directory: Path) -> dict[str, Any]:
    """``run_group``, ``job_type``, ``tags``, ``project``, ..."""
    found: dict[str, Any] = next(r["run"] for r in records(directory) if r["type"] == "run")
    return found


def media_table(directory: Path, name: str) -> dict[str, list[Any]]:
    """A logged table as columns."""
    (path,) = run_folder(directory).glob(f"files/media/table/{name}_*.table.json")
    content = json.loads(path.read_text())
    return dict(zip(content["columns"], map(list, zip(*content["data"], strict=True)), strict=True))


def _inspect(directory: Path, *flags: str) -> str:
    """As `wandb leet inspect`, which takes a second to start the program that it asks."""
    (file,) = run_folder(directory).glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", *flags, "--json"]
    where = "--run-file", str(file), str(file.parents[1])
    ran = subprocess.run([*command, *where], check=True, capture_output=True, text=True)
    return ran.stdout
