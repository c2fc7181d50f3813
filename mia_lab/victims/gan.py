"""What the victims that we train have in common, as a LightningModule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, ClassVar, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from mia_lab.data.transforms import jitter
from mia_lab.errors import UserError
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch
from mia_lab.victims.networks import misfit, network_range, translate_unit_range

LoadScale = Annotated[float, Ge(1), Le(4)]
"""Factor by which jitter enlarges images before it crops them."""


class TranslationGAN(pl.LightningModule):
    """A generator against a discriminator, under manual optimisation.

    A subclass saves its hyper-parameters, builds ``generator`` and ``discriminator`` within
    :meth:`seeded_weights` and implements :meth:`update`. One translation a step serves both
    networks. All randomness comes from (seed, epoch, image or batch), so that a resumed training
    repeats what an uninterrupted one does.

    Hyper-parameters: ``image_size``, ``input_encoding``, ``learning_rate``, ``beta1``, ``epochs``,
    ``decay_fraction``, ``batch_size``, ``load_scale``, ``flip``, ``seed``, ``keep_epochs`` and
    ``epoch``.
    """

    trainable: ClassVar[bool] = True
    has_train_mode: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    zero_biases: ClassVar[bool] = True
    """Whether biases start at 0; see :func:`initialise`."""

    generator: nn.Module
    discriminator: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @contextmanager
    def seeded_weights(self) -> Iterator[None]:
        """Networks built within have initial weights that depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.hparams["seed"], "weights"))
            yield
            self.apply(partial(initialise, zero_biases=self.zero_biases))

    def forward(self, x: Tensor) -> Tensor:
        """Translate (N, in_channels, H, W) in [0, 1] to (N, out_channels, H, W) in [0, 1]."""
        return translate_unit_range(self.generator, x, self.hparams["input_encoding"])

    def update(self, x: Tensor, y: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Improve both networks by one step, through :meth:`descend`.

        Args:
            x: what the generator was given.
            y: targets in [-1, 1].
            fake: the generator's answers in [-1, 1], with their graph.

        Returns:
            The losses to log.
        """
        raise NotImplementedError

    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        hparams = self.hparams
        # Dropout draws from the global generator.
        torch.manual_seed(
            derive_seed(hparams["seed"], "dropout", self.current_epoch, batch_idx, self.global_rank)
        )
        seed = derive_seed(hparams["seed"], "jitter", self.current_epoch)
        batch = jitter(batch, hparams["load_scale"], hparams["flip"], seed)
        x, y = network_range(batch.condition, hparams["input_encoding"]), 2 * batch.y - 1
        fake = self.generator(x)
        losses = self.update(x, y, fake)
        # The published L1 is on [-1, 1]; shown on [0, 1], the unit of the attack's errors.
        losses = {"l1": F.l1_loss(fake.detach(), y) / 2, **losses}
        self.log_dict(
            {name: loss.detach() for name, loss in losses.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch),
        )

    def descend(self, network: nn.Module, loss: Tensor) -> None:
        """One optimizer step of one of the two networks."""
        optimizers = cast(list[Any], self.optimizers())
        optimizer = optimizers[0] if network is self.generator else optimizers[1]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def on_train_epoch_end(self) -> None:
        for scheduler in cast(list[LambdaLR], self.lr_schedulers()):
            scheduler.step()

    def configure_optimizers(self) -> tuple[list[Adam], list[LambdaLR]]:
        rate, betas = self.hparams["learning_rate"], (self.hparams["beta1"], 0.999)
        optimizers = [
            Adam(network.parameters(), rate, betas, fused=True)
            for network in (self.generator, self.discriminator)
        ]
        return optimizers, [LambdaLR(o, self.rate_factor) for o in optimizers]

    def rate_factor(self, epoch: int) -> float:
        """The learning rate of an epoch (from 0), as a share of the initial one.

        Constant, then falling linearly, as in the published code of pix2pix.
        """
        return falling(epoch, self.hparams["epochs"], self.hparams["decay_fraction"])


def falling(epoch: int, epochs: int, decay_fraction: float) -> float:
    """1 at first, then falling linearly to 0 over the last share of the epochs.

    Args:
        epoch: from 0.
        epochs: of the training.
        decay_fraction: the share, in [0, 1].
    """
    decay = round(epochs * decay_fraction)
    return 1.0 - max(0, epoch + 1 - (epochs - decay)) / (decay + 1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within, gradients pass through a network but none is computed for its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def check_epochs(epochs: int, keep_epochs: Sequence[int], epoch: int | None) -> None:
    """Refuse epochs that a training does not have or does not keep.

    Args:
        epochs: of the training.
        keep_epochs: those whose weights are kept.
        epoch: the one that is audited; None: the last.

    Raises:
        UserError: naming the key.
    """
    for kept in keep_epochs:
        if not 1 <= kept <= epochs:
            raise UserError(
                f"victim.keep_epochs={list(keep_epochs)}: the training has epochs 1 to {epochs}; "
                f"leave out {kept}, or raise victim.epochs"
            )
    if epoch not in (None, epochs, *keep_epochs):
        raise UserError(
            f"victim.epoch={epoch}: is not kept; add it to victim.keep_epochs={list(keep_epochs)}"
        )


def check_size(image_size: int | Sequence[int], stride: int, smallest: int, key: str) -> None:
    """Refuse images that a network cannot take.

    Args:
        image_size: of the images.
        stride: both sides must be multiples of it.
        smallest: smallest side.
        key: the setting that asks for the network, with its value.

    Raises:
        UserError: with the nearest size that fits.
    """
    if problem := misfit(image_size, stride, smallest):
        raise UserError(f"{key}: {problem}")


def initialise(module: nn.Module, *, zero_biases: bool = True) -> None:
    """Normal initial weights with standard deviation 0.02 (Isola et al. 2017, section 6.2).

    Args:
        module: a layer; containers are left alone.
        zero_biases: whether convolutions start with biases of 0, as in the published code of
            pix2pix, or with PyTorch's, as in that of pix2pixHD.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if zero_biases and module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
