"""Sweeps made by hand: what the points' folders hold, without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mia_lab.sweeps.point import Point, State

STAGES = {"split": 0.5, "victim": 61.25, "evaluation": 1.0}


NO_BOUND = {
    **{"value": None, "hypothesis": "it is private", "why": "no bound", "chosen": ""},
    **{"candidates": 0, "guesses": 0, "correct": 0, "delta": 0.0},
}


def evaluation(area: float, rate: float | None = 0.25) -> dict[str, Any]:
    found = None
    if rate is not None:
        found = {"value": rate, "ci95": [rate / 2, 2 * rate]}
        found |= {"realised_fpr": 0.1, "true_positives": 10, "false_positives": 4}
    return {
        "auc": area,
        "auc_ci95": [area - 0.1, area + 0.05],
        "auc_bootstrap_ci95": [area - 0.09, area + 0.06],
        "p_value": 0.01,
        "tpr_at_fpr": {"0.01": None, "0.1": found},
        "tpr_at_zero_fp": 0.1,
        "tpr_at_zero_fp_ci95": [0.05, 0.2],
    }


def attack(area: float, rate: float | None = 0.25) -> dict[str, Any]:
    return {
        **evaluation(area, rate),
        "fixed_threshold": {},
        "hindsight": {"threshold": None, "tpr": 0.0, "fpr": 0.0, "accuracy": 0.5},
        "calibration": None,
        "epsilon": {"approximate_dp": NO_BOUND, "gaussian_dp": NO_BOUND},
        "knowledge": {"images": 0, "architecture": "", "queries": 1, "trainings": 0},
    }


def compared(first: str, second: str, difference: float) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "difference": difference,
        "ci95": [difference - 0.04, difference + 0.03],
        "p_value": 0.2,
    }


def metrics(area: float, verdict: str = "sound", **changes: Any) -> dict[str, Any]:
    """An audit's ``metrics.json``; the gain is 0.05."""
    return {
        "schema": "mia_lab metrics 3",
        "name": "facades",
        "n_members": 40,
        "n_nonmembers": 30,
        "attacks": {
            "reconstruction": attack(area - 0.05),
            "membership": attack(area, rate=0.4),
        },
        "comparisons": [compared("membership", "reconstruction", 0.05)],
        "blind": {
            "verdict": verdict,
            "p_value": 0.4,
            "best": "features",
            "max": 0.55,
            "upper95": 0.58,
            "permutations": 2000,
            "baselines": {
                "difficulty": {**evaluation(0.48), "adjusted_p_value": 0.9},
                "features": {**evaluation(0.55), "adjusted_p_value": 0.4},
            },
        },
        "excess": [
            compared("reconstruction", "features", area - 0.6),
            compared("membership", "features", area - 0.55),
        ],
        "slices": [],
        "alpha_curve": None,
        "grid": [],
        "near_duplicates": 0,
        "claim": None,
        "correspondence": {"n": 70, "share": 0.9, "p_value": 0.001},
        "utility": None,
        "gate": None,
        "timing_s": STAGES,
        "record": {"commit": "abc"},
        "command": "python -m mia_lab",
        **changes,
    }


def configuration(
    *,
    seed: int = 0,
    victim: str = "pix2pix",
    layers: tuple[int, ...] = (1, 2),
    ridge: object = 1,
    alpha: float = 0.5,
) -> dict[str, Any]:
    """A resolved configuration; copies of the seed and of alpha as in a real one."""
    return {
        "task": "audit",
        "name": f"facades_{victim}",
        "seed": seed,
        "scale": {"name": "demo", "epochs": 8},
        "data": {"name": "facades"},
        "victim": {"name": victim, "epochs": 8, "epoch": None, "seed": seed, "width": len(victim)},
        "backbone": {"name": "lite0"},
        "difficulty": {
            "name": "single_image",
            "layers": list(layers),
            "ridge": ridge,
            "features_from": "input",
        },
        "attack": {"alpha": alpha, "available": {"membership": {"alpha": alpha}}},
    }


def add(
    sweep: Path,
    number: int,
    area: float = 0.7,
    state: State = State.DONE,
    reason: str = "",
    found: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """A point with its note, and its files if it is done."""
    folder = sweep / str(number)
    overrides = tuple(f"{key}={value}" for key, value in settings.items())
    Point(folder, overrides, "key", state, reason).write()
    if state is State.DONE:
        config = OmegaConf.create(configuration(**settings))
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
        content = metrics(area) if found is None else found
        (folder / "metrics.json").write_text(json.dumps(content))
    return folder
