"""Gather the metrics of a sweep over seeds: `python collect.py SWEEP_FOLDER` writes results.csv.

One row a seed and score, sorted; a figure of the AUCs beside it; and the pictures of seed 0.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mia_lab.reporting.figures import attack_colours

HERE = Path(__file__).parent
COLUMNS = ("seed", "score", "auc", "ci95_low", "ci95_high", "torch", "mia_lab")


def rows_of(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    difficulty = metrics["blind"]["baselines"]["difficulty"]
    scores = metrics["attacks"] | {"difficulty alone": difficulty}
    for comparison in metrics["comparisons"]:
        name = f"{comparison['first']} - {comparison['second']}"
        scores[name] = {"auc": comparison["difference"], "auc_ci95": comparison["ci95"]}
    record = metrics["record"]
    return [
        {
            "seed": int(record["seed"]),
            "score": name,
            "auc": value["auc"],
            "ci95_low": value["auc_ci95"][0],
            "ci95_high": value["auc_ci95"][1],
            "torch": record["torch"],
            "mia_lab": record["mia_lab"],
        }
        for name, value in scores.items()
    ]


def draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 3.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    names = [n for n in dict.fromkeys(r["score"] for r in rows) if " - " not in n]
    colours = attack_colours([n.removesuffix(" alone") for n in names])
    for offset, name in enumerate(names):
        mine = [r for r in rows if r["score"] == name]
        x = [r["seed"] + 0.2 * (offset - 1) for r in mine]
        low = [r["auc"] - r["ci95_low"] for r in mine]
        high = [r["ci95_high"] - r["auc"] for r in mine]
        colour = colours[name.removesuffix(" alone")]
        axes.errorbar(
            x, [r["auc"] for r in mine], (low, high), fmt="o", ms=4, color=colour, label=name
        )
    axes.axhline(0.5, color="#AAAAAA", lw=1, ls=":")
    axes.set(xlabel="seed", ylabel="AUC, 95 % interval", xticks=sorted({r["seed"] for r in rows}))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def main(sweep: Path) -> None:
    found = {p.parent: json.loads(p.read_text()) for p in sweep.glob("*/metrics.json")}
    rows = sorted((r for m in found.values() for r in rows_of(m)), key=lambda r: r["seed"])
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows).savefig(HERE / "auc.png")
    for folder, metrics in found.items():
        if metrics["record"]["seed"] == "0":
            for name in ("roc.png", "scatter.png", "dossiers-1.png"):
                shutil.copy(folder / name, HERE / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
