"""How long would the paper's trainings take here, and what do they give away on a GPU?"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from paper_scale import measure
from rows import read
from table1 import study as table1

FILE = Path(__file__).with_name("results.csv")

GPU = Path(__file__).with_name("gpu.csv")
"""Rows of `make paper-scale` on GPUs."""

MEASURED = {"results": measure.measurements}

IMAGES = {"facades": 400, "maps": 1096, "cityscapes": 2975}
"""Pairs in the published train folders."""

EPOCHS = 200

BORROWED = ("pix2pixhd", "cityscapes")
"""The paper took a public checkpoint."""

SCORES = {"L_rec": "auc_rec", "L_mem": "auc_mem"}
"""Columns of `gpu.csv`, in the order of `table1.ATTACKS`."""


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
    blocks = {"table": shared.markdown(heads, lines), "origin": shared.origin(found)}
    return blocks | {"gpu": _gpu_table(trained())}


def trained() -> list[shared.Row]:
    """What was measured on GPUs, cell by cell, in the order of epochs."""
    return sorted(read(GPU), key=lambda row: (row["cell"], row["overrides"], float(row["epoch"])))


def published(row: shared.Row) -> tuple[float, float]:
    """Table 1's AUC of the reconstruction and of the membership error for a row's cell."""
    data, victim = row["cell"].split("_")
    return table1.PUBLISHED[victim, data]


def _gpu_table(found: list[shared.Row]) -> str:
    if not found:
        return "Not measured yet."
    heads = ["cell", "batch", "precision", "epochs", "candidates", "training", "images a second"]
    heads += [f"AUC of {name}{more}" for name in SCORES for more in ("", ", published")]
    lines = []
    for row in found:
        aucs = []
        for auc, value in zip(SCORES.values(), published(row), strict=True):
            area, low, high = (float(row[f"{auc}{end}"]) for end in ("", "_low", "_high"))
            aucs += [f"{area:.3f} [{low:.3f}, {high:.3f}]", f"{value:.3f}"]
        epochs = f"{float(row['epoch']):.4g} of {row['epochs']}"
        counted = f"{row['scored']} of {int(row['n_members']) + int(row['n_nonmembers'])}"
        minutes = f"{float(row['train_seconds']) / 60:.1f} min"
        pace = f"{float(row['images_per_s']):.3g}"
        setting = [row["cell"], row["batch"], row["precision"]]
        lines.append([*setting, epochs, counted, minutes, pace, *aucs])
    weights = {
        f"{row['backbone']}{row['perceptual'] and ', ' + row['perceptual']}" for row in found
    }
    read = f"Backbone, and perceptual loss of pix2pixHD: {'; '.join(sorted(weights))}."
    figure = "![AUC against epochs; dashed lines are the published values](gpu.png)"
    return f"{figure}\n\n{shared.markdown(heads, lines)}\n\n{shared.origin(found)} {read}"


def figures() -> dict[str, Figure]:
    cells = shared.grouped(trained(), lambda row: row["cell"])
    if not cells:
        return {}
    figure, colours = shared.canvas(3.2 * len(cells), 3.2), shared.colours(table1.ATTACKS)
    panels = figure.subplots(1, len(cells), squeeze=False)[0]
    for axes, (cell, rows) in zip(panels, cells.items(), strict=True):
        trainings = shared.grouped(rows, lambda row: row["overrides"])
        both = zip(SCORES.items(), published(rows[0]), table1.ATTACKS, strict=True)
        for (name, column), value, attack in both:
            for number, training in enumerate(trainings.values()):
                epochs, aucs = ([float(row[key]) for row in training] for key in ("epoch", column))
                label = None if number else name
                axes.plot(epochs, aucs, ".-", color=colours[attack], label=label)
            axes.axhline(value, color=colours[attack], ls="--", lw=1)
        axes.set_title(cell.replace("_", ", "), fontsize=9)
        axes.set(xscale="log", ylim=(0.4, 1.02), xlabel="epochs")
        shared.style(axes)
    panels[0].set_ylabel("AUC; dashed: published")
    panels[0].legend(frameon=False, loc="lower right", fontsize=8)
    return {"gpu": figure}
