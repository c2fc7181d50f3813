"""pix2pixHD as published (Wang et al. 2018, arXiv:1711.11585), as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.parameters import (
    BelowOne,
    File,
    ImageSize,
    InputEncoding,
    NonNegative,
    Positive,
    PositiveInt,
    UnitInterval,
    size_text,
    width_height,
)
from mia_lab.victims.gan import LoadScale, TranslationGAN, check_epochs, check_size, frozen
from mia_lab.victims.losses import discriminator_loss, feature_matching_loss, generator_loss
from mia_lab.victims.networks.patchgan import MultiscaleDiscriminator
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.perceptual import PerceptualLoss


class Pix2PixHD(TranslationGAN):
    """The global generator against PatchGANs at several scales, with least squares.

    To the adversarial loss come feature matching and a perceptual loss; there is no L1 term.
    All arguments are kept as hyper-parameters.

    Args:
        image_size: side of square images, or [width, height]: multiples of
            ``2**n_downsamplings``.
        in_channels: channels of the inputs.
        out_channels: channels of the targets.
        width: channels of the generator's first level, ``ngf`` of the paper's code.
        discriminator_width: channels of the discriminator's first layer, ``ndf`` of the paper's
            code.
        n_downsamplings: downsamplings of the generator, 4 as published.
        n_blocks: residual blocks of the generator, 9 as published.
        n_discriminators: discriminators, each at half the scale of the one before.
        perceptual: network of the perceptual loss.
        lambda_feature: weight of the feature matching.
        lambda_perceptual: weight of the perceptual loss.
        learning_rate, beta1, epochs, decay_fraction, batch_size, load_scale, flip, seed,
            input_encoding, keep_epochs, epoch: see :class:`~mia_lab.victims.pix2pix.Pix2Pix`.
        perceptual_weights: a file with the weights of the perceptual loss's network.

    Raises:
        UserError: the size does not fit the networks, or ``epoch`` is not kept.
    """

    version: ClassVar[int] = 2
    zero_biases: ClassVar[bool] = False

    def __init__(
        self,
        image_size: ImageSize,
        in_channels: PositiveInt,
        out_channels: PositiveInt,
        width: PositiveInt,
        discriminator_width: PositiveInt,
        n_downsamplings: PositiveInt,
        n_blocks: PositiveInt,
        n_discriminators: PositiveInt,
        perceptual: Literal["vgg19", "lite0", "none"],
        lambda_feature: NonNegative,
        lambda_perceptual: NonNegative,
        learning_rate: Positive,
        beta1: BelowOne,
        epochs: PositiveInt,
        decay_fraction: UnitInterval,
        batch_size: PositiveInt,
        load_scale: LoadScale,
        flip: bool,
        seed: int,
        input_encoding: InputEncoding = "rgb",
        perceptual_weights: File | None = None,
        keep_epochs: Sequence[int] = (),
        epoch: int | None = None,
    ) -> None:
        super().__init__()
        keep_epochs = list(keep_epochs)
        self.save_hyperparameters()
        check_epochs(epochs, keep_epochs, epoch)
        _check_scales(image_size, n_discriminators)
        stride = 2**n_downsamplings
        check_size(image_size, stride, 2 * stride, f"victim.n_downsamplings={n_downsamplings}")
        channels = in_channels, out_channels
        with self.seeded_weights():
            self.generator = ResNetGenerator(
                *channels, width, n_downsamplings, n_blocks, norm="instance", bias=True
            )
            self.discriminator = MultiscaleDiscriminator(
                sum(channels), discriminator_width, n_discriminators
            )
        # In a list, so that its weights are no part of this module's.
        self._perceptual: list[PerceptualLoss] = []

    def prepare_data(self) -> None:
        """Fetch the weights of the perceptual loss; a trained victim does without.

        Raises:
            UserError: they cannot be had.
        """
        if self.hparams["perceptual"] != "none" and not self._perceptual:
            weights, channels = self.hparams["perceptual_weights"], self.hparams["out_channels"]
            self._perceptual.append(PerceptualLoss(self.hparams["perceptual"], weights, channels))

    def setup(self, stage: str) -> None:
        self.prepare_data()  # Lightning calls it in the first process of each machine only

    def on_fit_start(self) -> None:
        for loss in self._perceptual:
            loss.to(self.device)

    def update(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        judged_real = self.discriminator(torch.cat([x, y], 1))
        with frozen(self.discriminator):
            judged_fake = self.discriminator(torch.cat([x, fake], 1))
        losses = {
            "generator_gan": _sum([generator_loss(scale[-1], "lsgan") for scale in judged_fake]),
            "feature_matching": feature_matching_loss(judged_real, judged_fake),
        }
        loss_g = (
            losses["generator_gan"] + self.hparams["lambda_feature"] * losses["feature_matching"]
        )
        for perceptual in self._perceptual:
            losses["perceptual"] = perceptual(fake, y)
            loss_g = loss_g + self.hparams["lambda_perceptual"] * losses["perceptual"]
        self.descend(self.generator, loss_g)

        # Both networks learn from the discriminator as it was: its judgement of real pairs serves
        # both, as published.
        judged_fake = self.discriminator(torch.cat([x, fake.detach()], 1))
        pairs = zip(judged_real, judged_fake, strict=True)
        loss_d = _sum([discriminator_loss(r[-1], f[-1], "lsgan") for r, f in pairs])
        self.descend(self.discriminator, loss_d)
        return {**losses, "discriminator": loss_d}

    def rate_factor(self, epoch: int) -> float:
        """Constant, then falling linearly: the published code lowers it after each epoch."""
        epochs: int = self.hparams["epochs"]
        decay: int = round(epochs * self.hparams["decay_fraction"])
        return 1.0 - max(0, epoch - (epochs - decay)) / max(1, decay)


def _check_scales(size: int | Sequence[int], n_discriminators: int) -> None:
    if min(width_height(size)) < 2**n_discriminators:
        raise UserError(
            f"victim.n_discriminators={n_discriminators}: halves images of data.image_size="
            f"{size_text(size)} until nothing is left; use fewer"
        )


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
