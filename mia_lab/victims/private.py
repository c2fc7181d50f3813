"""A victim with a privacy guarantee: a U-Net trained by DP-SGD, without a discriminator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from opacus.accountants.utils import get_noise_multiplier
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler

from mia_lab.data.dataset import PairDataset, collate
from mia_lab.data.decoded import Item
from mia_lab.errors import UserError
from mia_lab.parameters import (
    BelowOne,
    ImageSize,
    InputEncoding,
    OpenUnitInterval,
    Positive,
    PositiveInt,
)
from mia_lab.seeding import derive_seed, generator
from mia_lab.types import PairBatch, PrivacyClaim
from mia_lab.victims.gan import check_epochs, check_size, initialise
from mia_lab.victims.networks import network_range, translate_unit_range
from mia_lab.victims.networks.unet import SMALLEST, UNet


class PrivateUNet(pl.LightningModule):
    """The generator of pix2pix with group norm, trained on the L1 term alone by DP-SGD.

    Abadi et al. 2016 (arXiv:1607.00133), by Opacus: batches drawn by a coin for each image, each
    image's gradient clipped, Gaussian noise on their sum, and the privacy spent by the moments
    (Renyi) accountant. Batch norm and a discriminator would mix images; group norm (Wu, He 2018,
    arXiv:1803.08494) does not.

    The noise is pseudo-random, from the seed: whoever knows the seed can subtract it.

    Args:
        image_size: side of square images, or [width, height], multiples of 32; the U-Net has as
            many levels as both can be halved.
        in_channels: channels of the inputs.
        out_channels: channels of the targets.
        width: channels of the first level.
        learning_rate: learning rate of Adam.
        beta1: decay of Adam's mean of gradients.
        epochs: passes over the members, on average.
        batch_size: expected images a step.
        epsilon: guaranteed epsilon at ``delta``; the noise follows from both.
        delta: guaranteed probability that the bound ``epsilon`` does not hold.
        max_grad_norm: bound of an image's gradient.
        seed: of the weights, the batches and the noise.
        input_encoding: what the generator is given, see ``data.input_encoding``.
        keep_epochs: epochs whose weights are kept.
        epoch: the one of them that is audited; None: the last.

    Raises:
        UserError: the size does not fit the U-Net, or ``epoch`` is not kept.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = True
    private: ClassVar[bool] = True
    has_train_mode: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    def __init__(
        self,
        image_size: ImageSize,
        in_channels: PositiveInt,
        out_channels: PositiveInt,
        width: PositiveInt,
        learning_rate: Positive,
        beta1: BelowOne,
        epochs: PositiveInt,
        batch_size: PositiveInt,
        epsilon: Positive,
        delta: OpenUnitInterval,
        max_grad_norm: Positive,
        seed: int,
        input_encoding: InputEncoding = "rgb",
        keep_epochs: Sequence[int] = (),
        epoch: int | None = None,
    ) -> None:
        super().__init__()
        keep_epochs = list(keep_epochs)
        self.save_hyperparameters()
        self.automatic_optimization = False
        check_size(image_size, SMALLEST, SMALLEST, "victim=dp_unet")
        check_epochs(epochs, keep_epochs, epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            self.generator = UNet(
                image_size, in_channels, out_channels, width, dropout=0, norm="group"
            )
            self.apply(initialise)

    @staticmethod
    def privacy_claim(settings: Mapping[str, Any], n_members: int) -> PrivacyClaim:
        """What the training promises its members.

        Args:
            settings: the arguments of the constructor.
            n_members: images that it is trained on.

        Raises:
            UserError: no noise keeps the promise.
        """
        return privacy_claim(settings, n_members)

    def forward(self, x: Tensor) -> Tensor:
        """Translate (N, in_channels, H, W) in [0, 1] to (N, out_channels, H, W) in [0, 1]."""
        return translate_unit_range(self.generator, x, self.hparams["input_encoding"])

    def training_loader(self, dataset: PairDataset) -> DataLoader[Item]:
        """Batches drawn by a coin for each image, as the accountant supposes."""
        self._n = len(dataset)
        rate = self.hparams["batch_size"] / self._n
        batches = PoissonBatches(len(dataset), min(1.0, rate), self.hparams["seed"])
        return DataLoader(dataset, batch_sampler=batches, collate_fn=_collated(dataset))

    def on_fit_start(self) -> None:
        # Hooks that keep each image's gradient; not a child, so that checkpoints know nothing.
        self._hooks = [GradSampleModule(self.generator)]

    def on_fit_end(self) -> None:
        for hooks in self._hooks:
            hooks.remove_hooks()
            for parameter in self.generator.parameters():
                for name in LEFT_BEHIND & vars(parameter).keys():
                    delattr(parameter, name)
        self._hooks = []

    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        optimizer = cast(Any, self.optimizers()).optimizer
        optimizer.generator.manual_seed(
            derive_seed(self.hparams["seed"], "noise", self.current_epoch, batch_idx)
        )
        cast(Any, self.optimizers()).zero_grad()
        if not len(batch):  # the coins drew nobody: noise alone
            for parameter in self.generator.parameters():
                shape = (0, *parameter.shape)
                parameter.grad_sample = parameter.new_zeros(shape)  # type: ignore[attr-defined]
        else:
            x, y = network_range(batch.condition, self.hparams["input_encoding"]), 2 * batch.y - 1
            loss = F.l1_loss(self.generator(x), y)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*backward hook is firing.*")
                self.manual_backward(loss)
            self.log("l1", loss.detach() / 2, on_step=False, on_epoch=True, batch_size=len(batch))
        cast(Any, self.optimizers()).step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        hparams = self.hparams
        adam = torch.optim.Adam(
            self.generator.parameters(), hparams["learning_rate"], (hparams["beta1"], 0.999)
        )
        optimizer: torch.optim.Optimizer = DPOptimizer(
            adam,
            noise_multiplier=privacy_claim(hparams, self._n).noise_multiplier,
            max_grad_norm=hparams["max_grad_norm"],
            expected_batch_size=min(hparams["batch_size"], self._n),
            generator=torch.Generator(self.device),
        )
        return optimizer


ORDERS = [1 + x / 10 for x in range(1, 100)] + [*range(12, 64), 80, 96, 128, 192, 256, 384, 512]
"""Of the Renyi divergence: Opacus's, and larger ones, which small epsilons need."""

LEFT_BEHIND = {"grad_sample", "summed_grad", "_forward_counter", "_current_grad_sample"}
"""What Opacus hangs on parameters."""


class PoissonBatches(BatchSampler):
    """Batches that each image enters by a coin of its own; a batch may be empty.

    Args:
        n: images.
        rate: probability of each.
        seed: batch b of epoch e depends on (seed, e, b) alone, so that training can resume.
    """

    def __init__(self, n: int, rate: float, seed: int) -> None:
        self._n, self._rate, self._seed = n, rate, seed
        self._epoch = _Epoch()
        self.sampler = self._epoch
        self.batch_size, self.drop_last = max(1, round(n * rate)), False

    def __len__(self) -> int:
        return math.ceil(1 / self._rate)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            rng = generator(self._seed, "coins", self._epoch.epoch, number)
            yield [row for row, coin in enumerate(rng.random(self._n)) if coin < self._rate]


class _Epoch(Sampler[int]):
    """Where Lightning says which epoch it is."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(())


def _collated(dataset: PairDataset) -> Any:
    def collated(items: Sequence[Item]) -> PairBatch:
        if items:
            return collate(items, dataset.encoding)
        one = collate([dataset[0]], dataset.encoding)
        none = None if one.encoded is None else one.encoded[:0]
        return PairBatch((), one.x[:0], one.y[:0], none)

    return collated


def privacy_claim(settings: Mapping[str, Any], n: int) -> PrivacyClaim:
    """What the training of a :class:`PrivateUNet` promises.

    Args:
        settings: its hyper-parameters.
        n: members.

    Raises:
        UserError: no noise keeps the promise.
    """
    rate = min(1.0, settings["batch_size"] / n)
    steps = settings["epochs"] * math.ceil(1 / rate)
    with warnings.catch_warnings():  # of noise that is tried on the way
        warnings.filterwarnings("ignore", message="Optimal order is the")
        try:
            noise = get_noise_multiplier(
                target_epsilon=settings["epsilon"],
                target_delta=settings["delta"],
                sample_rate=rate,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=0.01 * settings["epsilon"],
                alphas=ORDERS,
            )
        except ValueError as error:
            raise UserError(
                f"victim.epsilon={settings['epsilon']}: cannot be promised for {steps} batches at "
                f"a rate of {rate:.3g} ({error}); raise it, or lower victim.epochs"
            ) from error
    return PrivacyClaim(
        epsilon=settings["epsilon"],
        delta=settings["delta"],
        noise_multiplier=float(noise),
        sampling_rate=rate,
        steps=steps,
    )
