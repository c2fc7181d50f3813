"""What the paper's trainings would take: the table of `measure.py`'s rows."""

from __future__ import annotations

from pathlib import Path

import shared
from matplotlib.figure import Figure

FILE = Path(__file__).with_name("results.csv")

RUNS: dict[str, str] = {}
"""No audits: `measure.py` times steps of training."""


def tables() -> dict[str, str]:
    found = shared.rows(FILE)
    lines = [
        [
            row["victim"],
            shared.NAMES[row["data"]],
            f"{float(row['seconds_a_step']):.2f} s",
            f"{row['extrapolated_hours']} h",
        ]
        for row in found
    ]
    heads = ["victim", "data", "a step of batch 1, measured", "200 epochs, extrapolated"]
    first = found[0]
    origin = f"{first['device']}, torch {first['torch']}, commit {first['commit']}, seed 0."
    return {"table": f"{shared.markdown(heads, lines)}\n\n{origin}"}


def figures() -> dict[str, Figure]:
    return {}
