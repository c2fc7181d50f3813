"""A conditional diffusion model, or a Brownian bridge, as a LightningModule."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le, MinLen
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from mia_lab.data.transforms import jitter
from mia_lab.errors import UserError
from mia_lab.parameters import (
    BelowOne,
    ImageSize,
    InputEncoding,
    Positive,
    PositiveInt,
    UnitInterval,
    width_height,
)
from mia_lab.seeding import derive_seed
from mia_lab.types import PairBatch
from mia_lab.victims.denoiser import Denoiser
from mia_lab.victims.extras import library
from mia_lab.victims.gan import LoadScale, check_epochs, check_size, falling
from mia_lab.victims.networks import network_range
from mia_lab.victims.noising import (
    TRAIN_STEPS,
    BrownianBridge,
    Diffusion,
    Prediction,
    Process,
    Sampling,
    Schedule,
    check_steps,
    scheduler,
)

GROUPS = 8
"""Groups of the group norm; the width is a multiple of it."""


class DiffusionVictim(pl.LightningModule):
    """A U-Net of ``diffusers`` that turns noise into an answer, step by step.

    All arguments are kept as hyper-parameters. All randomness comes from (seed, epoch, batch), so
    that a resumed training repeats what an uninterrupted one does.

    Args:
        image_size: side of square images, or [width, height]; multiples of 2 to the power of the
            number of levels less one.
        in_channels: channels of the inputs.
        out_channels: channels of the targets.
        width: channels of the U-Net's first level, a multiple of 8.
        multipliers: channels of each level, relative to the first.
        layers: residual blocks of a level.
        attention: self-attention at the lowest level.
        dropout: probability in the residual blocks.
        variant: ``diffusion``, see :class:`~mia_lab.victims.noising.Diffusion` | ``bridge``, see
            :class:`~mia_lab.victims.noising.BrownianBridge`.
        prediction, schedule, sampling: see :func:`~mia_lab.victims.noising.scheduler`; a bridge
            has none of them.
        noise_bias: above 1, training draws noisier steps: t = T (1 - u^bias), u uniform in [0, 1].
        loss: of the prediction, ``l2`` or ``l1``.
        steps: evaluations of the network for an answer; of a diffusion, a divisor of 1000.
        ema: decay of the moving average of the weights, which answers; 0: the last weights do.
        learning_rate: learning rate of Adam.
        decay_fraction: share of the epochs, at the end, over which the learning rate falls
            linearly to zero.
        epochs: passes over the members.
        batch_size: images per training step.
        load_scale: jitter enlarges by this factor before it crops back to ``image_size``.
        flip: mirror training images at random.
        seed: of the weights, the order of images, the noise and the jitter.
        input_encoding: what the network is given, see ``data.input_encoding``.
        keep_epochs: epochs whose weights are kept.
        epoch: the one of them that is audited; None: the last.

    Attributes:
        generator: the U-Net that answers.

    Raises:
        UserError: the size or the channels do not fit the network, ``epoch`` is not kept, or
            ``diffusers`` is not installed.
    """

    version: ClassVar[int] = 1
    trainable: ClassVar[bool] = True
    has_train_mode: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True

    def __init__(
        self,
        image_size: ImageSize,
        in_channels: PositiveInt,
        out_channels: PositiveInt,
        width: PositiveInt,
        multipliers: Annotated[list[PositiveInt], MinLen(1)],
        layers: PositiveInt,
        attention: bool,
        dropout: BelowOne,
        variant: Literal["diffusion", "bridge"],
        prediction: Prediction,
        schedule: Schedule,
        sampling: Sampling,
        noise_bias: Positive,
        loss: Literal["l2", "l1"],
        steps: Annotated[int, Ge(1), Le(TRAIN_STEPS)],
        ema: BelowOne,
        learning_rate: Positive,
        decay_fraction: UnitInterval,
        epochs: PositiveInt,
        batch_size: PositiveInt,
        load_scale: LoadScale,
        flip: bool,
        seed: int,
        input_encoding: InputEncoding = "rgb",
        keep_epochs: Sequence[int] = (),
        epoch: int | None = None,
    ) -> None:
        super().__init__()
        keep_epochs = list(keep_epochs)
        self.save_hyperparameters()
        check_epochs(epochs, keep_epochs, epoch)
        stride = 2 ** (len(multipliers) - 1)
        check_size(image_size, stride, stride, f"victim.multipliers={list(multipliers)}")
        if width % GROUPS:
            raise UserError(
                f"victim.width={width}: is no multiple of {GROUPS}, the groups of the norm; set "
                f"victim.width={max(1, round(width / GROUPS)) * GROUPS}"
            )
        self._process: Process
        if variant == "diffusion":
            check_steps(steps)
            self._process = Diffusion(scheduler(prediction, schedule, sampling))
            taken = in_channels
        else:
            _check_bridge(in_channels, out_channels, input_encoding)
            self._process, taken = BrownianBridge(), 0
        across, down = width_height(image_size)
        arguments = {
            "sample_size": across if across == down else (down, across),
            "in_channels": taken + out_channels,
            "out_channels": out_channels,
            "block_out_channels": tuple(width * m for m in multipliers),
            "layers_per_block": layers,
            "down_block_types": ("DownBlock2D",) * len(multipliers),
            "up_block_types": ("UpBlock2D",) * len(multipliers),
            "norm_num_groups": GROUPS,
            "add_attention": attention,
            "dropout": dropout,
        }
        unet = library("diffusers", "diffusion", "diffusers").UNet2DModel
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            self.network: nn.Module = unet(**arguments)
        self.generator = copy.deepcopy(self.network).requires_grad_(False)
        self.generator.arguments = arguments

    def forward(self, x: Tensor) -> Tensor:
        """Answers with fixed seeds, to look at while the model is trained."""
        return self.sample(x, range(len(x)))

    def sample(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """Draw an answer (N, out_channels, H, W) in [0, 1] to each (N, in_channels, H, W)."""
        hparams = self.hparams
        condition = network_range(x, hparams["input_encoding"])
        channels, steps = hparams["out_channels"], hparams["steps"]
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = self._process.draw(self._denoise, condition, channels, draws, steps)
        return ((drawn + 1) / 2).clamp(0, 1)

    @classmethod
    def has_denoiser(cls, arguments: Mapping[str, Any]) -> bool:
        """Whether attacks on diffusion models fit; a bridge adds no noise to the target alone."""
        return bool(arguments["variant"] == "diffusion")

    def pipeline(self) -> Any:
        """The model as a pipeline of ``diffusers``, which can be saved to a folder."""
        from mia_lab.victims.translation_pipeline import TranslationPipeline

        hparams = self.hparams
        is_bridge = hparams["variant"] == "bridge"
        return TranslationPipeline(
            self.generator,
            None if is_bridge else cast(Diffusion, self._process).scheduler,
            input_encoding=hparams["input_encoding"],
            steps=hparams["steps"],
        )

    def denoiser(self) -> Denoiser:
        """The network that answers, for attackers who hold it."""
        return _Network(self, cast(Diffusion, self._process))

    def _denoise(self, noisy: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.generator(noisy, t).sample
        return found

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        hparams, rank = self.hparams, self.global_rank
        seed = derive_seed(hparams["seed"], "jitter", self.current_epoch)
        batch = jitter(batch, hparams["load_scale"], hparams["flip"], seed)
        x, y = network_range(batch.condition, hparams["input_encoding"]), 2 * batch.y - 1
        # Dropout draws from the global generator as well.
        torch.manual_seed(
            derive_seed(hparams["seed"], "noise", self.current_epoch, batch_idx, rank)
        )
        noise = torch.randn(y.shape).to(y)
        share = 1 - torch.rand(len(y)) ** hparams["noise_bias"]
        t = (TRAIN_STEPS * share).long().clamp(max=TRAIN_STEPS - 1).to(y.device)
        noisy, wanted = self._process.example(x, y, noise, t)
        found = self.network(noisy, t).sample
        distance = F.mse_loss if hparams["loss"] == "l2" else F.l1_loss
        loss = distance(found.float(), wanted)
        self.log(
            "loss",
            loss.detach(),
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(batch),
        )
        return loss

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Move the average towards the weights: in the first steps faster, as in ``diffusers``."""
        step = self.global_step
        decay = min(self.hparams["ema"], (1 + step) / (10 + step)) if self.hparams["ema"] else 0.0
        averages, weights = [*self.generator.parameters()], [*self.network.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(averages, [w.detach() for w in weights], 1 - decay)

    def configure_optimizers(self) -> tuple[list[Adam], list[LambdaLR]]:
        optimizer = Adam(self.network.parameters(), self.hparams["learning_rate"], fused=True)
        return [optimizer], [LambdaLR(optimizer, self.rate_factor)]

    def rate_factor(self, epoch: int) -> float:
        """The learning rate of an epoch (from 0), as a share of the initial one."""
        return falling(epoch, self.hparams["epochs"], self.hparams["decay_fraction"])


class _Network:
    """A :class:`~mia_lab.victims.denoiser.Denoiser` of the network that answers."""

    def __init__(self, victim: DiffusionVictim, process: Diffusion) -> None:
        self.signal = process.signal
        self._victim = victim
        self._process = process

    @torch.inference_mode()
    def noise(self, noisy: Tensor, t: int, condition: Tensor) -> Tensor:
        victim = self._victim
        x = network_range(condition, victim.hparams["input_encoding"])
        seen = torch.cat([noisy, x], 1).to(victim.device)
        predicted = victim._denoise(seen, torch.full((len(x),), t, device=victim.device))
        return self._process.noise(predicted.float().cpu(), noisy, t)


def _check_bridge(in_channels: int, out_channels: int, input_encoding: str) -> None:
    if input_encoding != "rgb":
        raise UserError(
            "victim.variant=bridge: starts from the input picture, so it takes "
            "data.input_encoding=rgb; or use victim.variant=diffusion"
        )
    if in_channels != out_channels:
        raise UserError(
            f"victim.variant=bridge: leads from the target to the input, but inputs have "
            f"{in_channels} channels and targets {out_channels}; set data.input_channels="
            f"{out_channels}, or use victim.variant=diffusion"
        )
