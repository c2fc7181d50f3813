"""CSV files of rows, and the device that they are measured on."""

from __future__ import annotations

import csv
import io
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mia_lab.store.disk import write_file

Row = dict[str, Any]


def read(file: Path) -> list[Row]:
    """Rows of a CSV file; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="") as opened:
        return [*csv.DictReader(opened)]


def write(file: Path, rows: Sequence[Row]) -> None:
    """Replace a CSV file at once.

    Raises:
        UserError: the disk is full; an existing file is unchanged.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(file, text.getvalue())


def device_name(accelerator: str) -> str:
    """The GPU, or the kind of CPU."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {platform.machine()}"


def device_model(accelerator: str) -> str:
    """The device, with the CPU's model where Linux names it: times depend on it."""
    device, cpus = device_name(accelerator), Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpus.read_text()) if cpus.is_file() else None
    return f"{device}, {named[1]}" if named and device.startswith("CPU") else device
