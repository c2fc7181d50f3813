"""A conditional diffusion model of mia_lab as a pipeline of ``diffusers``."""

from __future__ import annotations

from typing import Any, ClassVar

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

    _optional_components: ClassVar[list[str]] = ["scheduler"]

    def __init__(
        self, unet: Any, scheduler: Any = None, input_encoding: str = "rgb", steps: int = 10
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(input_encoding=input_encoding, steps=steps)

    @torch.no_grad()
    def __call__(
        self, image: Tensor, generator: Draws, num_inference_steps: int | None = None
    ) -> ImagePipelineOutput:
        """Draw an answer to each input.

        Args:
            image: float32 (N, C, H, W) in [0, 1].
            generator: one for each input, on the CPU.
            num_inference_steps: evaluations of the network for an answer.

        Returns:
            ``images``: float32 (N, C', H, W) in [0, 1].
        """
        unet, settings = self.unet, self.config
        process = BrownianBridge() if self.scheduler is None else Diffusion(self.scheduler)
        x = network_range(image.to(self.device), settings.input_encoding)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            found: Tensor = unet(noisy, t).sample
            return found

        channels, steps = unet.config.out_channels, num_inference_steps or settings.steps
        drawn = process.draw(denoise, x, channels, generator, steps)
        return ImagePipelineOutput(images=((drawn + 1) / 2).clamp(0, 1))
