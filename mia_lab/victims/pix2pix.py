"""pix2pix as published (Isola et al. 2017, arXiv:1611.07004), as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from mia_lab.data.transforms import jitter
from mia_lab.errors import UserError
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch
from mia_lab.victims.losses import adversarial_loss
from mia_lab.victims.networks import translate_unit_range
from mia_lab.victims.networks.patchgan import PatchGAN
from mia_lab.victims.networks.unet import UNet


class Pix2Pix(pl.LightningModule):
    """A U-Net generator against a PatchGAN discriminator, plus an L1 term.

    The arguments are those of ``conf/victim/pix2pix.yaml``; all are kept as hyper-parameters.

    Args:
        image_size: side of the square images; a power of two, at least 32.
        in_channels: channels of the input domain.
        width, discriminator_width: ``ngf`` and ``ndf`` of the paper's code.
        dropout: probability in the decoder levels next to the innermost.
        lambda_l1: weight of the L1 term.
        learning_rate, beta1: Adam.
        epochs: passes over the members.
        decay_fraction: share of the epochs, at the end, over which the learning rate falls
            linearly to zero.
        batch_size: images a step.
        load_scale: jitter enlarges by this factor before it crops back to ``image_size``.
        flip: mirror at random.
        seed: of weights, order, jitter and dropout.

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
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        _check(dict(self.hparams))
        self.automatic_optimization = False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            self.generator = UNet(image_size, in_channels, 3, width, dropout)
            self.discriminator = PatchGAN(in_channels + 3, discriminator_width)
            self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Translate float (N, C, S, S) in [0, 1] to (N, 3, S, S) in [0, 1]."""
        return translate_unit_range(self.generator, x)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout draws from the global generator: tie it to the batch, so that a resumed
        # training repeats what an uninterrupted one does.
        torch.manual_seed(self._batch_seed("dropout", batch_idx))

    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        batch = self._augment(batch, batch_idx)
        optimizer_g, optimizer_d = cast(list[Any], self.optimizers())
        x, y = 2 * batch.x - 1, 2 * batch.y - 1
        fake = self.generator(x)

        self.discriminator.requires_grad_(True)
        judged_fake = self.discriminator(torch.cat([x, fake.detach()], 1))
        judged_real = self.discriminator(torch.cat([x, y], 1))
        loss_d = (adversarial_loss(judged_fake, False) + adversarial_loss(judged_real, True)) / 2
        optimizer_d.zero_grad()
        self.manual_backward(loss_d)
        optimizer_d.step()

        self.discriminator.requires_grad_(False)
        adversarial = adversarial_loss(self.discriminator(torch.cat([x, fake], 1)), True)
        l1 = F.l1_loss(fake, y)
        optimizer_g.zero_grad()
        self.manual_backward(adversarial + self.hparams["lambda_l1"] * l1)
        optimizer_g.step()

        self.log_dict(
            # The published L1 is on [-1, 1]; shown on [0, 1], the unit of the attack's errors.
            {"l1": l1.detach() / 2, "generator_gan": adversarial, "discriminator": loss_d},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch),
        )

    def on_train_epoch_end(self) -> None:
        for scheduler in cast(list[LambdaLR], self.lr_schedulers()):
            scheduler.step()

    def configure_optimizers(self) -> tuple[list[Adam], list[LambdaLR]]:
        rate, betas = self.hparams["learning_rate"], (self.hparams["beta1"], 0.999)
        optimizers = [
            Adam(network.parameters(), rate, betas, fused=True)
            for network in (self.generator, self.discriminator)
        ]
        return optimizers, [LambdaLR(o, self._rate_factor) for o in optimizers]

    def _rate_factor(self, epoch: int) -> float:
        epochs: int = self.hparams["epochs"]
        decay: int = round(epochs * self.hparams["decay_fraction"])
        return 1.0 - max(0, epoch + 1 - (epochs - decay)) / (decay + 1)

    def _augment(self, batch: PairBatch, batch_idx: int) -> PairBatch:
        generator = torch.Generator().manual_seed(self._batch_seed("jitter", batch_idx))
        load_size = round(self.hparams["image_size"] * self.hparams["load_scale"])
        return jitter(batch, load_size, self.hparams["flip"], generator)

    def _batch_seed(self, purpose: str, batch_idx: int) -> int:
        names = (purpose, self.current_epoch, batch_idx, self.global_rank)
        return derive_seed(self.hparams["seed"], *names)


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "width": ("at least 1", lambda v: v >= 1),
    "discriminator_width": ("at least 1", lambda v: v >= 1),
    "in_channels": ("3, pictures are RGB", lambda v: v == 3),
    "dropout": ("in [0, 1)", lambda v: 0 <= v < 1),
    "lambda_l1": ("finite and at least 0", lambda v: math.isfinite(v) and v >= 0),
    "learning_rate": ("finite and above 0", lambda v: math.isfinite(v) and v > 0),
    "beta1": ("in [0, 1)", lambda v: 0 <= v < 1),
    "epochs": ("at least 1", lambda v: v >= 1),
    "decay_fraction": ("in [0, 1]", lambda v: 0 <= v <= 1),
    "batch_size": ("at least 1", lambda v: v >= 1),
    "load_scale": ("between 1 and 4", lambda v: 1 <= v <= 4),
}


def _check(hparams: Mapping[str, Any]) -> None:
    for key, (wanted, holds) in _RULES.items():
        if not holds(hparams[key]):
            raise UserError(f"victim.{key}={hparams[key]}: must be {wanted}")
    size = hparams["image_size"]
    if size < 32 or size & (size - 1):
        raise UserError(
            f"data.image_size={size}: the U-Net halves the image down to one pixel, so the size "
            "must be a power of two, at least 32"
        )


def _initialise(module: nn.Module) -> None:
    """Normal initial weights with standard deviation 0.02 (Isola et al. 2017, section 6.2)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
