"""How often 95 % intervals hold the truth, of scores whose true AUC and rates are known.

Scores are normal with equal variances. In the clustered part each image shares a normal effect with
its cluster (intraclass correlation rho), all images of a cluster are of one class, and the interval
that knows of the clusters stands beside the one that does not. Seeds follow from the other columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

import shared
from mia_lab.evaluation import auc_interval
from mia_lab.evaluation.bootstrap import auc_bootstrap_interval, tpr_draws, tpr_interval
from mia_lab.progress import progress

DRAWS = 2000
AREAS = (0.5, 0.8, 0.95, 0.98)

Row = dict[str, Any]


def measurements() -> Iterator[shared.Measurement]:
    """Both parts, a cell each."""
    for n in (50, 200):
        for area in AREAS:
            what = {"n": n, "clusters": "", "rho": "", "auc": area, "draws": DRAWS}
            yield what, partial(independent, n, area)
    for clusters in (10, 30):
        for rho in (0.0, 0.2, 0.5):
            cell = {"n": 5 * clusters, "clusters": f"{clusters} of 5", "rho": rho, "auc": 0.8}
            yield cell | {"draws": DRAWS}, partial(clustered, clusters, 5, rho, 0.8)


def independent(n: int, area: float) -> Iterator[Row]:
    """n members against n non-members, all images independent."""
    rng = np.random.default_rng([n, round(1000 * area)])
    shift = np.sqrt(2) * ndtri(area)
    is_member = np.arange(2 * n) < n
    fprs = [f for f in (0.01, 0.1) if 1 / n <= f]
    true = {"AUC, DeLong": area, "AUC, bootstrap": area}
    true |= {f"TPR at {100 * f:g} % FPR": float(ndtr(shift + ndtri(f))) for f in fprs}
    limits: dict[str, list[tuple[float, float]]] = {name: [] for name in true}
    for _ in progress(range(DRAWS), f"n {n}, AUC {area}", "draws", is_brief=True):
        scores = rng.normal(size=2 * n) + shift * is_member
        found = [auc_interval(scores, is_member), auc_bootstrap_interval(scores, is_member, rng)]
        found += [*tpr_interval(tpr_draws(scores, is_member, fprs, rng)).T]
        for name, interval in zip(limits, found, strict=True):
            limits[name].append(interval)
    for name, intervals in limits.items():
        yield row(name, true[name], np.array(intervals))


def clustered(clusters: int, size: int, rho: float, area: float) -> Iterator[Row]:
    """Clusters of ``size`` images in each class, whose scores correlate by rho."""
    n = clusters * size
    rng = np.random.default_rng([clusters, size, round(100 * rho), round(1000 * area)])
    shift = np.sqrt(2) * ndtri(area)
    is_member = np.arange(2 * n) < n
    code = np.arange(2 * n) // size
    groups = code.astype(str)
    limits: dict[str, list[tuple[float, float]]] = {}
    fprs, true = (0.1,), float(ndtr(shift + ndtri(0.1)))
    name = f"clusters {clusters}, rho {rho}, AUC {area}"
    for _ in progress(range(DRAWS), name, "draws", is_brief=True):
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
        yield row(name, aim, np.array(intervals))


def row(name: str, true: float, limits: np.ndarray) -> Row:
    """Of intervals (draws, 2): how many hold the truth, and how wide they are."""
    hits = (limits[:, 0] <= true) & (true <= limits[:, 1])
    return {
        "interval": name,
        "true": round(true, 4),
        "coverage": hits.mean(),
        "width": np.diff(limits).mean().round(4),
    }
