"""Damaged weights and arrays give one line with the file's name, or what the file still holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fuzzing import fuzz
from mia_lab.errors import UserError
from mia_lab.store import load_table
from mia_lab.victims.export import to_onnx
from mia_lab.victims.external import Onnx
from mia_lab.victims.files import export, recipe
from mia_lab.victims.layouts import plain
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet
from mia_lab.victims.pretrained import Pretrained

SIZE = 32
X = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Array:
    a: np.ndarray


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    unet, resnet = UNet(SIZE, width=1), ResNetGenerator(width=2, n_blocks=1, norm="instance").eval()
    export(unet, folder / "a.safetensors")
    state = {f"generator.{k}": v for k, v in unet.state_dict().items()}
    torch.save({"state_dict": state, "generator": recipe(unet, "rgb")}, folder / "a.ckpt")
    torch.save(resnet.state_dict(), folder / "a.pth")
    torch.save(resnet.state_dict(), folder / "a.pt", _use_new_zipfile_serialization=False)
    to_onnx(UnitRange(resnet, "rgb"), X, folder / "a.onnx")
    np.save(folder / "a.npy", X.numpy()[:, 0])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_damaged_files(
    tmp_path: Path, whole: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    fuzz(whole, 300, lambda name, content: check(tmp_path / name, content), swap=0.2)
    assert capfd.readouterr() == ("", "")  # the readers print nothing besides


@pytest.mark.slow
def test_many_damaged_files(
    tmp_path: Path, whole: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    fuzz(whole, 5000, lambda name, content: check(tmp_path / name, content), swap=0.2)
    assert capfd.readouterr() == ("", "")


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if path.suffix == ".npy":
        check_array(path)
    elif path.suffix == ".onnx":
        check_onnx(path)
    else:
        for format in ("mia_lab", "pix2pix"):
            check_weights(path, format)


def check_array(path: Path) -> None:
    try:
        found = load_table(path.parent, Array).a
    except UserError as error:
        is_clear(str(error), f"{path}: ")
        return
    np.testing.assert_array_equal(found, np.load(path, allow_pickle=False))


def check_onnx(path: Path) -> None:
    try:
        found = Onnx(str(path), "cpu", threads=1).translate(X)
    except UserError as error:
        is_clear(str(error), f"victim.checkpoint={path}: ")
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    (wanted,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    np.testing.assert_array_equal(found, wanted)


def check_weights(path: Path, format: Any) -> None:
    try:
        victim = Pretrained(str(path), SIZE, "cpu", format=format)
    except UserError as error:
        is_clear(str(error), f"victim.checkpoint={path}: ")
        return
    found = victim.module.network.state_dict()  # type: ignore[union-attr]
    wanted = reference(path)
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor.to(found[key].dtype), rtol=0, atol=0)


def reference(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        return plain(load_file(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = torch.load(path, "cpu", weights_only=True)
    if "generator" not in content:
        return plain(content)
    prefix = "generator."
    own = {k: v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    return {k.removeprefix(prefix): v for k, v in own.items()}


def is_clear(told: str, start: str) -> None:
    assert told.startswith(start)
    assert told.isprintable()
    assert len(told) < 1000 + len(start)
