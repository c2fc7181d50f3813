"""The same audit on a GPU, where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import Command

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_audit_on_a_gpu(command: Command, precision: str) -> None:
    arguments = ("+experiment=tiny", "until=attacks", f"trainer.precision={precision}")
    on_gpu = command(*arguments, "trainer.accelerator=gpu").metrics
    assert on_gpu["n_members"] == 6
    again = command(*arguments, "trainer.accelerator=cpu")
    assert "computing" not in again.err  # the device is no part of a result's identity
    assert again.metrics["attacks"] == on_gpu["attacks"]


@pytest.mark.parametrize("ridge", ["0", "1", "auto"])
def test_the_probe_gives_the_same_scores_on_a_gpu(command: Command, ridge: str) -> None:
    def score(accelerator: str, *overrides: str) -> np.ndarray:
        store = f"paths.store={accelerator}-{len(overrides)}"
        arguments = ("task=difficulty", "+experiment=tiny", f"difficulty.ridge={ridge}", store)
        size = ("data.sources.procedural.n_train=8", "data.sources.procedural.n_test=0")
        ran = command(*arguments, *size, f"trainer.accelerator={accelerator}", *overrides)
        assert ran.code == 0, ran.err
        (path,) = (command.folder / store.partition("=")[2]).glob("difficulty/*/score.npy")
        return np.load(path)

    on_cpu = score("cpu")
    # The backbone rounds differently there; the probe adds nothing to that.
    np.testing.assert_allclose(score("gpu"), on_cpu, rtol=1e-3)
    np.testing.assert_allclose(score("gpu", "difficulty.precision=float32"), on_cpu, rtol=1e-3)
