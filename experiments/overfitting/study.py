"""AUC against the victim's epoch: one training a line, audited along the way."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

EPOCHS = {
    "facades_pix2pix": (2, 4, 8, 16, 32),
    "maps_pix2pix": (5, 10, 20, 40, 80),
    "facades_pix2pixhd": (25, 50, 75, 100, 125, 150, 175, 200),
}

SEEDS = {"facades_pix2pix": "0,1,2", "maps_pix2pix": "0,1,2", "facades_pix2pixhd": "0"}

RUNS = {
    name: (
        f"+experiment={name} data.source=folder demo_epochs={epochs[-1]} "
        f"'victim.keep_epochs=[{','.join(map(str, epochs[:-1]))}]' "
        f"victim.epoch={','.join(map(str, epochs))} seed={SEEDS[name]}"
    )
    for name, epochs in EPOCHS.items()
}

CROWDED = {75, 125, 150, 175}
"""Epochs without a tick."""

ATTACKS = ("reconstruction", "membership")
BLIND = "difficulty"


def by_epoch(name: str, attack: str) -> dict[int, list[shared.Row]]:
    found = shared.rows(HERE / f"{name}.csv", attack=attack)
    groups = shared.grouped(found, lambda row: int(row["epoch"] or row["epochs"]))
    return dict(sorted(groups.items()))


def title(name: str) -> str:
    """Victim and dataset of a file."""
    data, victim = name.split("_")
    return f"{victim}, {shared.NAMES[data]}"


def tables() -> dict[str, str]:
    lines = []
    for curve in EPOCHS:
        scores = {name: by_epoch(curve, name) for name in (*ATTACKS, BLIND)}
        for epoch, rows in scores["membership"].items():
            lines.append(
                [
                    title(curve),
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
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(rows)}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(3 * len(EPOCHS))
    panels = figure.subplots(1, len(EPOCHS), sharey=True)
    colours = shared.colours([*ATTACKS, BLIND])
    for axes, curve in zip(panels, EPOCHS, strict=True):
        for name in (*ATTACKS, BLIND):
            label = name if name != BLIND else "difficulty alone (blind)"
            style = "--" if name == BLIND else "-"
            shared.line(axes, by_epoch(curve, name), colours[name], label, style)
        axes.set_xscale("log")
        shown = [epoch for epoch in EPOCHS[curve] if epoch not in CROWDED]
        axes.set_xticks(shown, [str(epoch) for epoch in shown])
        axes.minorticks_off()
        axes.set(xlabel="epochs of the victim's training", title=title(curve))
        axes.title.set_fontsize(9)
        shared.style(axes)
    panels[0].set_ylabel("AUC; a dot a seed")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"auc-epoch": figure}
