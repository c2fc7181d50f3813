"""Damaged weights and arrays give one line with the file's name, or what the file still holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
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
    for kind, layout in (("FLOAT16", "nhwc"), ("UINT8", "nchw"), ("FLOAT", "nhwc")):
        write_onnx(folder / f"{kind}.onnx", kind, ("n", *SIZES[layout]))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SIZES = {"nchw": (3, SIZE, SIZE), "nhwc": (SIZE, SIZE, 3)}
WEIGHTS = np.float32([0.5])


def write_onnx(path: Path, kind: str, shape: tuple[str | int, ...]) -> None:
    """A model of another type and layout, of two outputs, whose weight is in another file."""
    code, value = TensorProto.DataType.Value(kind), helper.make_tensor_value_info
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=1)
    weight.external_data.add(key="location", value="w.bin")
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "w"], ["h"]),
        helper.make_node("Cast", ["h"], ["y"], to=code),
        helper.make_node("ReduceMean", ["f"], ["z"], keepdims=0),
        helper.make_node("Shape", ["x"], ["s"]),
    ]
    outputs = [value("s", TensorProto.INT64, [4]), value("y", code, shape)]
    graph = helper.make_graph(nodes, "g", [value("x", code, shape)], outputs, [weight])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def test_whole_models_are_answered(tmp_path: Path, whole: dict[str, bytes]) -> None:
    WEIGHTS.tofile(tmp_path / "w.bin")
    for name, content in whole.items():
        if name.endswith(".onnx"):
            (tmp_path / name).write_bytes(content)
            assert Onnx(str(tmp_path / name), "cpu", threads=1).translate(X).shape == X.shape
            check(tmp_path / name, content)


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
    WEIGHTS.tofile(path.parent / "w.bin")
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
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    is_last = given.shape[3] == 3
    types = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(double)": np.float64}
    x = X.permute(0, 2, 3, 1).numpy() if is_last else X.numpy()
    x = np.rint(x * 255) if "uint8" in given.type else x
    answers = session.run(None, {given.name: x.astype(types.get(given.type, np.float32))})
    (wanted,) = (a for a in answers if a.ndim == 4)
    wanted = wanted / 255 if wanted.dtype == np.uint8 else wanted
    wanted = wanted.transpose(0, 3, 1, 2) if is_last else wanted
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


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
