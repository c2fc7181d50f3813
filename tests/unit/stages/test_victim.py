"""A victim that exists already is the one that the key of its stage is of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from mia_lab.errors import UserError
from mia_lab.stages.graph import run_stages
from mia_lab.stages.victim import TRANSPORT_FILE, VictimStage
from mia_lab.store import Store
from mia_lab.victims.networks.unet import UNet
from support import composed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model that keeps its weights in another file."""
    value, shape = helper.make_tensor_value_info, ["n", 3, 32, 32]
    tensor = onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 0.5, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "half",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
        initializer=[tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "v.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def stage(path: Path, name: str = "onnx", *more: str) -> VictimStage:
    data = ("data=custom", f"data.root={path.parent / 'pairs'}", "data.image_size=32")
    for part in ("train", "test"):
        (path.parent / "pairs" / part).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            picture = Image.new("RGB", (64, 32), (number, 0, len(part)))
            picture.save(path.parent / "pairs" / part / f"{number}.png")
    victim = (f"victim={name}", f"victim.checkpoint={path}", "data.protocol=official", *more)
    return run_stages(composed(*data, *victim)).victim


@pytest.mark.parametrize("name", ["v.onnx", "w.bin"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_file_that_changes_before_it_is_read(
    tmp_path: Path, path: Path, name: str, stored: bool
) -> None:
    with Store(tmp_path / "store") as store:
        if stored:
            store.result(stage(path))
        changed = stage(path)
        key = changed.key
        with (path.parent / name).open("ab") as file:
            file.write(b"\x82\x06\x00" if name == "v.onnx" else b"more")
        with pytest.raises(UserError, match=r"victim\.\S*: a file that it names has changed"):
            changed.open(store, "cpu", "eval", None)
        assert stage(path).key != key


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((1, 3), r"takes 1 channels, the data's inputs have 3; set data\.input_channels=1, which"),
        (
            (36, 3),
            r"takes 36 channels, .*give input pictures of 36 channels \(data\.input_channels=36\); "
            r"or, .*set data\.input_encoding=one_hot",
        ),
        (
            (3, 1),
            r"answers with 1 channels, the data's targets have 3; set data\.target_channels=1",
        ),
        ((3, 4), r"answers with 4 channels, .*give target pictures of 4 channels \(data\.target_c"),
    ],
)
def test_channels_that_the_data_does_not_have(
    tmp_path: Path, channels: tuple[int, int], message: str
) -> None:
    torch.save(UNet(32, *channels, width=2).state_dict(), tmp_path / "G.pth")
    with pytest.raises(UserError, match=f"victim=pretrained: {message}"):
        stage(tmp_path / "G.pth", "pretrained", "victim.format=pix2pix").check()


def test_what_was_read_of_weights_is_stored(tmp_path: Path) -> None:
    torch.save({"g_ema": UNet(32, width=2).state_dict()}, tmp_path / "G.pth")
    victim = stage(tmp_path / "G.pth", "pretrained", "victim.format=pix2pix", "victim.key=g_ema")
    with Store(tmp_path / "store") as store:
        record = json.loads((store.result(victim) / TRANSPORT_FILE).read_text())
    assert record == {
        "answers travel as": "float32",
        "weights read as": "UNet with batch norm, entry g_ema",
    }
