"""Attacks on victims that answer at random, with and without difficulty, along the training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

SEEDS = "0"
"""More of them, such as "0,1,2", add to the rows that are there."""

EPOCHS = {
    "maps_pix2pix": (10, 20, 40, 80),
    "maps_diffusion": (125, 250, 300, 350, 500),
    "facades_pix2pix": (4, 8, 16, 32),
    "facades_diffusion": (60, 80, 100, 125, 150),
}
"""Those that are audited; the last ends the training."""

KEPT = {**EPOCHS, "maps_diffusion": (125, 250, 300, 350, 400, 450, 500)}
"""Those whose weights are kept, a setting of the training."""

IMAGES = (
    "data.source=folder data.n_members=64 data.n_nonmembers=64 data.n_auxiliary=32 query.repeats=4"
)

OF_VICTIM = {
    # Dropout is active, as its authors test it; a U-Net for 32 px has no layer with dropout.
    "pix2pix": "data.image_size=64 attack=answers_only query.mode=train",
    "diffusion": ("data.image_size=32 attack=diffusion victim.batch_size=8 victim.noise_bias=2"),
}


def _line(name: str) -> str:
    *kept, last = KEPT[name]
    return (
        f"+experiment={name} {IMAGES} {OF_VICTIM[name.partition('_')[2]]} victim.epochs={last} "
        f"'victim.keep_epochs=[{shared.listed(kept)}]' "
        f"victim.epoch={shared.listed(EPOCHS[name])} seed={SEEDS}"
    )


RUNS = {name: _line(name) for name in EPOCHS}

CORRECTED = {
    "reconstruction": "membership",
    **{
        name: f"{name}_corrected"
        for name in (
            *("mean_error", "min_error", "quantile_error", "rediffuse", "spread", "embedding"),
            *("mid_frequency", "condition_gap", "fluctuation"),
        )
    },
}
"""Each attack, and the same less what the difficulty explains."""

MODEL = ("denoising_loss", "secmi", "pia")
"""Attacks of somebody who holds the diffusion model."""

DRAWN = ("reconstruction", "membership", "mean_error", "mean_error_corrected", "rediffuse")


def by_epoch(name: str, attack: str) -> dict[int, list[shared.Row]]:
    return shared.by_epoch(HERE / f"{name}.csv", attack)


def _title(name: str) -> str:
    data, _, victim = name.partition("_")
    return f"{shared.NAMES[data]}, {victim}"


def _course(name: str) -> str:
    """AUC of every attack at every epoch, mean over seeds."""
    attacks = [a for pair in CORRECTED.items() for a in pair]
    attacks += MODEL if name.endswith("diffusion") else ()
    lines = []
    for attack in (*attacks, "difficulty"):
        found = by_epoch(name, attack)
        label = f"{attack} (blind)" if attack == "difficulty" else attack
        queries = {row["queries"] for rows in found.values() for row in rows}
        cells = [f"{shared.mean(rows, 'auc').value:.3f}" for rows in found.values()]
        lines.append([label, *cells, ", ".join(queries)])
    return shared.markdown(["attack", *map(str, EPOCHS[name]), "queries"], lines)


def _gains(name: str) -> list[list[str]]:
    """What averaging and difficulty buy, at each epoch."""
    lines = []
    auc = {
        attack: {epoch: shared.mean(rows, "auc").value for epoch, rows in found.items()}
        for attack in ("reconstruction", "membership", "mean_error", "mean_error_corrected")
        if (found := by_epoch(name, attack))
    }
    for epoch, plain in auc["reconstruction"].items():
        averaged, difficulty = auc["mean_error"][epoch], auc["membership"][epoch]
        both = auc["mean_error_corrected"][epoch]
        cells = (f"{value - plain:+.3f}" for value in (averaged, difficulty, both))
        lines.append([_title(name), str(epoch), f"{plain:.3f}", *cells])
    return lines


def _last(name: str) -> list[list[str]]:
    """The epoch before the last in full, with the intervals of the audit of the first seed."""
    lines = []
    attacks = [a for pair in CORRECTED.items() for a in pair]
    attacks += MODEL if name.endswith("diffusion") else ()
    for attack in attacks:
        row = by_epoch(name, attack)[EPOCHS[name][-2]][0]
        rate = f"{float(row['tpr_at_fpr_0.1']):.2f}"
        excess = shared.interval(row, "excess", "+")
        lines.append([_title(name), attack, shared.interval(row, "auc"), rate, excess])
    return lines


def tables() -> dict[str, str]:
    gains = [line for name in EPOCHS for line in _gains(name)]
    last = [line for name in EPOCHS for line in _last(name)]
    everything = [row for name in EPOCHS for row in shared.read(HERE / f"{name}.csv")]
    return {
        **{name: _course(name) for name in EPOCHS},
        "gains": shared.markdown(
            ["victim", "epoch", "AUC of one error", "+ averaging", "+ difficulty", "+ both"], gains
        ),
        "last": shared.markdown(
            ["victim", "attack", "AUC", "TPR at 10 % FPR", "excess over blind"], last
        ),
        "origin": shared.origin(everything),
    }


def figures() -> dict[str, Figure]:
    figure = shared.canvas(7.0, 5.6)
    panels = figure.subplots(2, 2, sharey=True).ravel()
    colours = shared.colours([*DRAWN, "secmi"])
    for axes, name in zip(panels, EPOCHS, strict=True):
        drawn = (*DRAWN, "secmi") if name.endswith("diffusion") else DRAWN
        for attack in drawn:
            found = by_epoch(name, attack)
            style = "--" if attack.endswith("_corrected") else ":" if attack == "secmi" else "-"
            shared.line(axes, found, colours[attack], attack, style)
        axes.set_xscale("log")
        axes.set_xticks([*found], [str(epoch) for epoch in found])
        axes.minorticks_off()
        axes.set(xlabel="epochs of the victim's training", title=_title(name))
        axes.title.set_fontsize(9)
        shared.style(axes)
    for axes in panels[::2]:
        axes.set_ylabel("AUC")
    handles, names = panels[1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"auc-epoch": figure}
