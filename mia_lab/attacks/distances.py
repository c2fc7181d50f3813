"""Reconstruction attacks under other distances, and over altered queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mia_lab.attacks.evidence import Evidence
from mia_lab.attacks.membership import membership_error
from mia_lab.attacks.needs import Setting, attack
from mia_lab.backbones.backbone import Backbone
from mia_lab.data.transforms import in_levels
from mia_lab.parameters import PositiveInt, Weight
from mia_lab.types import ADAPTIVE, Floats, ScoreTable

FLIPS_AND_CROPS = ("hflip", "crop-0", "crop-1", "crop-2", "crop-3")


@attack(altered=FLIPS_AND_CROPS)
def augmented(evidence: Evidence, ids: Sequence[str], model: str) -> ScoreTable:
    """Minus the reconstruction error averaged over the query, its mirror image and its crops.

    Shafran et al. 2021 (arXiv:2102.07762, section on data augmentation): the attacker alters x and
    y alike and averages Eq. 1 over the answers. A crop is a corner of 7/8 of the side, enlarged.

    Raises:
        KeyError: the model was never queried with one of the ids.
    """
    assert evidence.altered is not None
    plain = evidence.reconstructions.mean_error(ids, model)
    others = [evidence.altered.mean_error(ids, model, name) for name in FLIPS_AND_CROPS]
    score = -np.mean([plain, *others], axis=0)
    return ScoreTable("augmented", model, np.array(ids), score)


@attack(altered=(ADAPTIVE,), averaged=Setting("repeats"), difficulty=True)
def adaptive(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    alpha: Weight = 0.0,
    repeats: PositiveInt = 16,
) -> ScoreTable:
    """The membership error of an attacker who knows the defence and adapts to it.

    Asks ``repeats`` times, averages the answers, and compares them with the target as the
    defence would have shown it ("adaptive attacks", Tramer et al. 2020, arXiv:2002.08347). The
    error of noise of deviation s falls to that of s / sqrt(repeats).

    Args:
        evidence, ids, model: as for every attack.
        alpha: weight of the difficulty, as in Eq. 3; 0: none.
        repeats: queries of each image.

    Raises:
        KeyError: the model was never queried with one of the ids.
    """
    assert evidence.altered is not None
    error = evidence.altered.mean_error(ids, model, ADAPTIVE)
    score = -membership_error(error, evidence.difficulty.column(ids), alpha)
    return ScoreTable("adaptive", model, np.array(ids), score)


Metric = Literal["l2", "ssim", "perceptual"]

_SSIM_BORDER = 5


@attack(version=2, costly=True)
def distance(
    evidence: Evidence,
    ids: Sequence[str],
    model: str,
    *,
    metric: Metric,
    backbone: Backbone | None = None,
) -> ScoreTable:
    """Minus a distance between the victim's answer and the target, other than the L1 of Eq. 1.

    Args:
        evidence, ids, model: as for every attack.
        metric: ``l2``, mean squared error | ``ssim``, one minus the structural similarity (Wang et
            al. 2004) | ``perceptual``, mean squared distance of unit-length features of all blocks
            (Zhang et al. 2018, arXiv:1801.03924, without their learned weights).
        backbone: network of the metric ``perceptual``; else unused.

    Raises:
        KeyError: the model was never queried with one of the ids.
    """
    answers, found = evidence.reconstructions, []
    for batch in evidence.pairs(ids):
        rows = [answers.row(i, model) for i in batch.ids]
        answer = torch.from_numpy(np.array(answers.images[rows]))
        with torch.inference_mode():
            found.append(METRICS[metric](answer, batch.y, backbone))
    return ScoreTable(metric, model, np.array(ids), -np.concatenate(found).astype(np.float64))


def _l2(a: Tensor, b: Tensor, _: object) -> Floats:
    squares = np.square(in_levels(a.numpy()) - in_levels(b.numpy())).mean(axis=(1, 2, 3))
    found: Floats = squares / 255**2
    return found


def structural_similarity(a: Tensor, b: Tensor) -> Floats:
    """Structural similarity, averaged over windows that lie in the image, and over channels.

    Wang et al. 2004 (IEEE Transactions on Image Processing 13), with their Gaussian window of
    11 x 11 pixels.

    Args:
        a, b: float32 (N, C, H, W) in [0, 1], of at least 11 x 11 pixels.

    Returns:
        float64 (N,), at most 1, from float32 sums.
    """
    # This also imports metrics of text and audio, which takes over a second.
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, maps = structural_similarity_index_measure(
        a, b, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = slice(_SSIM_BORDER, -_SSIM_BORDER)  # windows beyond it see mirrored pixels
    similarity: Floats = maps[..., inside, inside].double().mean((1, 2, 3)).numpy()
    return similarity


def _dissimilarity(a: Tensor, b: Tensor, _: object) -> Floats:
    return 1 - structural_similarity(a, b)


def _perceptual(a: Tensor, b: Tensor, backbone: Backbone | None) -> Floats:
    assert backbone is not None
    blocks = [*backbone.blocks]
    total = np.zeros(len(a))
    for left, right in zip(backbone.features(a, blocks), backbone.features(b, blocks), strict=True):
        gap = (normalize(left, dim=1) - normalize(right, dim=1)).square().sum(1)
        total += gap.mean((1, 2)).double().cpu().numpy()
    return total / len(blocks)


METRICS: dict[Metric, Callable[[Tensor, Tensor, Backbone | None], Floats]] = {
    "l2": _l2,
    "ssim": _dissimilarity,
    "perceptual": _perceptual,
}
