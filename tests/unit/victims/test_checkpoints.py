"""Reading files of weights: what is told from the tensors, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mia_lab.backbones.state import check_state
from mia_lab.errors import UserError
from mia_lab.victims.checkpoints import read
from mia_lab.victims.files import export
from mia_lab.victims.networks.patchgan import MultiscaleDiscriminator, PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["zip", "legacy", "nested", "pickle", "old pickle"])
def test_a_file_never_runs_code(tmp_path: Path, how: str) -> None:
    path, mark = tmp_path / "latest_net_G.pth", tmp_path / "ran"
    payload = Payload(mark)
    state: dict[str, object] = {"model.1.weight": torch.zeros(2), "model.1.bias": payload}
    if how in ("zip", "legacy"):
        torch.save(state, path, _use_new_zipfile_serialization=how == "zip")
    elif how == "nested":
        torch.save({"generator": {"architecture": payload}, "state_dict": {}}, path)
    else:
        path.write_bytes(pickle.dumps(state if how == "pickle" else payload, protocol=2))
    with pytest.raises(UserError, match=r"victim\.checkpoint=.*(state_dict\(\)|state dict)") as e:
        read(path)
    assert "\n" not in str(e.value)
    assert not mark.exists()
    if how == "zip":  # the payload works
        torch.load(path, weights_only=False)
        assert mark.exists()


def test_whole_modules_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(UNet(32, width=2), path)
    message = (
        r"contains code besides tensors \(mia_lab\.victims\.networks\.unet\.UNet\).*state_dict"
    )
    with pytest.raises(UserError, match=message):
        read(path)


def torchscript() -> bytes:
    """What the reader knows a TorchScript file by."""
    file = io.BytesIO()
    torch.save({}, file)
    with zipfile.ZipFile(file, "a") as archive:
        prefix = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{prefix}/constants.pkl", b"")
    return file.getvalue()


def test_torchscript_has_a_victim_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(torchscript())
    with pytest.raises(UserError, match="is a TorchScript program; use victim=exported"):
        read(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"PK\x03\x04 cut short"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"victim\.checkpoint=.*{name}: cannot be read") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name in ("nowhere.pth", "nowhere.safetensors", "."):
        with pytest.raises(UserError, match=r"cannot be read \(.*(No such file|directory)"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "contains a Tensor, not a state dict"),
        ([1, 2], "contains a list, not a state dict"),
        ({"epoch": 3, "model": {}}, "contains a int at 'epoch', so it is not a state dict"),
    ],
)
def test_other_contents(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        read(path)


class Call:
    """What is unpickled as the result of a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.called


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch warns of what it may change
    QUANTISED = torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8)
    NESTED = torch.nested.nested_tensor([torch.ones(2)])
    COMPRESSED = torch.eye(3).to_sparse_csr()
TRILLION = 10**6, 10**6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({3: torch.zeros(1)}, "holds something of type int where a tensor's name should be"),
        ({(): torch.zeros(1)}, "holds something of type tuple where"),
        ({"a\nb": torch.zeros(1)}, "holds a b where"),
        ({"\x1b[1m": torch.zeros(1)}, r"holds \\x1b\[1m where"),
        ({"a" * 10**6: torch.zeros(1)}, "holds aaaaa"),
        ({"a": torch.eye(3).to_sparse()}, r"tensor a is sparse \(torch\.sparse_coo\)"),
        ({"a": COMPRESSED}, r"tensor a is sparse \(torch\.sparse_csr\)"),
        ({"a": QUANTISED}, r"tensor a is quantised \(torch\.qint8\)"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, r"tensor a is complex \(torch\.complex64"),
        ({"a": torch.zeros(3, device="meta")}, r"tensor a has no values \(device meta\)"),
        ({"a": torch.empty(3, dtype=torch.bits8)}, "tensor a has a type that cannot be converted"),
        ({"a": torch.zeros(1).expand(TRILLION)}, "tensor a has fewer values than its shape"),
        ({"a": Call(torch.Tensor, 10**9)}, "tensors have 4000000000 bytes, more than the file"),
        ({"a": Call(bytearray, 10**12)}, "cannot be read|contains a bytearray"),
        ({"a": Call(torch.Tensor, *TRILLION)}, r"cannot be read \(not a file of weights\)"),
        ({"a": NESTED}, "contains code besides tensors"),
    ],
)
@pytest.mark.parametrize("ours", [False, True])
def test_what_is_no_weight(
    tmp_path: Path, content: dict[object, object], message: str, ours: bool
) -> None:
    path = tmp_path / "a.ckpt"
    if ours:
        recipe = {"architecture": "UNet", "arguments": {}}
        named = {f"generator.{k}" if isinstance(k, str) else k: v for k, v in content.items()}
        torch.save({"state_dict": named, "generator": recipe}, path)
    else:
        torch.save(content, path)
    if (ours and "type int" in message) or "type tuple" in message:
        return  # other entries than the generator's are of no interest
    assert_refused(path, message)


