"""AUC against the victim's epoch: one training a line, audited along the way."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

EPOCHS = {"facades": (2, 4, 8, 16, 32), "maps": (5, 10, 20, 40, 80)}

LONGER = {("pix2pixhd", "maps"): (160,)}
"""Epochs until the AUC of L_rec passes 0.95."""

SEEDS = {"pix2pix": "0,1,2", "pix2pixhd": "0"}

CURVES = {
    (victim, data): EPOCHS[data] + LONGER.get((victim, data), ())
    for victim in SEEDS
    for data in EPOCHS
}

RUNS = {
    f"{data}_{victim}": (
        f"+experiment={data}_{victim} data.source=folder {shared.kept(epochs)} "
        f"victim.epoch={shared.listed(epochs)} seed={SEEDS[victim]}"
    )
    for (victim, data), epochs in CURVES.items()
}

RUNS["perceptual"] = (
    "+experiment=facades_pix2pixhd data.source=folder demo_epochs=32 "
    "victim.lambda_perceptual=100 seed=0"
)

ATTACKS = ("reconstruction", "membership")
BLIND = "difficulty"


def by_epoch(victim: str, data: str, attack: str) -> dict[int, list[shared.Row]]:
    return shared.by_epoch(HERE / f"{data}_{victim}.csv", attack)


def tables() -> dict[str, str]:
    lines = []
    for curve in CURVES:
        scores = {name: by_epoch(*curve, name) for name in (*ATTACKS, BLIND)}
        for epoch, rows in scores["membership"].items():
            lines.append(
                [
                    title(*curve),
                    str(epoch),
                    *(shared.estimate(scores[name][epoch], "auc") for name in ATTACKS),
                    shared.estimate(rows, "difference", "+"),
                    shared.estimate(scores[BLIND][epoch], "auc"),
                ]
            )
    heads = [
        *("victim, data", "epoch", "AUC L_rec", "AUC L_mem", "difference"),
        "difficulty alone (blind)",
    ]
    rows = [row for name in RUNS for row in shared.rows(HERE / f"{name}.csv")]
    return {
        "table": shared.markdown(heads, lines),
        "perceptual": perceptual(),
        "origin": shared.origin(rows),
    }


def perceptual() -> str:
    """What the weight of the perceptual loss does, after the last epoch of the curve."""
    last = EPOCHS["facades"][-1]
    found = {
        shared.override(row, "victim.lambda_perceptual"): row
        for row in shared.rows(HERE / "perceptual.csv", attack="reconstruction")
    }
    (found["10"],) = by_epoch("pix2pixhd", "facades", "reconstruction")[last]
    lines = [[weight, shared.interval(found[weight], "auc")] for weight in sorted(found, key=float)]
    return shared.markdown(["victim.lambda_perceptual", f"AUC L_rec after {last} epochs"], lines)


def title(victim: str, data: str) -> str:
    return f"{victim}, {shared.NAMES[data]}"


def figures() -> dict[str, Figure]:
    figure = shared.canvas(10.0)
    panels = figure.subplots(1, len(CURVES), sharey=True)
    colours = shared.colours([*ATTACKS, BLIND])
    for axes, ((victim, data), epochs) in zip(panels, CURVES.items(), strict=True):
        for name in (*ATTACKS, BLIND):
            label = name if name != BLIND else "difficulty alone (blind)"
            style = "--" if name == BLIND else "-"
            shared.line(axes, by_epoch(victim, data, name), colours[name], label, style)
        axes.set_xscale("log")
        axes.set_xticks(epochs, [str(epoch) for epoch in epochs])
        axes.minorticks_off()
        axes.set(xlabel="epochs of the training", title=title(victim, data))
        axes.title.set_fontsize(9)
        shared.style(axes)
    panels[0].set_ylabel("AUC; a dot a seed")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"auc-epoch": figure}
