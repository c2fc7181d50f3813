"""Files of weights as black boxes: they answer what the published networks answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.victims.files import export
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from mia_lab.victims.pretrained import Pretrained
from published import State, Weights, local_enhancer, resnet, unet

Network = Callable[[Weights, Tensor], Tensor]


def unet_128(w: Weights, x: Tensor) -> Tensor:
    return unet(w, x, depth=7, ngf=2)


def unet_256(w: Weights, x: Tensor) -> Tensor:
    return unet(w, x, depth=8, ngf=2)


def resnet_6(w: Weights, x: Tensor) -> Tensor:
    return resnet(w, x, ngf=4, n_down=2, n_blocks=6)


def resnet_9_dropout(w: Weights, x: Tensor) -> Tensor:
    return resnet(w, x, ngf=4, n_down=2, n_blocks=9, dropout=True)


def global_generator(w: Weights, x: Tensor) -> Tensor:
    return resnet(w, x, ngf=2, n_down=4, n_blocks=9)


def one_enhancer(w: Weights, x: Tensor) -> Tensor:
    return local_enhancer(w, x, ngf=2, n_down=3, n_blocks=4, n_local=1, n_local_blocks=3)


def two_enhancers(w: Weights, x: Tensor) -> Tensor:
    return local_enhancer(w, x, ngf=2, n_down=2, n_blocks=2, n_local=2, n_local_blocks=1)


def as_saved(state: State) -> State:
    return state


def parallel(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def old_statistics(state: State) -> State:
    """Instance norm as old versions saved it: statistics that nothing uses."""
    norms = {k.rpartition(".")[0].rpartition(".") for k in state}
    places = {f"{parent}.{int(n) + 1}" for parent, _, n in norms} - {
        k.rpartition(".")[0] for k in state
    }
    added: State = {}
    for place in places:
        added[f"{place}.running_mean"] = torch.full((3,), 5.0)
        added[f"{place}.running_var"] = torch.full((3,), 0.1)
        added[f"{place}.num_batches_tracked"] = torch.tensor(3)
    return {**state, **added}


def without_counter(state: State) -> State:
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def labels(size: int, classes: int) -> Tensor:
    picked = torch.randint(classes, (2, size, size), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.one_hot(picked, classes).permute(0, 3, 1, 2).float()


def pictures(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


GENERATORS = {
    "unet_128": (128, lambda w, x, out, _: unet(w, x, 7, 4, out)),
    "unet_256": (256, lambda w, x, out, _: unet(w, x, 8, 4, out)),
    "resnet_6blocks": (32, lambda w, x, out, dropout: resnet(w, x, 4, 2, 6, dropout, out)),
    "resnet_9blocks": (32, lambda w, x, out, dropout: resnet(w, x, 4, 2, 9, dropout, out)),
}
"""``--netG`` of pix2pix's code: the side of an image, and the network."""


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("output_nc", [1, 3, 4])
@pytest.mark.parametrize("input_nc", [1, 3, 4])
@pytest.mark.parametrize("norm", ["batch", "instance", "none", "affine"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_all_generators_of_pix2pix(
    tmp_path: Path, generator: str, norm: str, input_nc: int, output_nc: int, dropout: bool
) -> None:
    side, network = GENERATORS[generator]
    weights = Weights(norm, bias=norm in ("instance", "affine"))
    x = torch.rand(1, input_nc, side, side, generator=torch.Generator().manual_seed(1))
    expected = (network(weights, 2 * x - 1, output_nc, dropout) + 1) / 2
    path = save(weights.tensors, tmp_path / "latest_net_G.pth")
    dropped = 0.5 if dropout else 0.0
    victim = Pretrained(str(path), side, "cpu", format="pix2pix", dropout=dropped)
    assert (victim.in_channels, victim.out_channels) == (input_nc, output_nc)
    assert expected.std() > 0.01
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)
    # All residual blocks drop, and of a U-Net the middle levels of equal width.
    layers = {"unet_128": 2, "unet_256": 3, "resnet_6blocks": 6, "resnet_9blocks": 9}[generator]
    found = [m.p for m in victim.module.modules() if isinstance(m, nn.Dropout)]
    assert found == ([0.5] * layers if dropout else [])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("network", "norm", "size", "change"),
    [
        (unet_128, "batch", 128, as_saved),
        (unet_128, "instance", 128, old_statistics),
        (unet_256, "batch", 256, parallel),
        (unet_256, "instance", 256, as_saved),
        (resnet_6, "batch", 64, parallel),
        (resnet_6, "instance", 48, old_statistics),
        (resnet_9_dropout, "batch", 64, without_counter),
        (resnet_9_dropout, "instance", 32, as_saved),
    ],
)
def test_pix2pix_files_answer_like_the_published_network(
    tmp_path: Path, network: Network, norm: str, size: int, change: Callable[[State], State],
    suffix: str,
) -> None:  # fmt: skip
    weights, x = Weights(norm, bias=norm == "instance"), pictures(size)
    expected = (network(weights, 2 * x - 1) + 1) / 2
    path = save(change(weights.tensors), tmp_path / f"latest_net_G{suffix}")
    victim = Pretrained(str(path), size, "cpu", format="pix2pix")
    assert victim.in_channels == 3
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(victim.module(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoding", ["one_hot", "rgb"])
@pytest.mark.parametrize("change", [as_saved, parallel, old_statistics])
@pytest.mark.parametrize("network", [global_generator, one_enhancer, two_enhancers])
def test_pix2pixhd_files_answer_like_the_published_network(
    tmp_path: Path, network: Network, change: Callable[[State], State], encoding: str
) -> None:
    weights = Weights("instance", bias=True)
    x = labels(64, 6) if encoding == "one_hot" else pictures(64)
    expected = (network(weights, x if encoding == "one_hot" else 2 * x - 1) + 1) / 2
    path = save(change(weights.tensors), tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), 64, "cpu", format="pix2pixhd", input_encoding=encoding)
    assert victim.in_channels == x.shape[1]
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)


