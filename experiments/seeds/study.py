"""Does the demo's verdict depend on its seed?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import shared
from mia_lab.reporting.audit.distributions import scatter_figure

HERE = Path(__file__).parent

RUNS = {
    "results": "+experiment=facades_pix2pix seed=0,1,2,3,4,5,6,7,8,9",
    "demo": "+experiment=facades_pix2pix seed=0",
}
SCORES = ("demo",)

NAMES = ("reconstruction", "membership", "difficulty")


def tables() -> dict[str, str]:
    found = shared.rows(HERE / "results.csv")
    lines = []
    for seed in dict.fromkeys(row["seed"] for row in found):
        mine = {row["attack"]: row for row in shared.select(found, seed=seed)}
        cells = [shared.interval(mine[name], "auc") for name in NAMES]
        gain = shared.interval(mine["membership"], "difference", "+")
        verdict = mine["membership"]["blind_verdict"]
        lines.append([seed, *cells[:2], gain, cells[2], verdict])
    heads = ["seed", "AUC L_rec", "AUC L_mem", "difference", "difficulty alone (blind)", "split"]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(found)}


def figures() -> dict[str, Figure]:
    return {"auc": _aucs(), "scatter": _scatter()}


def _aucs() -> Figure:
    figure = shared.canvas(7.0, 3.2)
    axes = figure.subplots()
    colours = shared.colours(NAMES)
    found = shared.rows(HERE / "results.csv")
    for offset, name in enumerate(NAMES):
        mine = shared.select(found, attack=name)
        auc = np.array([float(row["auc"]) for row in mine])
        low, high = (
            np.array([float(row[f"auc_ci95_{end}"]) for row in mine]) for end in ("low", "high")
        )
        x = [int(row["seed"]) + 0.2 * (offset - 1) for row in mine]
        label = name if name != "difficulty" else "difficulty alone (blind)"
        axes.errorbar(
            x, auc, (auc - low, high - auc), fmt="o", ms=4, color=colours[name], label=label
        )
    axes.set(xlabel="seed", ylabel="AUC, 95 % interval", xticks=range(10))
    shared.style(axes)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _scatter() -> Figure:
    found = shared.rows(HERE / "demo-scores.csv")
    error, difficulty = (
        np.array([float(row[key]) for row in found])
        for key in ("reconstruction_error", "difficulty")
    )
    is_member = np.array([row["is_member"] == "1" for row in found])
    return scatter_figure(error, difficulty, is_member, float(found[0]["alpha"]))
