"""How do leak and gain move with image size, members and steps?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import ndtr

import shared
from mia_lab.reporting.canvas import INK
from scaling import growth

HERE = Path(__file__).parent

DATA = ("maps", "facades")

SEEDS = "0"

MEMBERS = {"maps": (50, 100, 200), "facades": (50, 100, 150)}

PASSES = {"maps": (5, 10, 20, 40), "facades": (2, 4, 8, 16, 32)}
"""Passes over the members after which a victim is audited."""


def _run(data: str, passes: tuple[int, ...], *rest: str) -> str:
    """Audits along the trainings of one line."""
    return " ".join(
        [
            f"+experiment={data}_pix2pix data.source=folder data.n_auxiliary=0",
            shared.kept(passes),
            *rest,
            f"victim.epoch={shared.listed(passes)}",
        ]
    )


SIDES = {
    data: f"data.n_nonmembers={n} seed={SEEDS} data.n_members={shared.listed(MEMBERS[data])}"
    for data, n in (("maps", 200), ("facades", 150))
}
"""Members and non-members of the cells."""

ONE = "data.n_nonmembers=200 data.n_members=100 seed=0"

RUNS = {
    **{
        f"maps_{size}": _run("maps", PASSES["maps"], f"data.image_size={size} {SIDES['maps']}")
        for size in (32, 64, 128)
    },
    "facades_64": _run("facades", PASSES["facades"], SIDES["facades"]),
    "batch": _run("maps", PASSES["maps"], ONE, "victim.batch_size=1"),
    "jitter": _run("maps", (10, 20, 40, 80), ONE, "victim.flip=true victim.load_scale=1.1171875"),
}

CELLS = ("maps_32", "maps_64", "maps_128", "facades_64")

REFERENCE = {"passes": 20, "pixels": 64, "members": 100, "batch": 4}
"""Where the factors of the law are 1."""

LAW = {
    "passes, Maps": ("doubling the passes, Maps", 2.0),
    "passes, Facades": ("doubling the passes, Facades", 2.0),
    "pixels": ("doubling the pixels a side", 2.0),
    "members": ("doubling the members", 2.0),
    "batch": ("halving the batch", 0.5),
    "jitter": ("jitter and flips", math.e),
    "ended": ("the end of the training, at the lowest learning rate", math.e),
    "Facades": ("Facades instead of Maps", math.e),
}
"""Factors of the law: what a change of each is called, and its size."""

SCORES = {"reconstruction": "L_rec", "membership": "L_mem"}

SIZES = (("facades", 400), ("maps", 400), ("maps", 1096), ("maps", 2975))
"""Members of the predictions: those of the published training sets."""

SETTINGS = {
    "256 px, otherwise as above": {"pixels": 256},
    "batch 1, jitter and flips": {"pixels": 256, "batch": 1, "jitter": 1},
}

COLOURS = {32: "#56B4E9", 64: "#0072B2", 128: "#332288"}
MARKERS = {50: "v", 100: "o", 200: "^"}


class Audit(NamedTuple):
    """One audit of a victim, with what is varied."""

    file: str
    data: str
    seed: int
    settings: dict[str, float]
    rows: dict[str, shared.Row]

    @property
    def training(self) -> tuple[object, ...]:
        """What names the training whose weights are audited."""
        settings = (v for k, v in self.settings.items() if k not in ("passes", "ended"))
        return self.file, self.data, self.seed, *settings

    @property
    def is_cell(self) -> bool:
        """Whether it differs from the others of its data in size and members alone."""
        return self.file in CELLS


@cache
def audits() -> list[Audit]:
    """All audits that were made, with those of longer trainings of the study of over-fitting."""
    longer = [HERE.parent / "overfitting" / f"{data}_pix2pix.csv" for data in DATA]
    found = []
    for file in [*(HERE / f"{name}.csv" for name in RUNS), *longer]:
        for group in shared.grouped(shared.read(file), lambda row: row["key"]).values():
            row = group[0]
            passes = shared.epoch(row)
            settings = {
                "passes": passes,
                "pixels": int(shared.override(row, "data.image_size") or 64),
                "members": int(row["n_members"]),
                "batch": int(shared.override(row, "victim.batch_size") or 4),
                "jitter": int(shared.override(row, "victim.flip") == "true"),
                "ended": int(passes == int(shared.override(row, "demo_epochs"))),
            }
            by_score = {r["attack"]: r for r in group if r["attack"] in SCORES}
            found.append(Audit(file.stem, row["data"], int(row["seed"]), settings, by_score))
    return found


def factors(audit: Audit) -> dict[str, float]:
    """All that the law may depend on."""
    at = {name: audit.settings[name] / value for name, value in REFERENCE.items()}
    is_facades = audit.data == "facades"
    return at | {
        "steps": at["passes"] * at["members"] / at["batch"],
        "passes, Maps": 1.0 if is_facades else at["passes"],
        "passes, Facades": at["passes"] if is_facades else 1.0,
        **{name: math.e if audit.settings[name] else 1.0 for name in ("jitter", "ended")},
        "Facades": math.e if is_facades else 1.0,
    }


def law(found: Sequence[Audit], score: str, axes: Sequence[str]) -> growth.Growth:
    """The law of one score, on some axes."""
    rows = [audit.rows[score] for audit in found]
    ends = [[float(row[f"auc_ci95_{end}"]) for end in ("high", "low")] for row in rows]
    return growth.fitted(
        growth.Audits(
            np.array([float(row["auc"]) for row in rows]),
            np.array([(high - low) / (2 * 1.96) for high, low in ends]),
            np.array([[factors(audit)[name] for name in axes] for audit in found]),
            numbered([audit.training for audit in found]),
            numbered([(audit.data, audit.seed) for audit in found]),
        )
    )


def numbered(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """The number of each name among the different ones."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


