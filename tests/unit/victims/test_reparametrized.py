"""Norms of weights are folded into what PyTorch's modules compute in evaluation mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mia_lab.errors import UserError
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from mia_lab.victims.pretrained import Pretrained
from mia_lab.victims.reparametrized import fold, split


def normed(network: nn.Module, norm: Callable[[nn.Module], nn.Module], every: int = 1) -> nn.Module:
    """The network with a norm on its convolutions, after some batches in training mode."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the old form of weight norm
        for layer in convolutions[::every]:
            norm(layer)
    drawn = torch.Generator().manual_seed(2)
    for tensor in network.state_dict().values():
        if tensor.ndim == 4:  # so that no norm is 1 where the training has not moved it
            tensor.mul_(1 + torch.rand(tensor.shape, generator=drawn))
    for _ in range(3):
        network.train()(torch.randn(2, 3, 32, 32, generator=drawn))
    return network.eval()


NORMS = {
    "old spectral norm": nn.utils.spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": nn.utils.weight_norm,
    "weight norm": parametrizations.weight_norm,
}


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(
    "build",
    [
        lambda: UNet(32, width=2, dropout=0.0),  # its middle convolutions keep the channels
        lambda: ResNetGenerator(width=4, n_blocks=2, norm="instance"),
    ],
    ids=["unet", "resnet"],
)
@pytest.mark.parametrize("norm", NORMS)
def test_a_generator_answers_as_before(
    tmp_path: Path, norm: str, build: Callable[[], nn.Module], every: int
) -> None:
    network = normed(build(), NORMS[norm], every)
    path = tmp_path / "latest_net_G.pth"
    torch.save({f"netG.{k}": v for k, v in network.state_dict().items()}, path)
    victim = Pretrained(str(path), 32, "cpu", format="pix2pix")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = (network(2 * x - 1) + 1) / 2
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)
    assert victim.reading.endswith(f"{norm.removeprefix('old ')} folded")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("norm", NORMS)
def test_weights_are_those_of_the_module(norm: str, axis: int) -> None:
    """A square kernel does not tell its axes."""
    layer = nn.ConvTranspose2d(4, 4, 3) if axis else nn.Conv2d(4, 4, 3)
    network = nn.Sequential(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        NORMS[norm](layer)
    network(torch.randn(1, 4, 8, 8))
    network.eval()(torch.randn(1, 4, 8, 8))
    plain = fold(*split(network.state_dict()), network)
    assert plain.keys() == {"0.weight", "0.bias"}
    torch.testing.assert_close(plain["0.weight"], layer.weight, rtol=1e-6, atol=1e-7)


def test_weight_norm_over_all_axes() -> None:
    network = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 3, 3), dim=None))
    plain = fold(*split(network.state_dict()), network)
    torch.testing.assert_close(plain["0.weight"], network[0].weight)


STATE = UNet(32, width=2).state_dict()
FIRST = "model.model.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_orig": torch.ones(2, 3, 4, 4)}, r"weight_orig is part of a weight that"),
        (
            {"weight_orig": torch.ones(2, 3, 4, 4), "weight_mask": torch.ones(2, 3, 4, 4)},
            r"weight_orig is part of a weight that is neither .*remove_parametrizations",
        ),
        (
            {"parametrizations.weight.original": torch.ones(2, 3, 4, 4)},
            r"original is part of a weight that",
        ),
        (
            {
                "weight_orig": torch.ones(2, 3, 4, 4),
                "weight_u": torch.ones(2),
                "weight_v": torch.ones(7),
            },
            r"the tensors of the spectral norm of model\.model\.0 do not fit together",
        ),
        (
            {
                "weight_orig": torch.ones(2, 3, 4, 4),
                "weight_u": torch.ones(2),
                "weight_v": torch.zeros(48),
            },
            r"the tensor model\.model\.0\.weight is not finite",
        ),
        (
            {"weight_v": torch.ones(2, 3, 4, 4), "weight_g": torch.ones(5)},
            r"the tensors of the weight norm of model\.model\.0 do not fit together",
        ),
    ],
)
def test_weights_that_cannot_be_computed(
    tmp_path: Path, change: dict[str, torch.Tensor], message: str
) -> None:
    state = {k: v for k, v in STATE.items() if k != f"{FIRST}.weight"}
    path = tmp_path / "a.pth"
    torch.save({**state, **{f"{FIRST}.{k}": v for k, v in change.items()}}, path)
    with pytest.raises(UserError, match=message):
        Pretrained(str(path), 32, "cpu", format="pix2pix")