def test_tied_weights_are_no_repetition(tmp_path: Path) -> None:
    tied = torch.rand(1000)
    torch.save({"a": tied, "b": tied, "c": tied.view(10, 100).T}, tmp_path / "a.pth")
    check_state(torch.load(tmp_path / "a.pth", weights_only=True), tmp_path / "a.pth")


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"victim.checkpoint={path}: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500 + len(str(path))


def test_an_archive_that_unpacks_to_more_than_it_has(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "stored.pth")
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    assert torch.load(path, weights_only=True)["a"].shape == (10**6,)  # PyTorch would read it
    assert_refused(path, r"unpacks to 400\d+ bytes, many more than it has; save it again")


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    """PyTorch would take them for weights."""
    path = tmp_path / "a.pth"
    torch.save({"a": torch.full((100,), 0.5)}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\0\0\0?" * 50, b"\0\0\1?" * 50))
    assert torch.load(path, weights_only=True)["a"][0] != 0.5
    assert_refused(
        path, r"is damaged \(\w+/data/0\), or was saved without checksums .*; copy or save it again"
    )


def safetensors(header: bytes, claimed: int | None = None) -> bytes:
    return (len(header) if claimed is None else claimed).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors(b"[" * 10**5), "cannot be read"),
        (safetensors(b"{}", 2**62), "cannot be read"),
        (safetensors(b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'), "cannot"),
        (safetensors(b'{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}') + bytes(8), "comp"),
        (safetensors(b'{"__metadata__":{"generator":"a tool"}}'), "its metadata 'generator' is no"),
        (
            safetensors(b'{"__metadata__":{"generator":"' + b"[" * 10**5 + b'"}}'),
            r"'generator' is no JSON of mia_lab \(maximum recursion depth",
        ),
        (
            safetensors(b'{"__metadata__":{"generator":"' + b"9" * 10**4 + b'"}}'),
            r"'generator' is no JSON of mia_lab \(Exceeds the limit",
        ),
    ],
    ids=["deep", "long header", "no data", "complex", "no JSON", "deep JSON", "long number"],
)
def test_hostile_safetensors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert_refused(path, message)