def test_unet_256_at_its_published_size(tmp_path: Path) -> None:
    weights, x = Weights("batch", bias=False), pictures(256)[:1]
    expected = (unet(weights, 2 * x - 1, depth=8, ngf=64) + 1) / 2
    assert sum(v.numel() for k, v in weights.tensors.items() if "running" not in k) == (
        54_413_955 + 13  # the counters of the norms
    )
    path = save(weights.tensors, tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), 256, "cpu", format="pix2pix")
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)


def save(state: State, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("network", [UNet(64, width=4), ResNetGenerator(width=4, dropout=0.5)])
def test_train_mode_drops_and_learns_nothing(
    tmp_path: Path, network: UNet | ResNetGenerator
) -> None:
    path = save(network.state_dict(), tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), 64, "cpu", "train", format="pix2pix")
    before = {k: v.clone() for k, v in victim.module.state_dict().items() if "running" in k}
    x = pictures(64)[:1]
    assert not torch.equal(victim.translate(x), victim.translate(x))
    assert before
    assert all(torch.equal(victim.module.state_dict()[k], v) for k, v in before.items())


def test_dropout_of_a_unet_is_the_argument(tmp_path: Path) -> None:
    path = save(UNet(64, width=4).state_dict(), tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), 64, "cpu", "train", format="pix2pix", dropout=0.0)
    x = pictures(64)[:1]
    torch.testing.assert_close(victim.translate(x), victim.translate(x), rtol=0, atol=0)


def test_our_lightning_checkpoint(tmp_path: Path) -> None:
    network = ResNetGenerator(5, 3, 4, 2, 1, "instance").eval()
    recipe = {
        "architecture": "ResNetGenerator",
        "arguments": network.arguments,
        "input_encoding": "one_hot",
    }
    state = {f"generator.{k}": v for k, v in network.state_dict().items()}
    state["discriminator.model.0.weight"] = torch.zeros(1)
    path = tmp_path / "victim.ckpt"
    torch.save({"epoch": 3, "generator": recipe, "state_dict": state}, path)
    victim = Pretrained(str(path), 32, "cpu", input_encoding="one_hot")
    x = labels(32, 5)
    torch.testing.assert_close(victim.translate(x), (network(x) + 1) / 2, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"trained on one_hot inputs; set data\.input_encoding=one"):
        Pretrained(str(path), 32)
    with pytest.raises(UserError, match=r"written by mia_lab; set victim\.format=mia_lab"):
        Pretrained(str(path), 32, format="pix2pix")
    with pytest.raises(UserError, match=r"multiples of 4, at least 8, .*set data\.image_size=32"):
        Pretrained(str(path), 33, input_encoding="one_hot")


HD = ResNetGenerator(3, 3, 2, 4, 1, "instance").state_dict()
PLAIN = ResNetGenerator(3, 3, 4, 2, 1).state_dict()
U = UNet(64, width=2).state_dict()


