"""What the paper's trainings would take: the table of `measure.py`'s rows."""

from __future__ import annotations

from pathlib import Path

import shared
from matplotlib.figure import Figure

FILE = Path(__file__).with_name("results.csv")

RUNS: dict[str, str] = {}
"""No audits: `measure.py` times steps of training."""

IMAGES = {"facades": 400, "maps": 1096, "cityscapes": 2975}
"""Pairs in the published train folders."""

EPOCHS = 200


def tables() -> dict[str, str]:
    found = shared.rows(FILE)
    lines = []
    for row in found:
        step = float(row["seconds_a_step"])
        hours = [f"{step * images * EPOCHS / 3600:.0f} h" for images in IMAGES.values()]
        lines.append([row["victim"], f"{step:.2f} s", *hours])
    heads = ["victim", "a step of batch 1, measured"]
    heads += [
        f"{EPOCHS} epochs of {shared.NAMES[data]} ({images} pairs), extrapolated"
        for data, images in IMAGES.items()
    ]
    first = found[0]
    origin = f"{first['device']}, torch {first['torch']}, commit {first['commit']}, seed 0."
    return {"table": f"{shared.markdown(heads, lines)}\n\n{origin}"}


def figures() -> dict[str, Figure]:
    return {}
