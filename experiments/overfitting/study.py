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

ATTACKS = ("reconstruction", "membership")
BLIND = "difficulty"


def by_epoch(data: str, attack: str) -> dict[int, list[shared.Row]]:
    found = shared.rows(HERE / f"{data}.csv", attack=attack)
    groups = shared.grouped(found, lambda row: int(row["epoch"] or row["epochs"]))
    return dict(sorted(groups.items()))


def tables() -> dict[str, str]:
    lines = []
    for data in EPOCHS:
        scores = {name: by_epoch(data, name) for name in (*ATTACKS, BLIND)}
        for epoch, rows in scores["membership"].items():
            lines.append(
                [
                    shared.NAMES[data],
                    str(epoch),
                    *(shared.text(shared.mean(scores[name][epoch], "auc")) for name in ATTACKS),
                    shared.text(shared.mean(rows, "difference"), "+"),
                    shared.text(shared.mean(scores[BLIND][epoch], "auc")),
                ]
            )
    heads = ["data", "epoch", "AUC L_rec", "AUC L_mem", "difference", "difficulty alone (blind)"]
    return {
        "table": shared.markdown(heads, lines),
        "origin": shared.origin(
            [row for data in RUNS for row in shared.rows(HERE / f"{data}.csv")]
        ),
    }


def figures() -> dict[str, Figure]:
    figure = shared.canvas()
    panels = figure.subplots(1, 2, sharey=True)
    colours = shared.colours([*ATTACKS, BLIND])
    for axes, data in zip(panels, EPOCHS, strict=True):
        for name in (*ATTACKS, BLIND):
            found = by_epoch(data, name)
            label = name if name != BLIND else "difficulty alone (blind)"
            style = "--" if name == BLIND else "-"
            shared.line(axes, found, colours[name], label, style)
        axes.set_xscale("log")
        axes.set_xticks([*found], [str(epoch) for epoch in found])
        axes.minorticks_off()
        axes.set(xlabel="epochs of the victim's training", title=shared.NAMES[data])
        axes.title.set_fontsize(9)
        shared.style(axes)
    panels[0].set_ylabel("AUC; a dot a seed")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"auc-epoch": figure}
