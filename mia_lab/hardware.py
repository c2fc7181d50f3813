"""What the machine can do: its GPUs, asked without PyTorch where nobody needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mia_lab.errors import UserError

if TYPE_CHECKING:
    import torch

_DRIVERS = ("nvidiactl", "kfd", "dxg")
"""Devices without which there is no GPU for PyTorch: CUDA's, ROCm's, and CUDA's under WSL."""


def torch_device(accelerator: str) -> torch.device:
    """The device of an accelerator name; ``auto`` is the GPU where there is one (CUDA or ROCm).

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    import torch

    if accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=cpu")
    return torch.device("cpu")


def resolve_precision(precision: str, accelerator: str) -> str:
    """The precision of a training: ``auto`` is ``bf16-mixed`` on GPUs that have it.

    Raises:
        UserError: float16 on a CPU.
    """
    if precision not in ("auto", "16-mixed"):
        return precision
    has_gpu = _may_have_gpu(accelerator) and torch_device(accelerator).type == "cuda"
    if precision == "16-mixed":
        if not has_gpu:
            raise UserError("trainer.precision=16-mixed: needs a GPU; use auto, or bf16-mixed")
        return precision
    return "bf16-mixed" if has_gpu and _has_bf16() else "32-true"


def _has_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _may_have_gpu(accelerator: str) -> bool:
    drivers = (Path("/dev") / name for name in _DRIVERS)
    return accelerator == "gpu" or (accelerator == "auto" and any(d.exists() for d in drivers))
