"""pix2pix as published (Isola et al. 2017, arXiv:1611.07004), as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mia_lab.parameters import (
    BelowOne,
    ImageSize,
    InputEncoding,
    NonNegative,
    Positive,
    PositiveInt,
    UnitInterval,
)
from mia_lab.victims.gan import LoadScale, TranslationGAN, check_epochs, check_size, frozen
from mia_lab.victims.losses import GanLoss, discriminator_loss, generator_loss
from mia_lab.victims.networks.patchgan import PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import SMALLEST, UNet


class Pix2Pix(TranslationGAN):
    """A generator against a PatchGAN discriminator, plus an L1 term.

    All arguments are kept as hyper-parameters.

    Args:
        image_size: side of square images, or [width, height]: for a U-Net multiples of 32, and
            it has as many levels as both can be halved; for a ResNet multiples of 4.
        in_channels: channels of the inputs.
        out_channels: channels of the targets.
        width: channels of the generator's first level, ``ngf`` of the paper's code.
        discriminator_width: channels of the discriminator's first layer, ``ndf`` of the paper's
            code.
        dropout: probability in the U-Net's decoder levels next to the innermost, or in all blocks
            of a ResNet.
        lambda_l1: weight of the L1 term.
        learning_rate: learning rate of Adam.
        beta1: decay of Adam's mean of gradients.
        epochs: passes over the members.
        decay_fraction: share of the epochs, at the end, over which the learning rate falls
            linearly to zero.
        batch_size: images per training step.
        load_scale: jitter enlarges by this factor before it crops back to ``image_size``.
        flip: mirror training images at random.
        seed: of the weights, the order of images, jitter and dropout.
        input_encoding: what the generator is given, see ``data.input_encoding``.
        generator: a U-Net, or a ResNet with 6 or 9 blocks.
        norm: kind of normalisation of all layers.
        gan_loss: see :mod:`mia_lab.victims.losses`.
        keep_epochs: epochs whose weights are kept.
        epoch: the one of them that is audited; None: the last.

    Raises:
        UserError: the size does not fit the generator, or ``epoch`` is not kept.
    """

    version: ClassVar[int] = 1

    def __init__(
        self,
        image_size: ImageSize,
        in_channels: PositiveInt,
        out_channels: PositiveInt,
        width: PositiveInt,
        discriminator_width: PositiveInt,
        dropout: BelowOne,
        lambda_l1: NonNegative,
        learning_rate: Positive,
        beta1: BelowOne,
        epochs: PositiveInt,
        decay_fraction: UnitInterval,
        batch_size: PositiveInt,
        load_scale: LoadScale,
        flip: bool,
        seed: int,
        input_encoding: InputEncoding = "rgb",
        generator: Literal["unet", "resnet_6", "resnet_9"] = "unet",
        norm: Literal["batch", "instance"] = "batch",
        gan_loss: GanLoss = "vanilla",
        keep_epochs: Sequence[int] = (),
        epoch: int | None = None,
    ) -> None:
        super().__init__()
        keep_epochs = list(keep_epochs)
        self.save_hyperparameters()
        check_epochs(epochs, keep_epochs, epoch)
        stride, smallest = (SMALLEST, SMALLEST) if generator == "unet" else (4, 24)
        check_size(image_size, stride, smallest, f"victim.generator={generator}")
        channels = in_channels, out_channels
        with self.seeded_weights():
            if generator == "unet":
                self.generator = UNet(image_size, *channels, width, dropout, norm)
            else:
                blocks = int(generator.removeprefix("resnet_"))
                self.generator = ResNetGenerator(*channels, width, 2, blocks, norm, dropout)
            self.discriminator = PatchGAN(sum(channels), discriminator_width, norm)

    def update(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        kind = self.hparams["gan_loss"]
        judged_fake = self.discriminator(torch.cat([x, fake.detach()], 1))
        judged_real = self.discriminator(torch.cat([x, y], 1))
        loss_d = discriminator_loss(judged_real, judged_fake, kind)
        self.descend(self.discriminator, loss_d)

        with frozen(self.discriminator):
            adversarial = generator_loss(self.discriminator(torch.cat([x, fake], 1)), kind)
            loss_g = adversarial + self.hparams["lambda_l1"] * F.l1_loss(fake, y)
            self.descend(self.generator, loss_g)
        return {"generator_gan": adversarial, "discriminator": loss_d}
