"""A model that answers the same query differently is noticed, and asked image by image."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import Tensor, nn

from mia_lab.stages.graph import RunStages, run_stages
from mia_lab.store import Store
from mia_lab.types import Determinism
from support import composed

MODULES = {
    "same": nn.Identity(),
    "dropout": nn.Dropout(0.2),
    "norm": nn.BatchNorm2d(3),
}


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = MODULES[kind]

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.layer(x))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Eight pairs of noise; their means and contrasts differ."""
    for part in ("train", "test"):
        folder = tmp_path / "pairs" / part
        folder.mkdir(parents=True)
        for number in range(4):
            rng = np.random.default_rng([number, len(part)])
            noise = rng.integers(0, 60 * (number + 1), (32, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
    return tmp_path / "pairs"


def stages(pairs: Path, *overrides: str) -> RunStages:
    data = ("data=custom", f"data.root={pairs}", "data.image_size=32", "data.protocol=official")
    return run_stages(composed(*data, "trainer=cpu", *overrides))


def exported(folder: Path, kind: str, form: str) -> tuple[str, ...]:
    """A program in training mode."""
    module, example, path = Net(kind).train(), torch.rand(2, 3, 32, 32), folder / f"v.{form}"
    if form == "onnx":
        write_onnx(path, kind)
        return ("victim=onnx", f"victim.checkpoint={path}")
    if form == "pt2":
        batch = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=batch), path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(module, example, check_trace=False).save(path)
    return ("victim=exported", f"victim.checkpoint={path}")


def write_onnx(path: Path, kind: str) -> None:
    number = onnx.numpy_helper.from_array
    constants: list[Any] = []
    nodes = [helper.make_node("Sigmoid", ["d"], ["y"])]
    if kind == "dropout":
        nodes.insert(0, helper.make_node("Dropout", ["x", "r", "t"], ["d"]))
        constants = [number(np.float32(0.2), "r"), number(np.bool_(True), "t")]
    else:
        nodes.insert(0, helper.make_node("Identity", ["x"], ["d"]))
    value, shape = helper.make_tensor_value_info, ["n", 3, 32, 32]
    ends = [[value(name, TensorProto.FLOAT, shape)] for name in "xy"]
    graph = helper.make_graph(nodes, "g", *ends, constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


FORMS = [(form, kind) for form in ("pt2", "pt", "onnx") for kind in MODULES]
FORMS.remove(("onnx", "norm"))  # onnxruntime has no batch norm in training mode


@pytest.mark.parametrize(("form", "kind"), FORMS)
def test_what_varies_is_noticed(
    tmp_path: Path, pairs: Path, form: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim = exported(tmp_path, kind, form)
    audit = stages(pairs, *victim, "query.batch_size=3")
    with Store(tmp_path / "store") as store:
        answers = audit.reconstructions
        assert answers.determinism is not None
        found = store.result(answers.determinism)
        assert found.images == 4
        assert (found.alone > 0.1) == (kind == "dropout")
        assert (found.company > 0.1) == (kind != "same")
        assert found.is_random == (kind != "same")
        assert answers.batch_size(store) == (3 if kind == "same" else 1)
        assert ("its images are queried one by one" in caplog.text) == found.is_random
        table = store.result(answers)
        if (form, kind) == ("onnx", "dropout"):
            return
        other = stages(pairs, *victim, "query.batch_size=2").reconstructions
        np.testing.assert_allclose(store.result(other).error, table.error, rtol=0, atol=1e-6)


def test_the_stage_is_shared_and_stored(tmp_path: Path, pairs: Path) -> None:
    victim = exported(tmp_path, "same", "pt2")
    one, other = (
        stages(pairs, *victim, f"seed={seed}", f"query.batch_size={seed + 1}").reconstructions
        for seed in (0, 1)
    )
    assert one.determinism is not None
    assert other.determinism is not None
    assert one.determinism.key == other.determinism.key
    assert one.key != other.key


def test_only_foreign_models_that_can_be_asked(tmp_path: Path, pairs: Path) -> None:
    assert stages(pairs, "data.protocol=resplit").reconstructions.determinism is None
    outputs = tmp_path / "outputs"
    for part in ("train", "test"):
        (outputs / part).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32)).save(outputs / part / f"{number}.png")
    recorded = stages(pairs, "victim=outputs", f"victim.folder={outputs}")
    assert recorded.reconstructions.determinism is None


@pytest.mark.parametrize(
    ("alone", "company", "is_random", "text"),
    [
        (0.0, 2e-7, False, "repeated queries are answered alike, within 2e-07"),
        (1 / 255 + 1e-7, 1 / 255, False, "repeated queries are answered alike, within 0.004"),
        (0.5, 0.4, True, "repeated queries are answered differently, by up to 0.5"),
        (0.0, 0.02, True, "answers depend on the other images of a query, and differ by up to 0.0"),
    ],
)
def test_texts(alone: float, company: float, is_random: bool, text: str) -> None:
    found = Determinism(alone, company, images=4)
    assert found.is_random == is_random
    assert str(found).startswith(text)
