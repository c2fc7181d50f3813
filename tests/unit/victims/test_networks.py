"""The published architectures: sizes, key layout, receptive field."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.norms import norm_layer
from mia_lab.victims.networks.patchgan import MultiscaleDiscriminator, PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from published import Weights, multiscale, patchgan


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        assert n_parameters(UNet(256)) == 54_413_955  # "54.41 M" for U-Net-256, 3 -> 3 channels
        assert n_parameters(PatchGAN(6)) == 2_768_705  # "2.77 M"
        hd = ResNetGenerator(36, n_downsamplings=4, norm="instance")
        assert n_parameters(hd) == 182_546_755  # "182.55 M"
        assert n_parameters(MultiscaleDiscriminator(39)) == 5_603_202  # "5.60 M"


@pytest.mark.parametrize("size", [32, 64, 128])
def test_unet_is_log2_deep_and_keeps_the_size(size: int) -> None:
    network = UNet(size, in_channels=4, width=4)
    halvings = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert 2 ** len(halvings) == size
    out = network(torch.randn(2, 4, size, size))
    assert out.shape == (2, 3, size, size)
    assert out.abs().max() <= 1


def test_unet_trains_on_single_images() -> None:
    """The innermost level is one pixel: batch norm there could not work with one image."""
    UNet(32, width=4).train()(torch.randn(1, 3, 32, 32)).sum().backward()


def test_unet_dropout_sits_in_three_levels_at_256() -> None:
    network = UNet(256, width=2)
    assert sum(isinstance(m, nn.Dropout) for m in network.modules()) == 3


def test_unet_key_layout_is_the_published_one() -> None:
    keys = list(UNet(256, width=2).state_dict())
    assert keys[0] == "model.model.0.weight"
    assert "model.model.1.model.3.model.3.model.3.model.3.model.3.model.3.model.1.weight" in keys
    assert keys[-2:] == ["model.model.3.weight", "model.model.3.bias"]


@pytest.mark.parametrize(
    ("size", "levels"),
    [((512, 256), 8), ((256, 512), 8), ((96, 64), 5), (96, 5), ((192, 320), 6), (64, 6)],
)
def test_unet_has_as_many_levels_as_both_sides_can_be_halved(
    size: int | tuple[int, int], levels: int
) -> None:
    network = UNet(size, 1, 4, width=1)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == levels
    width, height = (size, size) if isinstance(size, int) else size
    out = network.eval()(torch.randn(1, 1, height, width))
    assert out.shape == (1, 4, height, width)
    published = UNet(2**levels, 1, 4, width=1).state_dict()
    assert [(k, v.shape) for k, v in network.state_dict().items()] == [
        (k, v.shape) for k, v in published.items()
    ]


@pytest.mark.parametrize("size", [16, 48, 100, (64, 48), (0, 0)])
def test_unet_refuses_other_sizes(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="both sides must be multiples of 32"):
        UNet(size)


def seen_from(logits: Tensor, image: Tensor) -> tuple[int, int]:
    """Height and width of what one logit in the middle depends on."""
    assert logits.shape[:2] == (1, 1)
    image.grad = None
    middle = logits.shape[2] // 2
    logits[0, 0, middle, middle].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)) > 0
    return int(seen.any(1).sum()), int(seen.any(0).sum())


def without_norms(network: nn.Module) -> nn.Module:
    """Instance norm looks at the whole image: leave it out to see what convolutions see."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, nn.Identity())
    return network


def test_patchgan_sees_70_by_70_pixels() -> None:
    network = PatchGAN(6, width=4).eval()
    image = torch.randn(1, 6, 256, 256, requires_grad=True)
    logits = network(image)
    assert logits.shape == (1, 1, 30, 30)
    assert seen_from(logits, image) == (70, 70)


def test_scales_see_70_by_70_pixels_of_their_image() -> None:
    network = without_norms(MultiscaleDiscriminator(6, width=4))
    image = torch.randn(1, 6, 320, 320, requires_grad=True)
    fine, coarse = (features[-1] for features in network(image))
    assert seen_from(fine, image) == (70, 70)
    network.zero_grad()
    fine, coarse = (features[-1] for features in network(image))
    # 70 pixels of the half image, each the mean of 3 x 3 pixels two apart.
    assert seen_from(coarse, image) == (141, 141)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_patchgan_is_the_published_one(norm: str) -> None:
    x = torch.randn(2, 6, 64, 64)
    weights = Weights(norm, bias=norm == "instance")
    expected = patchgan(weights, x, ndf=4)
    network = PatchGAN(6, 4, norm).eval()
    network.load_state_dict(weights.tensors)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_multiscale_discriminator_is_the_published_one(scales: int) -> None:
    x = torch.randn(1, 7, 64, 64)
    weights = Weights("instance", bias=True)
    expected = multiscale(weights, x, ndf=4, num_d=scales)
    network = MultiscaleDiscriminator(7, 4, scales)
    network.load_state_dict(weights.tensors)
    answers = network(x)
    assert [len(features) for features in answers] == [5] * scales
    for ours, theirs in zip(answers, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        UNet(32, 3, 3, 4, norm="instance"),
        UNet((96, 64), 3, 3, 4, norm="none"),
        ResNetGenerator(3, 3, 4, 2, 2, "affine_instance"),
        ResNetGenerator(3, 3, 4, 2, 2),
        ResNetGenerator(3, 3, 4, 4, 1, "instance", dropout=0.5),
        LocalEnhancer(3, 3, 4, 2, 1, 1, 1),
        LocalEnhancer(3, 3, 2, 1, 1, 2, 1),
    ],
)
def test_smallest_image_and_stride(network: UNet | ResNetGenerator | LocalEnhancer) -> None:
    for side in (network.smallest, network.smallest + network.stride):
        x = torch.randn(1, 3, side, side)
        assert network(x).shape == (1, 3, side, side)
    again = type(network)(**network.arguments)
    assert again.state_dict().keys() == network.state_dict().keys()
    with pytest.raises((RuntimeError, ValueError)):
        network(torch.randn(1, 3, network.smallest // 2, network.smallest // 2))


def test_unknown_norm() -> None:
    with pytest.raises(
        ValueError, match="norm=layer: must be batch, instance, affine_instance, group or none"
    ):
        norm_layer("layer", 4)
