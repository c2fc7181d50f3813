"""Defences through the real command: what they leave of an attack, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support import Command

ATTACKS = "attack.names=[reconstruction,adaptive]"


def weights(command: Command) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in command.folder.glob("outputs/store/victim/*/*.safetensors")}


@pytest.mark.slow
def test_a_defense_never_changes_the_stored_victim(command: Command) -> None:
    assert command("+experiment=tiny", ATTACKS).code == 0
    before, plain = weights(command), command.scores("reconstruction_error")
    for name in ("output_noise", "quantisation", "jpeg", "smoothing", "resizing"):
        ran = command("+experiment=tiny", ATTACKS, f"defense={name}")
        assert ran.code == 0, ran.err
        assert weights(command) == before
        assert command.computed["victim"] == 1
        assert not np.allclose(command.scores("reconstruction_error"), plain)
        assert set(ran.metrics["utility"]) == {"n", "l1", "ssim", "frechet"}
        assert ran.metrics["attacks"]["adaptive"]["knowledge"]["queries"] == 16
        assert "Utility, on 5 non-members: L1 error " in ran.out
    assert command("+experiment=tiny", ATTACKS).metrics["utility"] is None


@pytest.mark.slow
def test_averaging_recovers_what_noise_hides(command: Command) -> None:
    """Noise of deviation .2 adds .07 to these errors; the mean of 64 answers has an eighth."""
    assert command("+experiment=tiny", ATTACKS).code == 0
    plain = command.scores("reconstruction_error")
    ran = command(
        "+experiment=tiny",
        ATTACKS,
        "defense=output_noise",
        "defense.sigma=0.2",
        "attack.available.adaptive.repeats=64",
    )
    assert ran.code == 0, ran.err
    noisy, mean = command.scores("reconstruction_error"), command.scores("adaptive_error")
    assert np.abs(mean - plain).mean() < np.abs(noisy - plain).mean() / 5


def test_a_gate_may_ask_for_utility(command: Command) -> None:
    ran = command(
        "+experiment=tiny", ATTACKS, "defense=jpeg", "fail_if=utility/ssim < 2", "defense.quality=5"
    )
    assert ran.code == 3
    assert "utility/ssim" in command("+experiment=tiny", "fail_if=utility/ssim < 2").error


# With so little allowed, noise drowns everything: no attack may find anything.
@pytest.mark.parametrize("epsilon", [0.1])
@pytest.mark.slow
def test_a_private_victim_gives_nothing_away(command: Command, epsilon: float) -> None:
    sizes = ("data.n_members=40", "data.n_nonmembers=40", "data.n_auxiliary=24", "demo_epochs=10")
    names = "attack.names=[reconstruction,membership,augmented,watson,lira,rmia,learned]"
    bounded = ("data.assignment=bernoulli", "evaluation.guesses=10")
    ran = command(
        "+experiment=tiny_private",
        *sizes,
        names,
        f"victim.epsilon={epsilon}",
        "reference.count=4",
        *bounded,
        "victim.batch_size=8",
    )
    assert ran.code == 0, ran.err
    found = ran.metrics["attacks"]
    p = np.sort([attack["p_value"] for attack in found.values()])
    assert (p * np.arange(len(p), 0, -1)).min() > 0.05  # Holm: none of them is rejected
    claim = ran.metrics["claim"]
    assert (claim["epsilon"], claim["delta"]) == (epsilon, 1e-5)
    assert f"The training guarantees epsilon {epsilon:g} at delta 1e-05" in ran.out
    assert json.dumps(claim)
