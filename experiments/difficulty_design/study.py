"""How should the difficulty be computed? Chosen on some seeds, confirmed on others."""

from __future__ import annotations

from pathlib import Path

import shared
from matplotlib.figure import Figure

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
"""Weight 0.5, the former default, besides 1."""

TIE = 0.002
"""Differences of mean gain below this are none: seeds move it by ten times as much."""

FORMER = {
    "preprocess": "aligned",
    "features_from": "input",
    "layers": "1,2,3,4",
    "ridge": "1",
    "alpha": "0.5",
}

HEADS = {
    "preprocess": "framing",
    "features_from": "features of",
    "layers": "blocks",
    "ridge": "ridge",
    "alpha": "alpha",
}

Setting = tuple[str, ...]


def gains(file: str) -> dict[Setting, list[float]]:
    """Gain of the membership over the reconstruction error, a seed each, by setting."""
    plain = {
        row["key"]: float(row["auc"])
        for row in shared.rows(HERE / f"{file}.csv", attack="reconstruction")
    }
    found: dict[Setting, list[float]] = {}
    for row in shared.rows(HERE / f"{file}-grid.csv"):
        framing = shared.override(row, "difficulty.preprocess")
        ridge = row["ridge"] if row["ridge"] == "auto" else f"{float(row['ridge']):g}"
        at = (framing, row["features_from"], row["layers"], ridge, f"{float(row['alpha']):g}")
        found.setdefault(at, []).append(float(row["auc"]) - plain[row["key"]])
    return found


def _files(step: str) -> list[str]:
    return [f"{step}-{data}" for data in SEEDS[step]]


def mean_gains(step: str) -> dict[Setting, float]:
    """Of each setting, over the seeds, then over the data of a step, each with equal weight."""
    tables = [gains(file) for file in _files(step)]
    return {
        at: sum(shared.mean_of(table[at]).value for table in tables) / len(tables)
        for at in tables[0]
    }


def chosen() -> Setting:
    """Of the settings as good as the best where it may be looked at, the one nearest the former."""
    means = mean_gains("choose")
    good = [at for at, gain in means.items() if gain > max(means.values()) - TIE]
    return min(good, key=lambda at: sum(a != b for a, b in zip(at, FORMER.values(), strict=True)))


def _shown() -> dict[str, Setting]:
    """The former default, what differs from it in one place, and the chosen one."""
    former = tuple(FORMER.values())
    values = [list(dict.fromkeys(at[i] for at in gains("choose-maps"))) for i in range(len(FORMER))]
    found = {"former default": former}
    for place, name in enumerate(FORMER):
        for value in values[place]:
            if value != former[place]:
                changed = (*former[:place], value, *former[place + 1 :])
                found[f"{HEADS[name]} {value}"] = changed
    return found | {f"chosen: {', '.join(chosen())}": chosen()}


def tables() -> dict[str, str]:
    files = [*_files("choose"), *_files("confirm")]
    found = {file: gains(file) for file in files}
    lines = [
        [name, *(shared.text(shared.mean_of(found[file][at]), "+") for file in files)]
        for name, at in _shown().items()
    ]
    heads = ["setting"]
    for step, sets in SEEDS.items():
        heads += [f"{step}: {shared.NAMES[data]}, seeds {seeds}" for data, seeds in sets.items()]
    everything = [row for file in RUNS for row in shared.rows(HERE / f"{file}.csv")]
    return {
        "table": shared.markdown(heads, lines),
        "backbones": _backbones(),
        "origin": shared.origin(everything),
    }


def _backbones() -> str:
    plain = {
        row["key"]: float(row["auc"])
        for row in shared.rows(HERE / "backbones.csv", attack="reconstruction")
    }
    found: dict[tuple[str, ...], list[float]] = {}
    for row in shared.rows(HERE / "backbones-grid.csv"):
        at = (row["backbone"], row["layers"], f"{float(row['alpha']):g}")
        found.setdefault(at, []).append(float(row["auc"]) - plain[row["key"]])
    lines = [[*at, shared.text(shared.mean_of(values), "+")] for at, values in found.items()]
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
    former = tuple(FORMER.values())
    marked = {"former default": former, "chosen": chosen(), "default": (*former[:-1], "1")}
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
