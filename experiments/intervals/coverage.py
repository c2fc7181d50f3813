"""How often 95 % intervals hold the truth: `python coverage.py` writes coverage.csv.

`python coverage.py table` prints the tables of the README from it.

Scores are normal with equal variances, so the true AUC and true positive rates are known. In the
clustered part each image shares a normal effect with its cluster (intraclass correlation rho), all
images of a cluster are of one class, and the interval that knows of the clusters stands beside the
one that does not.
"""

from __future__ import annotations

import csv
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.special import ndtr, ndtri
from tqdm import tqdm

from mia_lab.evaluation import auc, auc_interval
from mia_lab.evaluation.bootstrap import auc_bootstrap_interval, tpr_draws, tpr_interval
from mia_lab.run import commit

HERE = Path(__file__).parent
DRAWS = 2000
AREAS = (0.5, 0.8, 0.95, 0.98)
COLUMNS = ("interval", "n", "clusters", "rho", "auc", "true", "coverage", "width", "draws")
ORIGIN = {
    "device": f"CPU, {platform.machine()}",
    "versions": f"numpy {np.__version__}, scipy {scipy.__version__}",
    "commit": commit(),
}
"""Seeds follow from the other columns: see `independent` and `clustered`."""


def independent(n: int, area: float) -> Iterator[dict[str, Any]]:
    """n members against n non-members, all images independent."""
    rng = np.random.default_rng([n, round(1000 * area)])
    shift = np.sqrt(2) * ndtri(area)
    is_member = np.arange(2 * n) < n
    fprs = [f for f in (0.01, 0.1) if 1 / n <= f]
    true = {"AUC, DeLong": area, "AUC, bootstrap": area}
    true |= {f"TPR at {100 * f:g} % FPR": float(ndtr(shift + ndtri(f))) for f in fprs}
    limits: dict[str, list[tuple[float, float]]] = {name: [] for name in true}
    for _ in tqdm(range(DRAWS), f"n {n}, AUC {area}", leave=False):
        scores = rng.normal(size=2 * n) + shift * is_member
        found = [auc_interval(scores, is_member), auc_bootstrap_interval(scores, is_member, rng)]
        found += [*tpr_interval(tpr_draws(scores, is_member, fprs, rng)).T]
        for name, interval in zip(limits, found, strict=True):
            limits[name].append(interval)
    for name, intervals in limits.items():
        yield row(name, n, "", "", area, true[name], np.array(intervals))


def clustered(clusters: int, size: int, rho: float, area: float) -> Iterator[dict[str, Any]]:
    """Clusters of ``size`` images in each class, whose scores correlate by rho."""
    n = clusters * size
    rng = np.random.default_rng([clusters, size, round(100 * rho), round(1000 * area)])
    shift = np.sqrt(2) * ndtri(area)
    is_member = np.arange(2 * n) < n
    code = np.arange(2 * n) // size
    groups = code.astype(str)
    limits: dict[str, list[tuple[float, float]]] = {}
    fprs, true = (0.1,), float(ndtr(shift + ndtri(0.1)))
    for _ in tqdm(range(DRAWS), f"clusters {clusters}, rho {rho}, AUC {area}", leave=False):
        shared = rng.normal(size=2 * clusters)[code]
        own = rng.normal(size=2 * n)
        scores = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own + shift * is_member
        found = {
            "AUC, DeLong": auc_interval(scores, is_member),
            "AUC, clustered": auc_interval(scores, is_member, groups=groups),
            "AUC, clustered bootstrap": auc_bootstrap_interval(scores, is_member, rng, groups),
            "TPR at 10 % FPR": tpr_interval(tpr_draws(scores, is_member, fprs, rng))[:, 0],
            "TPR at 10 % FPR, clustered": tpr_interval(
                tpr_draws(scores, is_member, fprs, rng, groups)
            )[:, 0],
        }
        for name, interval in found.items():
            limits.setdefault(name, []).append(interval)
    for name, intervals in limits.items():
        aim = area if name.startswith("AUC") else true
        yield row(name, n, f"{clusters} of {size}", rho, area, aim, np.array(intervals))


def row(
    name: str, n: int, clusters: str, rho: Any, area: float, true: float, limits: np.ndarray
) -> dict[str, Any]:
    hits = (limits[:, 0] <= true) & (true <= limits[:, 1])
    values = (
        name,
        n,
        clusters,
        rho,
        area,
        round(true, 4),
        hits.mean(),
        np.diff(limits).mean().round(4),
        DRAWS,
    )
    return dict(zip(COLUMNS, values, strict=True)) | ORIGIN


def tables(rows: list[dict[str, str]]) -> str:
    """The README's two tables, in Markdown."""
    alone = [r for r in rows if not r["clusters"]]
    names = list(dict.fromkeys(r["interval"] for r in alone))
    cases = [(n, area) for n in ("50", "200") for area in map(str, AREAS)]
    found = {(r["interval"], r["n"], r["auc"]): r["coverage"] for r in alone}
    lines = [
        "| interval | " + " | ".join(f"{n} + {n}, AUC {area}" for n, area in cases) + " |",
        "|---" * (1 + len(cases)) + "|",
    ]
    for name in names:
        cells = [percent(found.get((name, *case))) for case in cases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    grouped = [r for r in rows if r["clusters"]]
    names = list(dict.fromkeys(r["interval"] for r in grouped))
    settings = list(dict.fromkeys((r["clusters"], r["rho"]) for r in grouped))
    found = {(r["interval"], r["clusters"], r["rho"]): r["coverage"] for r in grouped}
    lines += [
        "",
        "| interval | " + " | ".join(f"{c}, rho {rho}" for c, rho in settings) + " |",
        "|---" * (1 + len(settings)) + "|",
    ]
    for name in names:
        cells = [percent(found[name, c, rho]) for c, rho in settings]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def percent(coverage: str | None) -> str:
    return "-" if coverage is None else f"{100 * float(coverage):.1f}"


def read() -> list[dict[str, str]]:
    with (HERE / "coverage.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    if sys.argv[1:] == ["table"]:
        print(tables(read()))
        return
    # The simulation must aim at what the estimator estimates.
    is_member = np.arange(400_000) < 200_000
    scores = np.random.default_rng(0).normal(size=400_000) + np.sqrt(2) * ndtri(0.8) * is_member
    assert abs(auc(scores, is_member) - 0.8) < 0.005
    with (HERE / "coverage.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *ORIGIN], lineterminator="\n")
        writer.writeheader()
        for n in (50, 200):
            for area in AREAS:
                writer.writerows(independent(n, area))
                file.flush()
        for clusters in (10, 30):
            for rho in (0.0, 0.2, 0.5):
                writer.writerows(clustered(clusters, 5, rho, 0.8))
                file.flush()


if __name__ == "__main__":
    main()
