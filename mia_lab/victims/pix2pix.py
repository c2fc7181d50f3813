"""pix2pix as published (Isola et al. 2017, arXiv:1611.07004), as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.victims.gan import TranslationGAN, at_least, check_hparams, frozen, one_of
from mia_lab.victims.losses import GAN_LOSSES, discriminator_loss, generator_loss
from mia_lab.victims.networks.patchgan import PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

GENERATORS = ("unet", "resnet_6", "resnet_9")


class Pix2Pix(TranslationGAN):
    """A generator against a PatchGAN discriminator, plus an L1 term.

    The arguments are those of ``conf/victim/pix2pix.yaml``; all are kept as hyper-parameters.

    Args:
        image_size: side of the square images: for a U-Net a power of two, at least 32; for a
            ResNet a multiple of 4.
        in_channels: channels of the input domain.
        width, discriminator_width: ``ngf`` and ``ndf`` of the paper's code.
        dropout: probability in the U-Net's decoder levels next to the innermost, or in all blocks
            of a ResNet.
        lambda_l1: weight of the L1 term.
        learning_rate, beta1: Adam.
        epochs: passes over the members.
        decay_fraction: share of the epochs, at the end, over which the learning rate falls
            linearly to zero.
        batch_size: images a step.
        load_scale: jitter enlarges by this factor before it crops back to ``image_size``.
        flip: mirror at random.
        seed: of weights, order, jitter and dropout.
        input_encoding: ``rgb`` or ``one_hot``.
        generator: ``unet``, ``resnet_6`` or ``resnet_9``.
        norm: ``batch`` or ``instance``.
        gan_loss: one of :data:`~mia_lab.victims.losses.GAN_LOSSES`.
        keep_epochs: epochs whose weights are kept.
        epoch: the one of them that is audited; None: the last.

    Raises:
        UserError: a value is out of range; the message names its key.
    """

    def __init__(
        self,
        image_size: int,
        in_channels: int,
        width: int,
        discriminator_width: int,
        dropout: float,
        lambda_l1: float,
        learning_rate: float,
        beta1: float,
        epochs: int,
        decay_fraction: float,
        batch_size: int,
        load_scale: float,
        flip: bool,
        seed: int,
        input_encoding: str = "rgb",
        generator: str = "unet",
        norm: str = "batch",
        gan_loss: str = "vanilla",
        keep_epochs: Sequence[int] = (),
        epoch: int | None = None,
    ) -> None:
        super().__init__()
        keep_epochs = list(keep_epochs)
        self.save_hyperparameters()
        check_hparams(self.hparams, _RULES)
        _check_size(generator, image_size)
        with self.seeded_weights():
            self.generator = _generator(generator, image_size, in_channels, width, norm, dropout)
            self.discriminator = PatchGAN(in_channels + 3, discriminator_width, norm)

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


_RULES = {
    "generator": one_of(*GENERATORS),
    "norm": one_of("batch", "instance"),
    "gan_loss": one_of(*GAN_LOSSES),
    "dropout": ("in [0, 1)", lambda v: 0 <= v < 1),
    "lambda_l1": at_least(0),
}


def _check_size(generator: str, size: int) -> None:
    if generator != "unet" and (size % 4 or size < 24):
        raise UserError(
            f"data.image_size={size}: victim.generator={generator} halves the image twice, so the "
            "size must be a multiple of 4, at least 24"
        )
    if generator == "unet" and (size < 32 or size & (size - 1)):
        raise UserError(
            f"data.image_size={size}: the U-Net halves the image down to one pixel, so the size "
            "must be a power of two, at least 32"
        )


def _generator(
    name: str, image_size: int, in_channels: int, width: int, norm: str, dropout: float
) -> nn.Module:
    if name == "unet":
        return UNet(image_size, in_channels, 3, width, dropout, norm)
    blocks = int(name.removeprefix("resnet_"))
    return ResNetGenerator(in_channels, 3, width, 2, blocks, norm, dropout)
