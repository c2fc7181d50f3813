"""Loss functions of adversarial image translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

GanLoss = Literal["vanilla", "lsgan", "hinge"]
"""Cross-entropy (Isola et al. 2017), least squares (Mao et al. 2017), hinge (Lim and Ye 2017)."""

GAN_LOSSES: tuple[GanLoss, ...] = get_args(GanLoss)


def discriminator_loss(real: Tensor, fake: Tensor, kind: GanLoss) -> Tensor:
    """Loss of a discriminator on real and on translated pairs, halved as in the published code.

    Args:
        real, fake: logits of any shape.
        kind: which loss.
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (_label_loss(fake, 0.0, kind) + _label_loss(real, 1.0, kind)) / 2


def generator_loss(fake: Tensor, kind: GanLoss) -> Tensor:
    """Adversarial loss of a generator; for the arguments see :func:`discriminator_loss`."""
    return -fake.mean() if kind == "hinge" else _label_loss(fake, 1.0, kind)


def feature_matching_loss(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]
) -> Tensor:
    """L1 distance between the discriminators' features of real and of translated pairs.

    Wang et al. 2018 (arXiv:1711.11585), Eq. 4, with the weights of the published code: 4 divided by
    the number of feature maps, averaged over discriminators.

    Args:
        real, fake: feature maps of each discriminator; the last ones, the logits, are ignored.
    """
    terms = [
        F.l1_loss(f, r.detach()) * 4 / len(scale_r[:-1])
        for scale_r, scale_f in zip(real, fake, strict=True)
        for r, f in zip(scale_r[:-1], scale_f[:-1], strict=True)
    ]
    return torch.stack(terms).sum() / len(real)


def _label_loss(logits: Tensor, label: float, kind: GanLoss) -> Tensor:
    """Mean loss of patch logits against one label."""
    target = torch.full_like(logits, label)
    if kind == "lsgan":
        return F.mse_loss(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)
