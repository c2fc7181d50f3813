"""How should the difficulty be computed? Chosen on some seeds, confirmed on others."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared
from mia_lab.evaluation.repeats import mean_over_repeats

HERE = Path(__file__).parent

EPOCHS = {"facades": 8, "maps": 20, "cityscapes": 15}
"""As in table1, whose victims these are where the seeds are the same."""

SEEDS = {
    "choose": {"facades": "0,1,2", "maps": "0,1,2"},
    "confirm": {"facades": "3,4,5", "maps": "3,4,5", "cityscapes": "0,1,2"},
}

GRID = (
    "data.n_auxiliary=0 attack.alpha=0.5 difficulty.preprocess=aligned,official "
    "'difficulty.grid.layers=[[1],[4]]' 'difficulty.grid.ridge=[0,auto]' "
    "'difficulty.grid.features_from=[target]' 'difficulty.grid.alpha=[1]'"
)

"""Weight 0.5, the former default, besides 1."""

BACKBONES = (
    "attack.alpha=0.5 'difficulty.grid.layers=[[4]]' 'difficulty.grid.alpha=[1]' "
    "'difficulty.grid.backbone=["
    "{name: tf_efficientnet_lite0, weights: random}, {name: wide_resnet50_2, weights: random}]'"
)

RUNS = {
    f"{step}-{data}": (
        f"+experiment={data}_pix2pix data.source=folder demo_epochs={EPOCHS[data]} "
        f"{GRID} seed={seeds}"
    )
    for step, sets in SEEDS.items()
    for data, seeds in sets.items()
} | {
    "backbones": (
        f"+experiment=maps_pix2pix data.source=folder demo_epochs={EPOCHS['maps']} seed=0,1,2 "
        f"{BACKBONES}"
    )
}
TIE = 0.002
"""Differences of mean gain below this are none: seeds move it by ten times as much."""

FORMER = ("aligned", "input", "1,2,3,4", "1", "0.5")
DEFAULT = (*FORMER[:-1], "1")
"""Framing, side, blocks, ridge and weight."""

HEADS = ("framing", "features of the", "blocks", "ridge")
"""What the settings but the weight are called in the table."""

Setting = tuple[str, ...]


def _setting(row: shared.Row) -> Setting:
    ridge = row["ridge"] if row["ridge"] == "auto" else f"{float(row['ridge']):g}"
    framing = shared.override(row, "difficulty.preprocess")
    return framing, row["features_from"], row["layers"], ridge, f"{float(row['alpha']):g}"


def gains(file: str) -> dict[Setting, list[float]]:
    """Gain of the membership over the reconstruction error, a seed each, by setting."""
    return shared.grid_gains(HERE / f"{file}.csv", _setting)


def _files(step: str) -> list[str]:
    return [f"{step}-{data}" for data in SEEDS[step]]


def mean_gains(step: str) -> dict[Setting, float]:
    """Of each setting, over the seeds, then over the data of a step, each with equal weight."""
    tables = [gains(file) for file in _files(step)]
    return {
        at: sum(mean_over_repeats(table[at]).value for table in tables) / len(tables)
        for at in tables[0]
    }


def chosen() -> Setting:
    """Of the settings as good as the best where it may be looked at, the one nearest the former."""
    means = mean_gains("choose")
    good = [at for at, gain in means.items() if gain > max(means.values()) - TIE]
    return min(good, key=lambda at: sum(a != b for a, b in zip(at, FORMER, strict=True)))


def _shown() -> list[tuple[str, Setting]]:
    """For each weight, the former default and what differs from it in one more place."""
    former = FORMER[:-1]
    *places, last = zip(*gains("choose-maps"), strict=True)
    found = []
    for alpha in dict.fromkeys(last):
        found.append(("all four blocks of the input, aligned, ridge 1", (*former, alpha)))
        for place, values in enumerate(places):
            for value in dict.fromkeys(values):
                if value != former[place]:
                    at = (*former[:place], value, *former[place + 1 :], alpha)
                    found.append((f"{HEADS[place]} {value}", at))
    return found


def tables() -> dict[str, str]:
    files = [*_files("choose"), *_files("confirm")]
    found = {file: gains(file) for file in files}
    marks = {FORMER: " (former default)", chosen(): " (chosen)", DEFAULT: " (default)"}
    lines = [
        [
            at[-1],
            name + marks.get(at, ""),
            *(shared.text(mean_over_repeats(found[file][at]), "+") for file in files),
        ]
        for name, at in _shown()
    ]
    heads = ["alpha", "setting"]
    for step, sets in SEEDS.items():
        heads += [f"{step}: {shared.NAMES[data]}, seeds {seeds}" for data, seeds in sets.items()]
    everything = [row for file in RUNS for row in shared.rows(HERE / f"{file}.csv")]
    return {
        "table": shared.markdown(heads, lines),
        "backbones": _backbones(),
        "origin": shared.origin(everything),
    }


def _backbones() -> str:
    found = shared.grid_gains(
        HERE / "backbones.csv",
        lambda row: (row["backbone"], row["layers"], f"{float(row['alpha']):g}"),
    )
    lines = [[*at, shared.text(mean_over_repeats(values), "+")] for at, values in found.items()]
    return shared.markdown(["backbone", "blocks", "alpha", "gain on Maps"], lines)


def figures() -> dict[str, Figure]:
    """Each setting's mean gain where it was chosen, against where it was confirmed."""
    first, second = (mean_gains(step) for step in SEEDS)
    figure = shared.canvas(5.4, 4.0)
    axes = figure.subplots()
    styles = {"0.5": "#E69F00", "1": "#D55E00"}
    for at, x in first.items():
        marker = "o" if at[1] == "input" else "x"
        axes.plot(x, second[at], marker, color=styles[at[-1]], ms=4)
    marked = {"former default": FORMER, "chosen": chosen(), "default": DEFAULT}
    for name, at in marked.items():
        x, y = first[at], second[at]
        axes.plot(x, y, "s", mfc="none", color="black", ms=9)
        axes.annotate(name, (x, y), xytext=(8, -12), textcoords="offset points", fontsize=9)
    for alpha, colour in styles.items():
        axes.plot([], [], "s", color=colour, label=f"alpha {alpha}")
    axes.plot([], [], "o", color="#6E6E6E", label="features of the input")
    axes.plot([], [], "x", color="#6E6E6E", label="of the target")
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#DDDDDD", lw=1, zorder=0)
    axes.set(
        xlabel="mean gain in AUC where it was chosen", ylabel="mean gain where it was confirmed"
    )
    shared.style(axes, chance=None)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return {"gain": figure}
