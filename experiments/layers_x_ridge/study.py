"""Does the choice of the probe's layer and penalty matter, for either victim?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import shared
from mia_lab.evaluation.repeats import mean_over_repeats

HERE = Path(__file__).parent

RUNS = {
    victim: (
        f"+experiment=maps_{victim} data.source=folder demo_epochs=20 seed=0,1,2 "
        "'difficulty.grid.layers=[[1],[2],[3],[4]]' 'difficulty.grid.ridge=[0.01,100]'"
    )
    for victim in ("pix2pix", "pix2pixhd")
}
"""Victims of table1."""


def _setting(row: shared.Row) -> tuple[str, ...]:
    return row["victim"], row["layers"], f"{float(row['ridge']):g}"


def _cells() -> dict[tuple[str, ...], list[float]]:
    tables = [shared.grid_gains(HERE / f"{victim}.csv", _setting) for victim in RUNS]
    return {at: gains for table in tables for at, gains in table.items()}


def _axes(cells: dict[tuple[str, ...], list[float]]) -> tuple[list[str], ...]:
    victims, layers, ridges = (list(dict.fromkeys(at[i] for at in cells)) for i in range(3))
    return victims, sorted(layers, key=lambda name: (len(name), name)), sorted(ridges, key=float)


def tables() -> dict[str, str]:
    cells = _cells()
    victims, layers, ridges = _axes(cells)
    lines = [
        [
            victim,
            layer,
            *(shared.text(mean_over_repeats(cells[victim, layer, r]), "+") for r in ridges),
        ]
        for victim in victims
        for layer in layers
    ]
    heads = ["victim", "blocks", *(f"gain at ridge {ridge}" for ridge in ridges)]
    found = [row for victim in RUNS for row in shared.rows(HERE / f"{victim}.csv")]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(found)}


def figures() -> dict[str, Figure]:
    cells = _cells()
    victims, layers, ridges = _axes(cells)
    figure = shared.canvas(7.0, 3.2)
    panels = figure.subplots(1, len(victims), sharey=True)
    means = {at: mean_over_repeats(values) for at, values in cells.items()}
    top = max(abs(mean.value) for mean in means.values())
    for axes, victim in zip(panels, victims, strict=True):
        values = np.array([[means[victim, la, r].value for r in ridges] for la in layers])
        shown = axes.imshow(values, cmap="PuOr", vmin=-top, vmax=top, aspect="auto")
        for y, layer in enumerate(layers):
            for x, ridge in enumerate(ridges):
                mean = means[victim, layer, ridge]
                dark = abs(mean.value) > 0.65 * top
                axes.text(
                    x, y, f"{mean.value:+.3f}\n± {mean.half_width:.3f}", ha="center", va="center",
                    fontsize=8, color="white" if dark else "black",
                )  # fmt: skip
        axes.set_xticks(range(len(ridges)), ridges)
        axes.set_xlabel("ridge penalty")
        axes.set_title(victim, fontsize=9)
    panels[0].set_yticks(range(len(layers)), layers)
    panels[0].set_ylabel("blocks of the backbone")
    figure.colorbar(shown, ax=list(panels), label="gain in AUC over L_rec", shrink=0.9)
    return {"gain": figure}
