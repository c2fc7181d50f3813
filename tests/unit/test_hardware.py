from __future__ import annotations

import pytest
import torch

from mia_lab.errors import UserError
from mia_lab.hardware import resolve_precision


def test_precision_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for accelerator in ("auto", "cpu"):
        assert resolve_precision("auto", accelerator) == "32-true"
        assert resolve_precision("bf16-mixed", accelerator) == "bf16-mixed"
        with pytest.raises(UserError, match=r"trainer\.precision=16-mixed: needs a GPU"):
            resolve_precision("16-mixed", accelerator)
    with pytest.raises(UserError, match="no GPU is visible"):
        resolve_precision("auto", "gpu")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert resolve_precision("auto", "auto") == expected
    assert resolve_precision("16-mixed", "auto") == "16-mixed"
