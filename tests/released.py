"""The difficulty score as the authors' released code computes it, with other libraries."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision import transforms

from plain import least_norm, train_pixels, upsampled

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETWORKS = {
    "lite0": (("blocks.1", "blocks.2", "blocks.4", "blocks.6"), ((0.5,) * 3, (0.5,) * 3)),
    "wide": (("layer1", "layer2", "layer3", "layer4"), IMAGENET),
}


def released_score(
    model: nn.Module,
    modules: tuple[str, ...],
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    x: NDArray[np.uint8],
    y: NDArray[np.uint8],
    image_id: str,
) -> tuple[float, int]:
    """Eq. 2 as the authors compute it; they resize bytes, which PIL rounds to bytes again."""
    maps = {}
    hooks = [
        model.get_submodule(m).register_forward_hook(
            lambda _module, _inputs, output, m=m: maps.__setitem__(m, output.double().numpy())
        )
        for m in modules
    ]
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    steps.append(transforms.Normalize(*statistics))
    with torch.no_grad():
        model(transforms.Compose(steps)(Image.fromarray(x).convert("RGB"))[None])
    for hook in hooks:
        hook.remove()
    columns = np.concatenate([upsampled(maps[m][0], 56) for m in modules], axis=1)
    target = np.asarray(Image.fromarray(y).resize((56, 56))).reshape(56 * 56, 3) / 255
    train = train_pixels(image_id, 0, 56 * 56)
    predictions, rank, _ = least_norm(columns, target, train)
    return np.abs(predictions - target)[~train].mean(), rank
