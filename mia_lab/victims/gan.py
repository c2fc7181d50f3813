"""What the victims that we train have in common, as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from mia_lab.victims.networks import network_range, translate_unit_range


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
            self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Translate float (N, C, S, S) in [0, 1] to (N, 3, S, S) in [0, 1]."""
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
        load_size = round(hparams["image_size"] * hparams["load_scale"])
        seed = derive_seed(hparams["seed"], "jitter", self.current_epoch)
        batch = jitter(batch, load_size, hparams["flip"], seed)
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
        epochs: int = self.hparams["epochs"]
        decay: int = round(epochs * self.hparams["decay_fraction"])
        return 1.0 - max(0, epoch + 1 - (epochs - decay)) / (decay + 1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within, gradients pass through a network but none is computed for its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


Rules = Mapping[str, tuple[str, Callable[[Any], bool]]]


def check_hparams(hparams: Mapping[str, Any], rules: Rules) -> None:
    """Refuse hyper-parameters out of range.

    Args:
        hparams: of a victim; keys that it has not are passed over.
        rules: of the subclass: for each key what it must be, in words and as a predicate.

    Raises:
        UserError: naming the key and its range.
    """
    for key, (wanted, holds) in {**_RULES, **rules}.items():
        if key in hparams and not holds(hparams[key]):
            raise UserError(f"victim.{key}={hparams[key]}: must be {wanted}")
    epochs, kept, audited = (hparams[k] for k in ("epochs", "keep_epochs", "epoch"))
    for epoch in kept:
        if not 1 <= epoch <= epochs:
            raise UserError(
                f"victim.keep_epochs={list(kept)}: the training has epochs 1 to {epochs}; "
                f"leave out {epoch}, or raise victim.epochs"
            )
    if audited not in (None, epochs, *kept):
        raise UserError(
            f"victim.epoch={audited}: is not kept; add it to victim.keep_epochs={list(kept)}"
        )


def at_least(minimum: float) -> tuple[str, Callable[[Any], bool]]:
    """A rule for a finite number."""
    return f"at least {minimum}", lambda v: math.isfinite(v) and v >= minimum


def one_of(*choices: str) -> tuple[str, Callable[[Any], bool]]:
    """A rule for a name."""
    return f"one of {', '.join(choices)}", lambda v: v in choices


_RULES: Rules = {
    "in_channels": at_least(1),
    "input_encoding": one_of("rgb", "one_hot"),
    "width": at_least(1),
    "discriminator_width": at_least(1),
    "learning_rate": ("finite and above 0", lambda v: math.isfinite(v) and v > 0),
    "beta1": ("in [0, 1)", lambda v: 0 <= v < 1),
    "epochs": at_least(1),
    "decay_fraction": ("in [0, 1]", lambda v: 0 <= v <= 1),
    "batch_size": at_least(1),
    "load_scale": ("between 1 and 4", lambda v: 1 <= v <= 4),
}


def initialise(module: nn.Module) -> None:
    """Normal initial weights with standard deviation 0.02 (Isola et al. 2017, section 6.2)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
