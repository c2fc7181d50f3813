"""The same audit on a GPU, where there is one."""

from __future__ import annotations

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
