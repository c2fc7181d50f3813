"""The perceptual loss against torchvision's VGG19, and against timm's Lite0."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from mia_lab.errors import UserError
from mia_lab.victims.perceptual import PerceptualLoss
from published_hd import MAP_WEIGHTS, lite0, perceptual_loss


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    fake, real = (2 * torch.rand(2, 3, 32, 32, generator=drawn) - 1 for _ in range(2))
    return fake.requires_grad_(), real


@pytest.mark.slow
def test_vgg19_is_the_published_loss(tmp_path: Path, images: tuple[Tensor, Tensor]) -> None:
    fake, real = images
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vgg = torchvision.models.vgg19(weights=None)
    for module in vgg.features:  # keep random features from dying out with depth
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(1))
    state = dict(timm.create_model("vgg19").state_dict())
    state.update({f"features.{k}": v for k, v in vgg.features.state_dict().items()})
    save_file(state, tmp_path / "vgg19.safetensors")
    perceptual = PerceptualLoss("vgg19", str(tmp_path / "vgg19.safetensors"))
    loss = perceptual(fake, real)

    wanted, start = torch.tensor(0.0), 0
    a, b = fake, real
    for weight, end in zip(MAP_WEIGHTS, (2, 7, 12, 21, 30), strict=True):  # the published slices
        a, b = vgg.features[start:end](a), vgg.features[start:end](b)
        wanted = wanted + weight * (a - b).abs().mean()
        start = end
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    found, expected = (torch.autograd.grad(v, fake)[0] for v in (loss, wanted))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)

    grey = [side[:, :1].detach() for side in images]
    one = PerceptualLoss("vgg19", str(tmp_path / "vgg19.safetensors"), channels=1)(*grey)
    same = perceptual(*(side.repeat(1, 3, 1, 1) for side in grey))
    assert one.item() == pytest.approx(same.item(), rel=1e-5)


def test_lite0_is_a_tenth_of_the_distance_of_timms_features(images: tuple[Tensor, Tensor]) -> None:
    fake, real = images
    loss = PerceptualLoss("lite0")(fake, real)
    wanted = perceptual_loss(lite0(), fake, real).item() / 10
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_other_channels_enter_as_timm_adapts_weights(channels: int) -> None:
    drawn = torch.Generator().manual_seed(0)
    fake, real = (2 * torch.rand(2, channels, 32, 32, generator=drawn) - 1 for _ in range(2))
    loss = PerceptualLoss("lite0", channels=channels)(fake, real)
    # A convolution whose weights repeat over RGB, scaled, is one of RGB that sums what repeats.
    rows = [[j for j in range(channels) if j % 3 == k] for k in range(3)]
    as_rgb = [
        images.repeat(1, 3, 1, 1)
        if channels == 1
        else torch.stack([images[:, row].sum(1) for row in rows], 1) * 3 / channels
        for images in (fake, real)
    ]
    assert loss.item() == pytest.approx(PerceptualLoss("lite0")(*as_rgb).item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["vgg19", "lite0"])
def test_missing_weights_are_an_error_not_another_objective(kind: str) -> None:
    with pytest.raises(UserError, match=rf"victim.perceptual={kind}: .*perceptual_weights=FILE"):
        PerceptualLoss(kind, "no/such/file.pth")
