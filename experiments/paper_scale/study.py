"""How long would the paper's trainings take here?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from paper_scale import measure

FILE = Path(__file__).with_name("results.csv")

MEASURED = {"results": measure.measurements}

IMAGES = {"facades": 400, "maps": 1096, "cityscapes": 2975}
"""Pairs in the published train folders."""

EPOCHS = 200

BORROWED = ("pix2pixhd", "cityscapes")
"""The paper took a public checkpoint."""


def tables() -> dict[str, str]:
    found = shared.rows(FILE)
    lines = []
    for row in found:
        step = float(row["seconds_a_step"])
        hours = [
            f"{step * images * EPOCHS / 3600:.0f} h" if (row["victim"], data) != BORROWED else "-"
            for data, images in IMAGES.items()
        ]
        lines.append([row["victim"], f"{step:.2f} s", *hours])
    heads = ["victim", "a step of batch 1, measured"]
    heads += [
        f"{EPOCHS} epochs of {shared.NAMES[data]} ({images} pairs), extrapolated"
        for data, images in IMAGES.items()
    ]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(found)}


def figures() -> dict[str, Figure]:
    return {}
