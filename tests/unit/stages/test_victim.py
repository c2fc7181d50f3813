"""A victim that exists already is the one that the key of its stage is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from mia_lab.errors import UserError
from mia_lab.stages.graph import run_stages
from mia_lab.stages.victim import VictimStage
from mia_lab.store import Store
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


def stage(path: Path) -> VictimStage:
    data = ("data=custom", f"data.root={path.parent / 'pairs'}", "data.image_size=32")
    for part in ("train", "test"):
        (path.parent / "pairs" / part).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            picture = Image.new("RGB", (64, 32), (number, 0, len(part)))
            picture.save(path.parent / "pairs" / part / f"{number}.png")
    victim = ("victim=onnx", f"victim.checkpoint={path}", "data.protocol=official")
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
