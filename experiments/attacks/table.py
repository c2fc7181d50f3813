"""The tables of the README from its CSV files: `python table.py`."""

from __future__ import annotations

import csv
from pathlib import Path

HERE = Path(__file__).parent


def read(name: str = "results.csv") -> list[dict[str, str]]:
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict[str, str]]) -> str:
    """A row an attack, the weak victim's numbers before the strong one's."""
    epochs = sorted({row["epochs"] for row in rows}, key=int)
    heads = ["attack", "queries, images, trainings"]
    for n in epochs:
        heads += [f"{n} epochs: AUC", "TPR at 1 %, 10 % FPR", "excess over blind"]
    lines = [heads, ["---"] * len(heads)]
    for name in dict.fromkeys(row["attack"] for row in rows):
        found = {row["epochs"]: row for row in rows if row["attack"] == name}
        first = found[epochs[0]]
        has = ", ".join(first[key] or "0" for key in ("queries", "images", "trainings"))
        cells = [f"{name} (blind)", "none"] if first["blind"] == "True" else [name, has]
        for n in epochs:
            cells += _cells(found[n])
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def difficulties() -> str:
    """A row a difficulty and weight: what the membership error finds with it."""
    rows = [
        *((row, row["difficulty"]) for row in read("difficulties.csv")),
        *((row, row["difficulty.statistic"]) for row in read("statistics.csv")),
    ]
    lines = [["difficulty", "alpha", "AUC of the membership error", "gain over reconstruction"]]
    lines.append(["---"] * 4)
    for row, name in rows:
        if row["attack"] == "membership":
            gain = _interval(row, "difference", "+")
            lines.append([name, f"{float(row['alpha']):g}", _interval(row, "auc"), gain])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: dict[str, str]) -> list[str]:
    rates = ", ".join(f"{100 * float(row[f'tpr_at_fpr_{fpr}']):.0f} %" for fpr in ("0.01", "0.1"))
    return [_interval(row, "auc"), rates, _interval(row, "excess", "+") if row["excess"] else ""]


def _interval(row: dict[str, str], name: str, sign: str = "") -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_ci95_low", "_ci95_high"))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    print(table(read()), difficulties(), sep="\n\n")
