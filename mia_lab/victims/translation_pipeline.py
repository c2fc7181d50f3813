"""A conditional diffusion model of mia_lab as a pipeline of ``diffusers``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor

from mia_lab.victims.networks import network_range
from mia_lab.victims.noising import BrownianBridge, Diffusion, Draws


class TranslationPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Translates pictures: ``TranslationPipeline.from_pretrained(FOLDER)(pictures, generators)``.

    Args:
        unet: a ``UNet2DModel`` that takes the noisy answer and the input, or a state of the bridge.
        scheduler: of the diffusion; None: a Brownian bridge.
        input_encoding: what it is given, see ``data.input_encoding``.
        steps: evaluations of the network for an answer, by default.
    """

    model_cpu_offload_seq = "unet"
    _optional_components: ClassVar[list[str]] = ["scheduler"]

    def __init__(
        self, unet: Any, scheduler: Any = None, input_encoding: str = "rgb", steps: int = 10
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(input_encoding=input_encoding, steps=steps)

    @property
    def input_encoding(self) -> str:
        """What it is given, see ``data.input_encoding``."""
        return str(self.config.input_encoding)

    @property
    def in_channels(self) -> int:
        """Channels of the inputs."""
        taken, answered = self.unet.config.in_channels, self.out_channels
        return answered if self.scheduler is None else int(taken) - answered

    @property
    def out_channels(self) -> int:
        """Channels of the answers."""
        return int(self.unet.config.out_channels)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        generator: Draws,
        num_inference_steps: int | None = None,
        output_type: Literal["pt", "np"] = "pt",
    ) -> ImagePipelineOutput:
        """Draw an answer to each input.

        Args:
            image: float32 (N, C, H, W) in [0, 1].
            generator: one for each input, on the CPU.
            num_inference_steps: evaluations of the network for an answer.
            output_type: ``pt`` for a tensor (N, C', H, W), ``np`` for an array (N, H, W, C').

        Returns:
            ``images``: float32 in [0, 1].
        """
        unet, settings = self.unet, self.config
        process = BrownianBridge() if self.scheduler is None else Diffusion(self.scheduler)
        x = network_range(image.to(self._execution_device), settings.input_encoding)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            found: Tensor = unet(noisy.to(unet.dtype), t).sample
            return found.float()

        steps = num_inference_steps or settings.steps
        drawn = process.draw(denoise, x, self.out_channels, generator, steps)
        pictures = ((drawn + 1) / 2).clamp(0, 1)
        if output_type == "np":
            return ImagePipelineOutput(images=pictures.permute(0, 2, 3, 1).cpu().numpy())
        return ImagePipelineOutput(images=pictures)
