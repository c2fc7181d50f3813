"""All that an attack may see of a victim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mia_lab.errors import UserError


@runtime_checkable
class BlackBox(Protocol):
    """Something that translates images. Attacks use nothing else of it."""

    def translate(self, x: Tensor) -> Tensor:
        """Translate a batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU.

        Returns:
            float32 (N, 3, H, W) in [0, 1], on the CPU.
        """
        ...


@runtime_checkable
class RecordedAnswers(Protocol):
    """Answers that a victim gave before; it cannot be asked anything else."""

    def check(self, ids: Sequence[str]) -> None:
        """Make sure that there is an answer for each id.

        Raises:
            UserError: one is missing.
        """
        ...

    def fingerprint(self, ids: Sequence[str]) -> str:
        """Hash of the answers for these ids."""
        ...

    def recall(self, ids: Sequence[str]) -> Tensor:
        """Answers float32 (N, 3, H, W) in [0, 1], on the CPU."""
        ...


Victim = BlackBox | RecordedAnswers


def transport(victim: Victim) -> str:
    """How its answers travel, where that costs precision; else "float32"."""
    return getattr(victim, "transport", None) or "float32"


class TorchBlackBox:
    """A PyTorch module behind the black-box protocol.

    Args:
        module: translates images in [0, 1] to images in [0, 1].
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        mode: ``eval``, or ``train`` for what the original pix2pix was tested with: dropout and
            batch statistics active, running statistics left alone. Query it image by image then.
    """

    def __init__(self, module: nn.Module, accelerator: str = "auto", mode: str = "eval") -> None:
        self._device = torch_device(accelerator)
        self.module = module.to(self._device).train(mode == "train")
        for layer in module.modules():
            if mode == "train" and isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = 0.0  # use the batch's statistics, do not learn them

    @torch.inference_mode()
    def translate(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x.to(self._device)).float().cpu()
        return out


def resolve_precision(precision: str, accelerator: str) -> str:
    """The precision of a training: ``auto`` is ``bf16-mixed`` on GPUs that have it.

    Raises:
        UserError: float16 on a CPU.
    """
    if precision == "16-mixed" and torch_device(accelerator).type == "cpu":
        raise UserError("trainer.precision=16-mixed: needs a GPU; use auto, or bf16-mixed")
    if precision != "auto":
        return precision
    has_bf16 = torch_device(accelerator).type == "cuda" and torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    return "bf16-mixed" if has_bf16 else "32-true"


def torch_device(accelerator: str) -> torch.device:
    """The device of an accelerator name; ``auto`` is the GPU where there is one (CUDA or ROCm).

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator == "gpu":
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=cpu")
    return torch.device("cpu")
