"""``preprocess: official`` against the released algorithm, written with other libraries."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize
from torchvision import transforms

from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.types import PairBatch
from plain import as_tensor, least_norm, train_pixels, upsampled

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETWORKS = {
    "lite0": (("blocks.1", "blocks.2", "blocks.4", "blocks.6"), ((0.5,) * 3, (0.5,) * 3)),
    "wide": (("layer1", "layer2", "layer3", "layer4"), IMAGENET),
}


def released_score(model, modules, statistics, x, y, image_id):
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
    target = resize(y / 255, (56, 56), order=1, mode="reflect").reshape(56 * 56, 3)
    train = train_pixels(image_id, 0, 56 * 56)
    predictions, rank, _ = least_norm(columns, target, train)
    return np.abs(predictions - target)[~train].mean(), rank


@pytest.mark.parametrize(
    ("name", "kind"),
    [*product(["lite0"], ["colours", "one channel", "not square", "small"]), ("wide", "colours")],
)
def test_official_is_the_released_algorithm(name, kind, facade, request):
    backbone = request.getfixturevalue(name)
    x, y = facade.input, facade.target
    if kind == "one channel":
        x = facade.labels.astype(np.uint8) * 20
    if kind == "not square":
        x, y = (np.asarray(Image.fromarray(p).resize((420, 300))) for p in (x, y))
    if kind == "small":
        x, y = (np.asarray(Image.fromarray(p).resize((64, 64))) for p in (x, y))
    pair = PairBatch(("facade",), as_tensor(x), as_tensor(y))
    scorer = SingleImageDifficulty(backbone, preprocess="official", ridge=0)
    found = scorer.score(scorer.factors([pair]), seed=0)
    wanted, rank = released_score(backbone.model, *NETWORKS[name], x, y, "facade")
    moved = found.score[0, 0, 0] - wanted
    print(f"{name}, {kind}: {wanted:.6f}, {moved:+.1e}, ranks {found.rank[0, 0, 0]} and {rank}")
    assert abs(moved) < 1e-4
