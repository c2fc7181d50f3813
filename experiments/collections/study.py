"""Was a collection used? Collections of real Maps, all, half or none of which a victim has seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import mia_lab
import shared
from mia_lab.config.compose import composed
from mia_lab.stages.graph import run_stages
from mia_lab.store import Store

HERE = Path(__file__).parent
RESULTS, NEEDED = HERE / "results.csv", HERE / "needed.csv"

VICTIM = (
    *("+experiment=maps_pix2pix", "data.source=folder", "demo_epochs=20", "data.n_members=300"),
    *("data.n_nonmembers=300", "data.n_auxiliary=400", "seed=0", "trainer.threads=1"),
    "tracking.mode=disabled",
)

SIZES = {"used": (200, 0), "half": (50, 50), "new": (0, 200)}
"""Members and others of each collection; of the rest, 50 members and 450 others are known."""

KNOWN = (50, 450)

COLLECTIONS = {"used": "all used", "half": "half used", "new": "not used"}

Row = dict[str, Any]


def measurements() -> Iterator[shared.Measurement]:
    """With and without known members."""
    for with_members in (True, False):
        yield {"known members": "yes" if with_members else "no"}, partial(results, with_members)


def needed() -> Iterator[shared.Measurement]:
    """The curve of needed images."""
    yield {"part": "curve"}, partial(curve)


def results(with_members: bool) -> Iterable[Row]:
    """One row per collection."""
    return found(with_members).table().reset_index().to_dict("records")


def curve() -> Iterable[Row]:
    """One row per collection and number of images."""
    return found(True).needed().to_dict("records")


@cache
def found(with_members: bool) -> mia_lab.Collections:
    """All three collections, tested on the victim."""
    config = composed(*VICTIM, f"paths.outputs={HERE.parents[1] / 'outputs'}")
    stages = run_stages(config)
    with Store(Path(config.paths.store)) as store:
        store.result(stages.victim)
        querying = stages.reconstructions.querying
        victim = stages.victim.open(store, querying.accelerator, querying.mode, querying.epoch)
        images = stages.images
        members, others = [*images.members], [*images.nonmembers, *images.auxiliaries]

        def take(counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            ids = [members.pop(0) for _ in range(counts[0])]
            ids += [others.pop(0) for _ in range(counts[1])]
            batches = [*images.dataset.subset(ids).batches(16)]
            x, y = ([getattr(batch, side).numpy() for batch in batches] for side in "xy")
            return np.concatenate(x), np.concatenate(y)

        rng = np.random.default_rng(0)
        rng.shuffle(members)
        rng.shuffle(others)
        collections = {name: take(counts) for name, counts in SIZES.items()}
        known = take((KNOWN[0], 0))
        return mia_lab.dataset_inference(
            victim.translate,
            collections,
            comparison=take((0, KNOWN[1])),
            members=known if with_members else None,
        )


MEASURED = {"results": measurements, "needed": needed}


def tables() -> dict[str, str]:
    heads = ["collection", "images", "p, Holm", "best blind AUC [upper bound]", "answer"]
    lines = []
    with_members = shared.rows(RESULTS, **{"known members": "yes"})
    without = {row["collection"]: row for row in shared.rows(RESULTS, **{"known members": "no"})}
    for row in with_members:
        low, high = float(row["share_ci95_low"]), float(row["share_ci95_high"])
        lines.append(
            [
                COLLECTIONS[row["collection"]],
                row["images"],
                f"{float(row['holm_p']):.4f}",
                f"{float(row['blind_max']):.3f} [{float(row['blind_upper95']):.3f}]",
                row["answer"],
                f"{float(row['share']):.2f} [{low:.2f}, {high:.2f}]",
                f"{float(without[row['collection']]['share']):.2f}",
            ]
        )
    heads += ["share used", "lower bound without known members"]
    return {"table": shared.markdown(heads, lines), "origin": shared.origin(with_members)}


def figures() -> dict[str, Figure]:
    figure = shared.canvas(6.0, 3.2)
    axes = figure.subplots()
    colours = dict(zip(COLLECTIONS, ("#D55E00", "#E69F00", "#6E6E6E"), strict=True))
    for name, rows in shared.grouped(shared.rows(NEEDED), lambda row: row["collection"]).items():
        sizes = [int(row["images"]) for row in rows]
        medians = [max(float(row["median_p"]), 1e-12) for row in rows]
        axes.plot(sizes, medians, "-o", ms=3.5, color=colours[name], label=COLLECTIONS[name])
    axes.axhline(0.05, color="#222222", lw=1, ls=":", label="p = 0.05")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("images of the collection, and as many of the comparison")
    axes.set_ylabel("median p-value of 200 subsets")
    axes.legend(frameon=False, fontsize=8)
    shared.style(axes, chance=None)
    return {"needed": figure}
