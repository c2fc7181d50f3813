"""Table 3: attacks that know more than one query pair, beside the membership error."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from mia_lab.evaluation.repeats import mean_over_repeats

FILE = Path(__file__).with_name("results.csv")

RUNS = {
    "results": (
        "+experiment=maps_pix2pix,cityscapes_pix2pix data.source=folder demo_epochs=20 "
        "attack=all seed=0,1,2"
    )
}

DATA = ("maps", "cityscapes")


def _attacks(found: list[shared.Row]) -> list[str]:
    return list(dict.fromkeys(row["attack"] for row in found if row["blind"] == "False"))


def _cells(rows: list[shared.Row]) -> list[str]:
    rates = ", ".join(
        f"{100 * shared.mean(rows, f'tpr_at_fpr_{fpr}').value:.0f} %" for fpr in ("0.01", "0.1")
    )
    return [shared.text(shared.mean(rows, "auc")), rates]


def tables() -> dict[str, str]:
    found = shared.rows(FILE)
    heads = ["attack", "queries, images, trainings"]
    for data in DATA:
        name = shared.NAMES[data]
        heads += [f"{name}: AUC", "TPR at 1 %, 10 % FPR", "excess over blind", "less L_rec's"]
    lines = []
    for name in _attacks(found):
        rows = [shared.select(found, attack=name, data=data) for data in DATA]
        has = ", ".join(rows[0][0][key] or "0" for key in ("queries", "images", "trainings"))
        line = [name, has]
        for cell in rows:
            gain = (
                ""
                if name == "reconstruction"
                else shared.text(shared.mean(cell, "difference"), "+")
            )
            line += [*_cells(cell), shared.text(shared.mean(cell, "excess"), "+"), gain]
        lines.append(line)
    for name in dict.fromkeys(row["attack"] for row in found if row["blind"] == "True"):
        line = [f"{name} (blind)", "none"]
        for data in DATA:
            line += [*_cells(shared.select(found, attack=name, data=data)), "", ""]
        lines.append(line)
    return {
        "table": shared.markdown(heads, lines),
        "learned": "\n".join(f"- {shared.NAMES[data]}: {_learned(found, data)}" for data in DATA),
        "origin": shared.origin(found),
    }


def _learned(found: list[shared.Row], data: str) -> str:
    """Its gain over the membership error, in pairs of seeds."""
    both = [
        {row["seed"]: float(row["auc"]) for row in shared.select(found, attack=name, data=data)}
        for name in ("learned", "membership")
    ]
    gains = [both[0][seed] - both[1][seed] for seed in both[0]]
    return shared.text(mean_over_repeats(gains), "+")


def figures() -> dict[str, Figure]:
    found = shared.rows(FILE)
    figure = shared.canvas(7.2, 4.2)
    panels = figure.subplots(1, len(DATA), sharey=True)
    names = _attacks(found)
    colours = shared.colours(names)
    order = sorted(
        names, key=lambda n: shared.mean(shared.select(found, attack=n, data="maps"), "auc").value
    )
    for axes, data in zip(panels, DATA, strict=True):
        for place, name in enumerate(order):
            rows = shared.select(found, attack=name, data=data)
            shared.dots(axes, rows, "auc", place, colours[name])
        axes.set_title(shared.NAMES[data], fontsize=9)
        axes.set_xlabel("AUC; a dot a seed, a bar their mean")
        shared.style(axes, chance="x")
    labels = []
    for name in order:
        first = shared.select(found, attack=name)[0]
        trained = first["trainings"] not in ("", "0")
        labels.append(f"{name} *" if trained else name)
    panels[0].set_yticks(range(len(order)), labels)
    figure.supxlabel("* trains reference victims", fontsize=8, x=0.99, ha="right")
    return {"auc": figure}
