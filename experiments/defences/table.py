"""The tables of the README from results.csv and noise.csv: `python table.py`."""

from __future__ import annotations

import csv
from pathlib import Path

HERE = Path(__file__).parent

Rows = list[dict[str, str]]


def read(name: str) -> Rows:
    with (HERE / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["blind"] == "False"]


def table(rows: Rows, axis: str, utility: bool) -> str:
    """A row a setting of the defence: what each attack finds, and how good the answers are."""
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    heads = [axis, *(f"AUC {name}" for name in attacks)]
    heads += ["L1", "SSIM", "Frechet distance"] if utility else []
    lines = [heads, ["---"] * len(heads)]
    for value in dict.fromkeys(row[axis] for row in rows):
        found = {row["attack"]: row for row in rows if row[axis] == value}
        cells = [value, *(_interval(found[name]) for name in attacks)]
        if utility:
            first = found[attacks[0]]
            cells += [f"{float(first['utility_l1']):.4f}", f"{float(first['utility_ssim']):.3f}"]
            cells.append(f"{float(first['utility_frechet']):.0f}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables() -> str:
    """Both, with a line between."""
    kinds, noise = read("results.csv"), read("noise.csv")
    return table(kinds, "defense", True) + "\n\n" + table(noise, "defense.sigma", True)


def _interval(row: dict[str, str]) -> str:
    value, low, high = (float(row[f"auc{end}"]) for end in ("", "_ci95_low", "_ci95_high"))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    print(tables())
