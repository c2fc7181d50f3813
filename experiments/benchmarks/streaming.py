"""Memory, disk and throughput of the difficulty score over many images.

    python experiments/benchmarks/streaming.py --images 10000

Runs the real command on generated facades of 256 px with EfficientNet-Lite0, once on a few images,
which is the price of the program and its model, and once on all. Twice: with the features stored,
and with a budget that they exceed. Writes `streaming.csv` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
FEW = 64


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
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    peak = [0.0]
    watcher = threading.Thread(target=peak_memory, args=(process, peak))
    watcher.start()
    seen: dict[str, list[tuple[int, float]]] = {}
    assert process.stderr is not None
    for line in process.stderr:  # universal newlines: the bar's carriage returns end lines
        if match := re.search(rf"^(\w+ \w+):.*?(\d+)/{images} ", line):
            seen.setdefault(match[1], []).append((int(match[2]), time.perf_counter()))
    watcher.join()
    if process.wait():
        sys.exit(f"the command failed: {command}")
    # The first bar that moved is the one that decodes pictures and runs the backbone.
    done = next(bar for bar in seen.values() if bar[-1][0] == images)
    features = sum(p.stat().st_size for p in (folder / "store/features").rglob("*.npy"))
    everything = sum(p.stat().st_size for p in (folder / "store").rglob("*") if p.is_file())
    return {
        "seconds": time.perf_counter() - start,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--budgets", type=float, nargs="+", default=[2.0, 10.0])
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPU"
    rows = []
    for images, keep_gb in [(FEW, 2.0), *((options.images, b) for b in options.budgets)]:
        with tempfile.TemporaryDirectory() as folder:
            found = run(images, keep_gb, Path(folder))
        row: dict[str, object] = {"images": images, "keep_gb": keep_gb}
        row |= {key: f"{value:.4g}" if value else "" for key, value in found.items()}
        rows.append(
            row | {"machine": machine, "torch": torch.__version__, "commit": commit.stdout.strip()}
        )
        print(row, flush=True)
    with (HERE / "streaming.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
