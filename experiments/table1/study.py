"""Table 1: what both scores find, victim by victim, dataset by dataset."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

import shared

HERE = Path(__file__).parent

EPOCHS = {"facades": 8, "maps": 20, "cityscapes": 15}
"""Where either victim gives many members away, not all (see overfitting)."""

RUNS = {
    f"{data}_{victim}": (
        f"+experiment={data}_{victim} data.source=folder demo_epochs={epochs} "
        "data.protocol=resplit,official seed=0,1,2"
    )
    for victim in ("pix2pix", "pix2pixhd")
    for data, epochs in EPOCHS.items()
}

PUBLISHED = {
    ("pix2pix", "facades"): (0.9339, 0.9662),
    ("pix2pix", "maps"): (0.8419, 0.9054),
    ("pix2pix", "cityscapes"): (0.7744, 0.8223),
    ("pix2pixhd", "facades"): (0.9891, 0.9902),
    ("pix2pixhd", "maps"): (0.9573, 0.9989),
    ("pix2pixhd", "cityscapes"): (0.9604, 0.9919),
}
"""Shafran et al. 2021, Table 1: AUC of the reconstruction and of the membership error."""

ATTACKS = ("reconstruction", "membership")


def rows() -> list[shared.Row]:
    return [row for experiment in RUNS for row in shared.rows(HERE / f"{experiment}.csv")]


def cells() -> list[tuple[str, str, str, dict[str, list[shared.Row]]]]:
    """Protocol, victim, dataset, and the rows of both scores, a seed each."""
    found = shared.grouped(rows(), cell)
    return [
        (*at, {name: shared.select(found[at], attack=name) for name in ATTACKS})
        for split in ("resplit", "official")
        for victim, data in PUBLISHED
        if (at := (split, victim, data)) in found
    ]


def cell(row: shared.Row) -> tuple[str, str, str]:
    """Protocol, victim and dataset of a row."""
    return shared.override(row, "data.protocol"), row["victim"], row["data"]


def signs(membership: list[shared.Row]) -> str:
    """The sign of each seed's paired difference, in bold where its interval excludes zero."""
    found = []
    for row in membership:
        value, low, high = (
            float(row[f"difference{end}"]) for end in ("", "_ci95_low", "_ci95_high")
        )
        sign = "+" if value > 0 else "-" if value < 0 else "0"
        found.append(f"**{sign}**" if low > 0 or high < 0 else sign)
    return " ".join(found)


def tables() -> dict[str, str]:
    lines: dict[str, list[list[str]]] = {"resplit": [], "official": []}
    for split, victim, data, found in cells():
        lines[split].append(
            [
                f"{victim}, {shared.NAMES[data]}",
                *(shared.text(shared.mean(found[name], "auc")) for name in ATTACKS),
                shared.text(shared.mean(found["membership"], "difference"), "+"),
                signs(found["membership"]),
                shared.text(shared.mean(found["membership"], "excess"), "+"),
                " → ".join(f"{value:.3f}" for value in PUBLISHED[victim, data]),
            ]
        )
    heads = [
        *("victim, data", "AUC L_rec", "AUC L_mem", "difference", "its sign, by seed"),
        *("L_mem's excess over blind", "published L_rec → L_mem"),
    ]
    tables = {split: shared.markdown(heads, made) for split, made in lines.items()}
    return tables | {"origin": shared.origin(rows())}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(7.2, 3.4)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    colours = shared.colours(ATTACKS)
    for axes, split in zip(panels, ("resplit", "official"), strict=True):
        shown = [cell for cell in cells() if cell[0] == split]
        for place, (_, _, _, found) in enumerate(reversed(shown)):
            for offset, name in zip((0.14, -0.14), ATTACKS, strict=True):
                label = name if place == 0 else None
                shared.dots(axes, found[name], "auc", place + offset, colours[name], label)
        labels = [f"{victim}\n{shared.NAMES[data]}" for _, victim, data, _ in reversed(shown)]
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        heading = "random re-split" if split == "resplit" else "published train and test folders"
        axes.set_title(heading, fontsize=9)
        axes.set_xlabel("AUC; a dot a seed, a bar their mean")
        shared.style(axes, chance="x")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return {"auc": figure}