@pytest.mark.parametrize(
    ("state", "format", "size", "message"),
    [
        (U, "pix2pixhd", 64, r"is a UNet of pix2pix; set victim\.format=pix2pix$"),
        (HD, "pix2pix", 64, r"of pix2pixhd; set victim\.format=pix2pixhd"),
        (PLAIN, "mia_lab", 64, r"not written by mia_lab; set victim\.format=pix2pix$"),
        (U, "pix2pix", 96, r"multiples of 64, at least 64, but data\.image_size=96"),
        (U, "pix2pix", 32, r"set data\.image_size=64"),
        (HD, "pix2pixhd", 16, r"multiples of 16, at least 32, .*set data\.image_size=32"),
        (HD, "pix2pixhd", [64, 41], r"data\.image_size=\[64,41\]; set data\.image_size=\[64,48\]"),
        ({**PLAIN, "extra": torch.zeros(1)}, "pix2pix", 64, "holds the tensor extra, which"),
        ({k: v for k, v in PLAIN.items() if k != "model.8.bias"}, "pix2pix", 64, r"model\.8\.bias"),
        (
            {**PLAIN, "model.5.bias": torch.zeros(3)},
            "pix2pix",
            64,
            r"model\.5\.bias has shape \(3,",
        ),
        ({**PLAIN, "model.5.bias": torch.full((8,), torch.inf)}, "pix2pix", 64, "is not finite"),
        ({**U, "model.model.3.weight": torch.zeros(2)}, "pix2pix", 64, "holds the tensor"),
    ],
)
def test_files_that_do_not_fit(
    tmp_path: Path, state: State, format: str, size: int | list[int], message: str
) -> None:
    path = save(state, tmp_path / "latest_net_G.pth")
    with pytest.raises(UserError, match=message) as error:
        Pretrained(str(path), size, format=format)
    assert "\n" not in str(error.value)
    assert "victim." in str(error.value)


