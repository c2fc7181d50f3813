"""What is told of networks from the names and shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from torch import nn

from mia_lab.victims.layouts import plain, prefixes, recognise, unknown
from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.patchgan import MultiscaleDiscriminator, PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from published import State

NETWORKS = [
    (UNet(256, 3, 3, 2, 0.5), ("pix2pix",)),
    (UNet(32, 1, 3, 2, 0.0, "instance"), ("pix2pix",)),
    (ResNetGenerator(3, 3, 4, 2, 6), ("pix2pix",)),
    (ResNetGenerator(3, 3, 4, 2, 9, dropout=0.5), ("pix2pix",)),
    (ResNetGenerator(3, 3, 4, 2, 9, "instance", dropout=0.5), ("pix2pix",)),
    (ResNetGenerator(3, 3, 4, 2, 9, "instance"), ("pix2pix", "pix2pixhd")),
    (ResNetGenerator(36, 3, 2, 4, 9, "instance"), ("pix2pixhd",)),
    (ResNetGenerator(36, 3, 2, 3, 2, "batch", bias=True), ("pix2pixhd",)),
    (LocalEnhancer(36, 3, 2, 4, 5, 1, 3), ("pix2pixhd",)),
    (LocalEnhancer(5, 3, 2, 3, 1, 2, 2, "batch"), ("pix2pixhd",)),
    (UNet(32, 4, 1, 2, 0.0, "none"), ("pix2pix",)),
    (UNet(32, 1, 1, 2, 0.0, "affine_instance"), ("pix2pix",)),
    (ResNetGenerator(1, 4, 4, 2, 6, "none"), ("pix2pix",)),
    (ResNetGenerator(4, 3, 4, 2, 6, "affine_instance"), ("pix2pix", "pix2pixhd")),
    (LocalEnhancer(5, 3, 2, 3, 1, 2, 2, "affine_instance"), ("pix2pixhd",)),
]


@pytest.mark.parametrize(("network", "formats"), NETWORKS)
def test_architecture_is_read_off_the_tensors(
    network: UNet | ResNetGenerator | LocalEnhancer, formats: tuple[str, ...]
) -> None:
    dropout = network.arguments.get("dropout", 0.0)
    told = recognise(network.state_dict(), dropout)
    assert told == (type(network), network.arguments, formats)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (PatchGAN(6, 4), "is a discriminator of pix2pix; use the generator"),
        (PatchGAN(6, 4, "instance"), "is a discriminator of pix2pix; use the generator"),
        (MultiscaleDiscriminator(6, 4), "is a discriminator of pix2pixHD; use the generator"),
        (
            ResNetGenerator(n_blocks=0, width=2),
            "is a network without residual blocks; use the generator",
        ),
        (nn.Linear(2, 2), "is not a generator of mia_lab, pix2pix or pix2pixHD"),
        (
            ResNetGenerator(width=2, n_blocks=1, norm="group"),
            "group norm, or batch norm without stat",
        ),
        (
            UNet(32, width=8, norm="group"),
            "group norm, or batch norm without statistics.*victim=custom",
        ),
        (ResNetGenerator(width=2, n_blocks=1, n_downsamplings=0), "no downsampling"),
    ],
)
def test_what_is_no_published_generator(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recognise(network.state_dict(), 0.5)


def test_no_tensors_at_all() -> None:
    with pytest.raises(ValueError, match="is not a generator"):
        recognise(plain({}), 0.5)


def test_plain_keeps_the_statistics_of_batch_norm() -> None:
    state = ResNetGenerator(width=2, n_blocks=1).state_dict()
    assert plain(state).keys() == state.keys()


def upsampled(state: State, first: str, later: str) -> State:
    """A decoder that enlarges by interpolation, pads, and convolves: two layers further on."""
    moved = {k.replace(first, later): v for k, v in state.items()}
    assert moved.keys() != state.keys()
    return moved


@pytest.mark.parametrize(
    ("state", "layer"),
    [
        (
            upsampled(ResNetGenerator(width=2, n_blocks=1).state_dict(), "model.11.", "model.13."),
            "model.11",
        ),
        (
            upsampled(UNet(32, width=2).state_dict(), "model.model.3.w", "model.model.5.w"),
            "model.model.3",
        ),
    ],
)
def test_decoders_that_interpolate(state: State, layer: str) -> None:
    message = rf"upsamples in another way than by a transposed convolution {layer}, .*victim=onnx"
    with pytest.raises(ValueError, match=message):
        recognise(state, 0.5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fc.weight", "head_0.norm_0.mlp_shared.0.weight"], r"is SPADE \(GauGAN\)"),
        (["module.up_0.conv_s.weight_orig", "fc.weight"], r"is SPADE \(GauGAN\)"),
        (["discriminator_0.model0.0.weight", "x"], "is a discriminator of pix2pixHD; use the gen"),
        (["synthesis.b4.conv1.weight", "mapping.fc0.weight"], "is StyleGAN"),
        (["style.1.weight", "convs.0.conv.modulation.weight"], "is StyleGAN"),
        (["time_embed.0.weight", "input_blocks.0.0.weight"], "is a diffusion U-Net"),
        (["unet.time_embedding.linear_1.weight", "conv_in.weight"], "is a diffusion U-Net"),
        (["model.1.weight", "model.7.filt", "model.8.weight"], "is CUT, with anti-aliased"),
        (["mlp_0.0.weight", "mlp_0.0.bias"], "is the feature network of CUT; use the generator"),
        (["netD_A.model.0.weight", "netD_A.model.2.weight"], "is a discriminator of pix2pix;"),
        (["inc.double_conv.0.weight", "outc.conv.weight"], "is a segmentation U-Net"),
        (["encoder.conv1.weight", "segmentation_head.0.weight"], "is a segmentation U-Net"),
        (["layer1.0.conv1.weight", "fc.weight"], "is not a generator of mia_lab, pix2pix or"),
    ],
)
def test_other_families_are_named(names: list[str], message: str) -> None:
    told = unknown(names)
    assert re.match(message, told)
    assert "victim=onnx" in told or "use the generator" in told


NESTED = UNet(32, width=2).state_dict()
JUDGE = PatchGAN(6, 2).state_dict()
BLOCKS = ResNetGenerator(width=2, n_blocks=1).state_dict()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (NESTED, [""]),
        (BLOCKS, [""]),
        (LocalEnhancer(3, 3, 2, 3, 1, 2, 2).state_dict(), [""]),
        ([f"netG.{k}" for k in NESTED], ["netG."]),
        ([f"model.{k}" for k in NESTED], ["model."]),
        ([f"model.{k}" for k in BLOCKS], ["model."]),
        (
            [f"G.module.{k}" for k in BLOCKS] + [f"D.{k}" for k in JUDGE],
            ["G.module."],
        ),
        ([f"netG_{i}.{k}" for i in "AB" for k in BLOCKS], ["netG_A.", "netG_B."]),
        ([f"model.{k}" for k in JUDGE], []),
        ([k.replace("weight", "weight_orig") for k in NESTED], [""]),
        ([k.replace(".weight", ".parametrizations.weight.original") for k in BLOCKS], [""]),
    ],
    ids=range(11),
)
def test_prefixes_of_generators(names: Iterable[str], wanted: list[str]) -> None:
    assert prefixes(names) == wanted