@cache
def whole_law(score: str) -> growth.Growth:
    """The law of one score, from all audits."""
    return law(audits(), score, [*LAW])


def curves() -> dict[tuple[object, ...], dict[int, list[Audit]]]:
    """The audits of each cell (data, pixels, members) by passes, a seed each."""
    found: dict[tuple[object, ...], dict[int, list[Audit]]] = {}
    for audit in audits():
        if audit.is_cell:
            s = audit.settings
            at = found.setdefault((audit.data, s["pixels"], s["members"]), {})
            at.setdefault(int(s["passes"]), []).append(audit)
    return found


def cells(data: str) -> str:
    """The AUCs of a dataset's cells, a row a score."""
    passes = PASSES[data]
    heads = ["pixels", "members", "score", *(f"{p} passes" for p in passes)]
    lines = []
    for (of, pixels, members), curve in curves().items():
        if of != data:
            continue
        for score, label in SCORES.items():
            shown = [shared.estimate([a.rows[score] for a in curve[p]], "auc") for p in passes]
            lines.append([f"{pixels}", f"{members}", label, *shown])
    return shared.markdown(heads, lines)


def effects() -> str:
    """By how much each change multiplies z."""
    lines = []
    for place, (label, step) in enumerate(LAW.values()):
        shown = []
        for score in SCORES:
            found = whole_law(score)
            low, high = sorted(step**end for end in found.interval(place))
            value = step ** found.coefficients[1 + place]
            shown.append(f"{value:.2f} [{low:.2f}, {high:.2f}]")
        lines.append([label, *shown])
    heads = ["change", *(f"z of {label} is multiplied by" for label in SCORES.values())]
    return shared.markdown(heads, lines)


AXES = {
    "passes alone": ("passes",),
    "steps alone": ("steps",),
    "passes and pixels": ("passes", "pixels"),
    "passes, pixels and members": ("passes", "pixels", "members"),
}


def collapse() -> str:
    """How far the cells of Maps lie from one curve on several axes."""
    of_maps = [audit for audit in audits() if audit.data == "maps" and audit.is_cell]
    lines = [
        [label, *(f"{law(of_maps, score, axes).misfit:.3f}" for score in SCORES)]
        for label, axes in AXES.items()
    ]
    return shared.markdown(
        ["axis", *(f"deviation of the AUC of {s}" for s in SCORES.values())], lines
    )


def prediction() -> str:
    """What the law says of published sizes."""
    lines = []
    for (data, members), (label, changes) in itertools.product(SIZES, SETTINGS.items()):
        for passes in (20, 50, 200):
            at = {"jitter": 0} | REFERENCE | changes | {"passes": passes, "members": members}
            audit = Audit("", data, 0, at | {"ended": 0}, {})
            shown = [likely(whole_law(score), audit) for score in SCORES]
            lines.append([shared.NAMES[data], f"{members}", label, f"{passes}", *shown])
    heads = ["data", "members", "setting", "passes", *(f"AUC of {s}" for s in SCORES.values())]
    return shared.markdown(heads, lines)


def likely(found: growth.Growth, audit: Audit) -> str:
    """The AUC that a law expects, with its prediction interval."""
    at = [factors(audit)[name] for name in LAW]
    low, high = found.predicted(at)
    return f"{ndtr(found.z(at)):.3f} [{low:.3f}, {high:.3f}]"


def tables() -> dict[str, str]:
    rows = [row for name in RUNS for row in shared.rows(HERE / f"{name}.csv")]
    return {
        "maps": cells("maps"),
        "facades": cells("facades"),
        "effects": effects(),
        "collapse": collapse(),
        "prediction": prediction(),
        "origin": shared.origin(rows),
    }


def figures() -> dict[str, Figure]:
    figure = shared.canvas(8.4, 3.3)
    raw, collapsed, gain = figure.subplots(1, 3)
    found = whole_law("reconstruction")
    for (data, pixels, members), curve in curves().items():
        if data != "maps":
            continue
        look = {"marker": MARKERS[members], "color": COLOURS[pixels], "ms": 4, "lw": 1}
        rec, mem = (
            [shared.mean([audit.rows[score] for audit in at], "auc").value for at in curve.values()]
            for score in SCORES
        )
        z = [found.z([factors(at[0])[name] for name in LAW]) for at in curve.values()]
        raw.plot([*curve], rec, **look)
        collapsed.plot(z, rec, **look | {"lw": 0})
        gain.plot(rec, mem, **look | {"lw": 0})
    z = np.linspace(0, 1.2)
    collapsed.plot(z, ndtr(z), color=INK, lw=1)
    gain.axline((0.5, 0.5), slope=1, color="#AAAAAA", lw=1, ls=":")
    raw.set(xlabel="passes over the members", ylabel="AUC of L_rec", xscale="log")
    raw.set_xticks(PASSES["maps"], [f"{at}" for at in PASSES["maps"]])
    raw.minorticks_off()
    collapsed.set(xlabel="z of the law: passes, size, members", ylabel="AUC of L_rec")
    gain.set(xlabel="AUC of L_rec", ylabel="AUC of L_mem")
    for axes in (raw, collapsed, gain):
        shared.style(axes, chance=None if axes is gain else "y")
    handles = [Line2D([], [], color=COLOURS[size], label=f"{size} px") for size in COLOURS]
    handles += [
        Line2D([], [], color=INK, marker=MARKERS[n], lw=0, ms=4, label=f"{n} members")
        for n in MEMBERS["maps"]
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return {"scaling": figure}