SETTINGS = {"image_size": 64, "width": 2}
RESNET = {"width": 4, "n_blocks": 1}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (("UNet", SETTINGS | {"image_size": 2**1000}), "image_size is above 16384"),
        (("UNet", SETTINGS | {"image_size": 8192}), "U-Net|tensor"),
        (("UNet", SETTINGS | {"image_size": float("inf")}), "is not a generator exported"),
        (("UNet", SETTINGS | {"image_size": [64, 2**1000]}), "image_size is above 16384"),
        (("UNet", SETTINGS | {"image_size": [64, 64, 64]}), "is not a generator exported"),
        (("UNet", SETTINGS | {"image_size": [64, "64"]}), "is not a generator exported"),
        (("UNet", SETTINGS | {"width": 10**9}), "width is above 16384"),
        (("UNet", SETTINGS | {"width": 10**4}), "has shape"),
        (("UNet", SETTINGS | {"width": -1}), "is not a generator exported by mia_lab"),
        (("UNet", SETTINGS | {"width": "2"}), "is not a generator exported by mia_lab"),
        (("UNet", SETTINGS | {"norm": "a\nb" * 10**5}), "norm=a b"),
        (("UNet", SETTINGS | {"x" * 10**6: 1}), "unexpected keyword argument"),
        (("ResNetGenerator", RESNET | {"n_blocks": 10**9}), "n_blocks is above 16384"),
        (("ResNetGenerator", RESNET | {"n_blocks": 16000}), "need many more than its 58 tensors"),
        (("ResNetGenerator", RESNET | {"n_downsamplings": 10**9}), "n_downsamplings is above"),
        (("ResNetGenerator", RESNET | {"n_downsamplings": 16000}), "is not a generator exported"),
        (("ResNetGenerator", RESNET | {"dropout": 7}), "dropout probability"),
        (("LocalEnhancer", {"n_enhancers": 9999, "n_local_blocks": 9999}), "is not a generator"),
        (("LocalEnhancer", {"n_local_blocks": 9999}), "need many more than its 58 tensors"),
        (("Linear", {}), "is not a generator exported by mia_lab"),
        ((["UNet"], {}), "is not a generator exported by mia_lab"),
        (("UNet", [1]), "is not a generator exported by mia_lab"),
        (("UNet", None), "is not a generator exported by mia_lab"),
    ],
    ids=lambda found: str(found)[:60],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_recipes_of_networks_that_the_tensors_do_not_justify(
    tmp_path: Path, recipe: tuple[object, object], message: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    made = {"architecture": recipe[0], "arguments": recipe[1]}
    if suffix == ".safetensors":
        save_file(U, path, {"generator": json.dumps(made)})
    else:
        state = {f"generator.{k}": v for k, v in U.items()}
        torch.save({"state_dict": state, "generator": made}, path)
    assert_refused(path, message)


@pytest.mark.parametrize("metadata", ["[]", "3", "null", '"text"', '{"arguments": {}}'])
def test_metadata_that_is_no_recipe(tmp_path: Path, metadata: str) -> None:
    save_file(U, tmp_path / "a.safetensors", {"generator": metadata})
    assert_refused(tmp_path / "a.safetensors", "is not a generator exported|was not written by")


def test_an_unknown_encoding_is_not_repeated(tmp_path: Path) -> None:
    made = {"architecture": "UNet", "arguments": SETTINGS, "input_encoding": "a\nb" * 10**6}
    save_file(U, tmp_path / "a.safetensors", {"generator": json.dumps(made)})
    assert_refused(tmp_path / "a.safetensors", "is not a generator exported")


def assert_refused(path: Path, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UserError, match=message) as error:
        Pretrained(str(path), 64)
    assert time.perf_counter() - start < 5
    assert str(error.value).startswith(f"victim.checkpoint={path}: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500 + len(str(path))


def many(n: int) -> State:
    """Tensors of a network with many blocks in many branches, each of which the file holds."""
    state = {f"model.{i}.conv_block.1.weight": torch.zeros(1) for i in range(n)}
    state |= {f"model{i}_1.0.bias": torch.zeros(1) for i in range(1, n)}
    state |= {f"model{n - 1}_2.{i}.conv_block.1.weight": torch.zeros(1) for i in range(n)}
    square = {f"model.{i}.weight": torch.zeros(1, 1, 1, 1) for i in (1, 4, n)}
    return state | square | {"model.1.bias": torch.zeros(1)}


def test_tensors_of_a_network_that_they_do_not_fill(tmp_path: Path) -> None:
    """The blocks of each branch times the branches: 90,000."""
    path = save(many(300), tmp_path / "latest_net_G.safetensors")
    start = time.perf_counter()
    with pytest.raises(UserError, match="need many more than its"):
        Pretrained(str(path), 64, format="pix2pixhd")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("norm", ["instance", "affine", "batch"])
@pytest.mark.parametrize("network", [global_generator, one_enhancer, two_enhancers])
def test_pix2pixhd_on_pictures_and_boundaries_of_instances(
    tmp_path: Path, network: Network, norm: str
) -> None:
    """Its code normalises the picture alone: boundaries are 0 or 1."""
    weights = Weights(norm, bias=True)
    x, edges = pictures(64), labels(64, 2)[:, :1]
    expected = (network(weights, torch.cat([2 * x - 1, edges], 1)) + 1) / 2
    path = save(weights.tensors, tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), 64, "cpu", format="pix2pixhd")
    assert (victim.in_channels, victim.out_channels) == (4, 3)
    assert victim.reading.endswith("taken for boundaries of instances in {0, 1}")
    given = torch.cat([x, edges], 1)
    torch.testing.assert_close(victim.translate(given), expected, rtol=0, atol=2e-6)
    if norm != "affine":
        return
    again = tmp_path / "victim.safetensors"
    export(victim.module.network, again, victim.module.input_encoding)
    torch.testing.assert_close(Pretrained(str(again), 64, "cpu").translate(given), expected)


@pytest.mark.parametrize(
    ("network", "size", "out"),
    [(unet_128, (256, 384), 3), (unet_256, (512, 256), 3), (resnet_6, (40, 72), 3)],
)
def test_published_generators_take_rectangles(
    tmp_path: Path, network: Network, size: tuple[int, int], out: int
) -> None:
    weights, (width, height) = Weights("batch", bias=False), size
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    expected = (network(weights, 2 * x - 1) + 1) / 2
    path = save(weights.tensors, tmp_path / "latest_net_G.pth")
    victim = Pretrained(str(path), list(size), "cpu", format="pix2pix")
    torch.testing.assert_close(victim.translate(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("trained_at", "other"), [([64, 32], [32, 64]), ([64, 32], 32), (32, [64, 32]), (96, 32)]
)
def test_our_files_are_of_one_size(
    tmp_path: Path, trained_at: int | list[int], other: int | list[int]
) -> None:
    network = UNet(trained_at, 1, 4, width=2).eval()
    path = tmp_path / "victim.safetensors"
    export(network, path)
    victim = Pretrained(str(path), trained_at, "cpu")
    width, height = (trained_at,) * 2 if isinstance(trained_at, int) else trained_at
    x = torch.rand(1, 1, height, width)
    assert torch.equal(victim.translate(x), ((network(2 * x - 1) + 1) / 2).detach())
    assert victim.reading == "UNet with batch norm, written by mia_lab"
    written = str(trained_at).replace(" ", "")
    with pytest.raises(UserError, match=re.escape(f"trained at data.image_size={written}, not")):
        Pretrained(str(path), other, "cpu")


def test_what_was_read_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {f"netG_{name}.module.{k}": v for name in "AB" for k, v in U.items()}
    path = save({"state_dict": state}, tmp_path / "a.ckpt")
    with caplog.at_level("INFO"):
        victim = Pretrained(str(path), 64, "cpu", format="pix2pix", key="netG_B")
    assert victim.reading == (
        "UNet with batch norm, entry state_dict, prefix netG_B.module. removed"
    )
    assert caplog.messages == [f"victim.checkpoint={path}: {victim.reading}"]


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    path = save(PLAIN, tmp_path / "latest_net_G.pth")
    before = torch.random.get_rng_state()
    Pretrained(str(path), 64, format="pix2pix")
    assert torch.equal(torch.random.get_rng_state(), before)
