"""Table 2: other difficulty scores in place of the probe's."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

BOTH = "+experiment=maps_pix2pix,cityscapes_pix2pix data.source=folder demo_epochs=20"
STATISTICS = "compressed_size,edge_density,total_variation,entropy"


def _elsewhere(data: str, other: str) -> str:
    return (
        f"+experiment={data}_pix2pix data.source=folder demo_epochs=20 difficulty=multi_image "
        f"+data@reference.data={other} reference.data.n_auxiliary=100 reference.count=2 "
        "attack.alpha=0.5,1 seed=0,1,2"
    )


RUNS = {
    "results": f"{BOTH} difficulty=none,single_image,multi_image attack.alpha=0.5,1 seed=0,1,2",
    "statistics": (
        f"{BOTH} difficulty=image_statistics difficulty.statistic={STATISTICS} "
        "attack.alpha=0.05,0.5,1 seed=0,1,2"
    ),
    "maps-elsewhere": _elsewhere("maps", "cityscapes"),
    "cityscapes-elsewhere": _elsewhere("cityscapes", "maps"),
}

DATA = ("maps", "cityscapes")


def _rows() -> list[shared.Row]:
    """Of the membership attack."""
    files = (HERE / f"{file}.csv" for file in RUNS)
    return [row for file in files for row in shared.rows(file, attack="membership")]


def _name(row: shared.Row) -> str:
    """What the difficulty is called in the table."""
    if "reference.data" in row["overrides"]:
        return "multi_image, of other data"
    statistic = shared.override(row, "difficulty.statistic").replace("_", " ")
    return statistic or shared.override(row, "difficulty")


def _settings() -> dict[tuple[str, str], list[shared.Row]]:
    """By difficulty and weight, which means nothing without a difficulty."""
    found = shared.grouped(_rows(), lambda row: (_name(row), f"{float(row['alpha']):g}"))
    return {at: rows for at, rows in found.items() if at != ("none", "0.5")}


def tables() -> dict[str, str]:
    lines = []
    for (name, alpha), rows in _settings().items():
        line = [name, "" if name == "none" else alpha]
        for data in DATA:
            mine = shared.select(rows, data=data)
            line.append(shared.text(shared.mean(mine, "auc")))
            gain = "" if name == "none" else shared.text(shared.mean(mine, "difference"), "+")
            line.append(gain)
        lines.append(line)
    heads = ["difficulty", "alpha"]
    for data in DATA:
        heads += [f"{shared.NAMES[data]}: AUC L_mem", "less L_rec's"]
    return {
        "table": shared.markdown(heads, lines),
        "origin": shared.origin(_rows()),
    }


def figures() -> dict[str, Figure]:
    found = _settings()
    figure = shared.canvas(7.2, 3.6)
    panels = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(name for name, _ in found))
    shades = {"0.05": "#BBBBBB", "0.5": "#E69F00", "1": "#D55E00"}
    for axes, data in zip(panels, DATA, strict=True):
        for (name, alpha), rows in found.items():
            if name == "none":
                continue
            mine = shared.select(rows, data=data)
            at = len(names) - names.index(name) + {"0.05": 0.22, "0.5": 0.0, "1": -0.22}[alpha]
            shared.dots(axes, mine, "difference", at, shades[alpha])
        axes.axvline(0, color="#AAAAAA", lw=1, ls=":")
        axes.set_title(shared.NAMES[data], fontsize=9)
        axes.set_xlabel("gain in AUC over L_rec; a dot a seed")
        shared.style(axes, chance=None)
    ticks = [name for name in names if name != "none"]
    panels[0].set_yticks([len(names) - names.index(name) for name in ticks], ticks, fontsize=8)
    handles = [
        panels[0].plot([], [], ".", color=shade, label=f"alpha {alpha}")[0]
        for alpha, shade in shades.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"gain": figure}
