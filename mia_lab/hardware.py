"""The devices of the machine, and the precision that they support."""

from __future__ import annotations

import torch

from mia_lab.errors import UserError


def torch_device(accelerator: str) -> torch.device:
    """The device of an accelerator name; ``auto`` is the GPU (CUDA or ROCm) if there is one.

    Raises:
        UserError: a GPU is requested and none is visible.
    """
    if accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: no GPU is visible; use trainer=cpu")
    return torch.device("cpu")


def resolve_precision(precision: str, accelerator: str) -> str:
    """The precision of a training: ``auto`` is ``bf16-mixed`` on GPUs that support it.

    Raises:
        UserError: float16 is requested on a CPU.
    """
    if precision not in ("auto", "16-mixed"):
        return precision
    has_gpu = torch_device(accelerator).type == "cuda"
    if precision == "16-mixed":
        if not has_gpu:
            raise UserError("trainer.precision=16-mixed: needs a GPU; use auto, or bf16-mixed")
        return precision
    return "bf16-mixed" if has_gpu and _has_bf16() else "32-true"


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
