"""Numbers of independent libraries for lower bounds of epsilon and for the accounting of DP-SGD.

They need older libraries than mia_lab does, so this runs in an environment of its own:

    python -m venv reference
    reference/bin/pip install jax-privacy==2.0.0 dp-accounting==0.6.0
    reference/bin/python tests/golden/privacy.py > tests/golden/privacy.json
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import dp_accounting
import numpy as np
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from jax_privacy import auditing

COUNTS = [
    # candidates, guesses, correct guesses, delta, confidence level
    (1000, 100, 90, 1e-5, 0.95),
    (1000, 100, 55, 1e-5, 0.95),  # too few are right for either bound
    (1000, 100, 66, 1e-5, 0.95),
    (1000, 100, 100, 1e-5, 0.95),
    (1000, 100, 90, 1e-3, 0.95),
    (1000, 100, 90, 1e-8, 0.95),
    (1000, 100, 90, 1e-5, 0.99),
    (1000, 100, 90, 1e-5, 0.9875),  # four attacks
    (1000, 1000, 650, 1e-5, 0.95),
    (1000, 500, 450, 1e-5, 0.95),
    (1000, 2, 2, 1e-5, 0.95),
    (1000, 10, 10, 1e-5, 0.95),
    (100, 100, 100, 1e-5, 0.95),
    (100, 51, 40, 1e-5, 0.95),
    (100, 50, 0, 1e-5, 0.95),
    (28, 10, 10, 1e-5, 0.95),
    (28, 8, 8, 1e-6, 0.9917),
    (10000, 300, 290, 1e-5, 0.95),
    (10000, 10000, 5500, 1e-6, 0.95),
    (100, 20, 19, 0.05, 0.9),
]

GAUSSIANS = [
    (mu, delta) for mu in (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 12.0) for delta in (1e-8, 1e-5, 1e-2)
]

SAMPLES = [(40, 0.7, 0), (200, 1.0, 1), (200, 2.5, 2), (1000, 1.5, 3)]
"""Images, distance of the scores of members, seed."""

TRAININGS = [
    # epsilon, delta, epochs, batch size, members; what mia_lab makes of them: noise, rate, steps
    (0.1, 1e-5, 40, 8, 100, 62.5, 0.08, 520),
    (1.0, 1e-5, 40, 8, 100, 7.5, 0.08, 520),
    (8.0, 1e-5, 40, 8, 100, 1.40625, 0.08, 520),
    (8.0, 1e-5, 200, 16, 400, 1.953125, 0.04, 5000),
    (3.0, 1e-6, 50, 64, 1000, 3.14453125, 0.064, 800),
    (50.0, 1e-5, 10, 8, 8, 0.4931640625, 1.0, 10),
]

ORDERS = [1 + x / 10 for x in range(1, 100)] + [*range(12, 64), 80, 96, 128, 192, 256, 384, 512]
WHOLE = [order for order in ORDERS if order == int(order)]


def bounds() -> list[dict[str, Any]]:
    """Both bounds of given counts."""
    found = []
    for m, guesses, correct, delta, level in COUNTS:
        counts = (0.0, m, guesses, correct, 1 - level, delta)
        found.append(
            {
                "candidates": m,
                "guesses": guesses,
                "correct": correct,
                "delta": delta,
                "level": level,
                "approximate_dp": float(auditing._epsilon_one_run(*counts)),
                "gaussian_dp": float(auditing._epsilon_one_run_fdp(*counts)),
            }
        )
    return found


def gaussians() -> list[dict[str, float]]:
    """Epsilon of a Gaussian mechanism."""
    return [
        {"mu": mu, "delta": d, "epsilon": float(dp_accounting.get_epsilon_gaussian(1 / mu, d))}
        for mu, d in GAUSSIANS
    ]


def samples() -> list[dict[str, Any]]:
    """Bounds of scores, with one threshold and with a correction for all thresholds.

    The library guesses members only. A guess that an image is no member is a guess that the other
    side of its coin shows, so the most and the least likely members take turns here, with the
    coins of the latter turned round.
    """
    found = []
    for n, distance, seed in SAMPLES:
        rng = np.random.default_rng(seed)
        is_member = rng.random(n) < 0.5
        ordered = is_member[np.argsort(-(rng.normal(size=n) + distance * is_member))]
        turned = np.empty(n, bool)
        turned[::2] = ordered[: (n + 1) // 2]
        turned[1::2] = ~ordered[(n + 1) // 2 :][::-1]
        surety = np.arange(n, 0, -1.0)
        auditor = auditing.CanaryScoreAuditor(surety[turned], surety[~turned])
        right, wrong = auditor._get_tp_counts(), auditor._get_fp_counts()
        number = n // 4
        for strategy, numbers in (
            (auditing.Explicit(float(n - number + 1)), [number]),
            (auditing.Bonferroni(), (right + wrong).tolist()),
        ):
            found.append(
                {
                    "ordered": "".join("01"[b] for b in ordered.astype(int)),
                    "numbers": numbers,
                    "approximate_dp": float(
                        auditor.epsilon_one_run(0.05, 1e-5, threshold_strategy=strategy)
                    ),
                    "gaussian_dp": float(
                        auditor.epsilon_one_run_fdp(0.05, 1e-5, threshold_strategy=strategy)
                    ),
                }
            )
    return found


def trainings() -> list[dict[str, Any]]:
    """What two accountants say of DP-SGD."""
    found = []
    for epsilon, delta, epochs, batch_size, members, noise, rate, steps in TRAININGS:
        event = dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), steps
        )
        found.append(
            {
                "settings": {
                    "epsilon": epsilon,
                    "delta": delta,
                    "epochs": epochs,
                    "batch_size": batch_size,
                },
                "members": members,
                "noise_multiplier": noise,
                "sampling_rate": rate,
                "steps": steps,
                "rdp": float(RdpAccountant(ORDERS).compose(event).get_epsilon(delta)),
                "rdp, whole orders": float(RdpAccountant(WHOLE).compose(event).get_epsilon(delta)),
                "pld": float(PLDAccountant().compose(event).get_epsilon(delta)),
            }
        )
    return found


if __name__ == "__main__":
    content = {
        "made by": "tests/golden/privacy.py",
        "versions": {name: version(name) for name in ("jax-privacy", "dp-accounting", "scipy")},
        "bounds": bounds(),
        "gaussians": gaussians(),
        "samples": samples(),
        "trainings": trainings(),
    }
    print(json.dumps(content, indent=1))
