"""Memory, disk and throughput of the difficulty score over many images.

Runs the real command on generated facades of 256 px with EfficientNet-Lite0, once on a few images,
which is the price of the program and its model, and twice on ten thousand: with the features
stored, and with a budget that they exceed.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import shared

CASES = ((64, 2.0), (10_000, 2.0), (10_000, 10.0))
"""Images, and the budget for features in GB."""


def measurements() -> Iterator[shared.Measurement]:
    for images, keep_gb in CASES:
        what = {"images": images, "keep_gb": keep_gb, "seed": 0}
        yield what, partial(measure, images, keep_gb)


def measure(images: int, keep_gb: float) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        found = run(images, keep_gb, Path(folder))
    return [{key: f"{value:.4g}" if value else "" for key, value in found.items()}]


def peak_memory(process: subprocess.Popen[str], found: list[float]) -> None:
    """Keep the highest resident set of a process, in bytes, as the kernel counts it."""
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        if match := re.search(r"VmHWM:\s+(\d+) kB", status):
            found[0] = max(found[0], int(match[1]) * 1024)
        time.sleep(0.5)


def run(images: int, keep_gb: float, folder: Path) -> dict[str, float]:
    command = [
        sys.executable, "-m", "mia_lab", "task=difficulty", "data=facades",
        "data.image_size=256", f"data.sources.procedural.n_train={images}",
        "data.sources.procedural.n_test=0", f"difficulty.keep_gb={keep_gb}",
        "tracking.mode=disabled", f"paths.outputs={folder}",
    ]  # fmt: skip
    start = time.perf_counter()
    terminal, its_end = pty.openpty()  # bars, which tell the rates, are drawn on a terminal only
    termios.tcsetwinsize(terminal, (24, 100))
    process = subprocess.Popen(command, stderr=its_end, stdout=subprocess.DEVNULL, text=True)
    os.close(its_end)
    peak = [0.0]
    watcher = threading.Thread(target=peak_memory, args=(process, peak))
    watcher.start()
    seen: dict[str, list[tuple[int, float]]] = {}
    told: deque[str] = deque(maxlen=20)
    # The process closes its end with an error. A bar's carriage returns end lines.
    with contextlib.suppress(OSError), os.fdopen(terminal, encoding="utf-8") as lines:
        for line in lines:
            told.append(line)
            if match := re.search(rf"^(\w+ \w+):.*?(\d+)/{images} ", line):
                seen.setdefault(match[1], []).append((int(match[2]), time.perf_counter()))
    watcher.join()
    if process.wait():
        raise RuntimeError(f"{shlex.join(command)}\n{''.join(told)}")
    seconds = time.perf_counter() - start
    # The first bar that moved is the one that decodes pictures and runs the backbone.
    done = next(bar for bar in seen.values() if bar[-1][0] == images)
    features = sum(p.stat().st_size for p in (folder / "store/features").rglob("*.npy"))
    everything = sum(p.stat().st_size for p in (folder / "store").rglob("*") if p.is_file())
    return {
        "seconds": seconds,
        "peak_gb": peak[0] / 1e9,
        "features_on_disk_gb": features / 1e9,
        "store_on_disk_gb": everything / 1e9,
        "images_per_s_first_thousand": rate(done, 0, min(1000, images - 1000)),
        "images_per_s_last_thousand": rate(done, images - 1000, images),
    }


def rate(bar: list[tuple[int, float]], first: int, last: int) -> float:
    """Images a second between two counts of a progress bar; 0 where it did not tell."""
    if not 0 <= first < last:
        return 0.0
    inside = [(n, t) for n, t in bar if first < n <= last]
    if len(inside) < 2:
        return 0.0
    return (inside[-1][0] - inside[0][0]) / (inside[-1][1] - inside[0][1])
