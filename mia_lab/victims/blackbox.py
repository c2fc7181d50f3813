"""All that an attack may see of a victim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from mia_lab.hardware import torch_device
from mia_lab.victims.denoiser import Denoiser


@runtime_checkable
class BlackBox(Protocol):
    """Something that translates images. Attacks use nothing else of it."""

    def translate(self, x: Tensor) -> Tensor:
        """Translate a batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU.

        Returns:
            float32 (N, C', H, W) in [0, 1], on the CPU; C' as of the targets.
        """
        ...


@runtime_checkable
class Sampler(Protocol):
    """Something that draws its answers at random, each from a seed, such as a diffusion model."""

    def sample(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Tensor:
        """Draw an answer for each input of a batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], on the CPU.
            seeds: N seeds in [0, 2**63). An answer depends on its input, its seed and its prompt,
                and on the other images of the batch only by rounding.
            prompts: N texts; empty if the data has none.

        Returns:
            float32 (N, C', H, W) in [0, 1], on the CPU; C' as of the targets.
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
        """Answers float32 (N, C, H, W) in [0, 1], on the CPU."""
        ...


Victim = BlackBox | Sampler | RecordedAnswers


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


class TorchSampler:
    """A PyTorch module with a method ``sample`` behind the protocol of a :class:`Sampler`.

    Args:
        module: ``module.sample(x, seeds)`` draws images in [0, 1] for images in [0, 1].
        accelerator: ``auto``, ``cpu`` or ``gpu``.
    """

    def __init__(self, module: nn.Module, accelerator: str = "auto") -> None:
        self._device = torch_device(accelerator)
        self.module = module.to(self._device).eval()

    @torch.inference_mode()
    def sample(self, x: Tensor, seeds: Sequence[int], prompts: Sequence[str] = ()) -> Tensor:
        out: Tensor = cast(Any, self.module).sample(x.to(self._device), seeds)
        return out.float().cpu()

    @property
    def denoiser(self) -> Denoiser:
        """The network inside, for attackers who hold the model."""
        found: Denoiser = cast(Any, self.module).denoiser()
        return found
