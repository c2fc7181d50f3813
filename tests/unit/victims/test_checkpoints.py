"""Reading files of weights: what is told from the tensors, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from mia_lab.errors import UserError
from mia_lab.victims.checkpoints import plain, read, recognise
from mia_lab.victims.networks.local_enhancer import LocalEnhancer
from mia_lab.victims.networks.patchgan import MultiscaleDiscriminator, PatchGAN
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

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
        (ResNetGenerator(n_blocks=0, width=2), "has no residual blocks"),
        (nn.Linear(2, 2), "is not a generator of mia_lab, pix2pix or pix2pixHD"),
        (ResNetGenerator(width=2, n_blocks=1, norm="instance", bias=False), "networks without"),
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
    assert plain({f"module.{k}": v for k, v in state.items()}).keys() == state.keys()


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