G = UNet(32, width=2).state_dict()
BLOCKS = ResNetGenerator(width=2, n_blocks=1).state_dict()
JUDGE = PatchGAN(6, 2).state_dict()
MOMENTS = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    ("content", "key", "reading"),
    [
        (G, None, []),
        (under("module.", G), None, ["prefix module. removed"]),
        (under("_orig_mod.", G), None, ["_orig_mod. removed from names"]),
        (
            under("module._orig_mod.", G),
            None,
            ["prefix module. removed", "_orig_mod. removed from names"],
        ),
        (
            {k.replace("model.", "model._orig_mod.", 1): v for k, v in G.items()},
            None,
            ["_orig_mod. removed from names"],
        ),
        (under("_fsdp_wrapped_module.", G), None, ["_fsdp_wrapped_module. removed from names"]),
        (under("netG.", G), None, ["prefix netG. removed"]),
        (under("G.module.", G), None, ["prefix G.module. removed"]),
        (under("generator.model.", G), None, ["prefix generator.model. removed"]),
        (under("model.", G), None, ["prefix model. removed"]),
        ({"g_ema": G, "step": 3}, None, ["entry g_ema"]),
        ({"params": under("net_g.", G)}, None, ["entry params", "prefix net_g. removed"]),
        (
            {"a": {"model": G, "optimizer": MOMENTS}, "step": torch.tensor(3)},
            None,
            ["entry a.model"],
        ),
        (
            {
                "epoch": 3,
                "optimizer_states": [MOMENTS],
                "state_dict": {**under("net_g.", G), **under("net_d.", JUDGE)},
                "hyper_parameters": {"lr": 1e-4},
            },
            None,
            ["entry state_dict", "prefix net_g. removed"],
        ),
        ({**under("module.", G), "n_averaged": torch.tensor(7)}, None, ["prefix module. removed"]),
        ({"g": BLOCKS, "g_ema": G, "d": JUDGE}, "g_ema", ["entry g_ema"]),
        ({"g": BLOCKS, "g_ema": under("module.", G)}, "g_ema", ["entry g_ema", "prefix module. r"]),
        (
            {"state_dict": {**under("netG_A.", G), **under("netG_B.", BLOCKS)}},
            "netG_A",
            ["entry state_dict", "prefix netG_A. removed"],
        ),
        (
            {"state_dict": {**under("netG_A.", G), **under("netG_B.", BLOCKS)}},
            "state_dict.netG_A",
            ["entry state_dict", "prefix netG_A. removed"],
        ),
        ({"g_ema": G}, "g_ema", ["entry g_ema"]),
    ],
    ids=range(20),
)
def test_a_generator_is_found(
    tmp_path: Path, content: dict[str, object], key: str | None, reading: list[str]
) -> None:
    torch.save(content, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth", key)
    assert found.recipe is None
    assert found.tensors.keys() == G.keys()
    assert all(torch.equal(found.tensors[k], v) for k, v in G.items())
    assert len(found.reading) == len(reading)
    assert all(a.startswith(b) for a, b in zip(found.reading, reading, strict=True))


def test_a_generator_among_others_in_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({**under("netG_A.", G), **under("netG_B.", BLOCKS)}, path)
    assert read(path, "netG_B").tensors.keys() == BLOCKS.keys()


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (
            {**under("netG_A.", BLOCKS), **under("netG_B.", BLOCKS)},
            None,
            r"holds 2 generators; choose one: victim\.key=netG_A, victim\.key=netG_B$",
        ),
        (
            {"g": G, "g_ema": G | {}},
            None,
            r"holds 2 generators; choose one: victim\.key=g, victim\.key=g_ema$",
        ),
        (
            {f"g{i}": G | {} for i in range(30)},
            None,
            r"holds 30 generators; choose one: .*victim\.key=g7$",
        ),
        ({"a": {"g": G, "h": BLOCKS}}, "a", r"holds 2 generators; choose one: victim\.key=a\.g, "),
        (
            {"g": G, "h": BLOCKS},
            "d",
            r"victim\.key=d names no generator in it; set victim\.key=g, victim\.key=h$",
        ),
        (G, "g_ema", r"victim\.key=g_ema names no generator in it; set victim\.key=''$"),
        ({"state_dict": under("net_d.", JUDGE)}, None, "is a discriminator of pix2pix; use the"),
        ({"epoch": 3, "d": MultiscaleDiscriminator(6, 4).state_dict()}, None, "of pix2pixHD; use"),
        ({"ema": {"time_embed.0.weight": torch.zeros(2)}}, None, "is a diffusion U-Net; .*custom"),
        ({"g_ema": {**G, "model.model.3.bias": 3}}, None, r"int at 'model\.model\.3\.bias'"),
        (
            {"g_ema": {**G, "model.model.3.bias": torch.zeros(3, dtype=torch.complex64)}},
            None,
            "is complex",
        ),
        ({**G, "epoch": 3}, None, "contains a int at 'epoch', so it is not a state dict"),
        ({**G, 3: torch.zeros(1)}, None, "something of type int where a tensor's name should be"),
        ({"a" * 300 + ".g": G, "h": G | {}}, None, r"choose one: victim\.key=a{200}\.\.\., "),
    ],
    ids=range(14),
)
def test_what_is_not_read(
    tmp_path: Path, content: dict[object, object], key: str | None, message: str
) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        read(path, key)
    assert str(error.value).startswith(f"victim.checkpoint={path}: ")


def test_names_with_and_without_a_wrapper_are_two_generators(tmp_path: Path) -> None:
    torch.save({**under("netG.", G), **under("netG._orig_mod.", G)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds 2 generators"):
        read(tmp_path / "a.pth")


def test_dicts_that_hold_themselves(tmp_path: Path) -> None:
    content: dict[str, object] = {"g": G}
    content |= {f"again{i}": content for i in range(100)}
    torch.save(content, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth").tensors.keys() == G.keys()


def test_ours_has_one_generator(tmp_path: Path) -> None:
    export(UNet(32, width=2), tmp_path / "victim.safetensors")
    with pytest.raises(UserError, match=r"holds one generator; leave victim\.key out"):
        read(tmp_path / "victim.safetensors", "netG")
