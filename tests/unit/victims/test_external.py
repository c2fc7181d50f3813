"""Exported programs and ONNX files answer like the module they came from."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.victims.export import to_onnx, to_pt2
from mia_lab.victims.external import Exported, Onnx
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet


class Plain(nn.Module):
    """From [0, 1] to [0, 1]; what it answers in training mode differs."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.dropout(self.norm(self.convolution(x))))


class TwoAtOnce(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).reshape(2, -1).reshape(2, 3, 32, 32)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def script(module: nn.Module, path: Path, example: Tensor | None = None) -> str:
    """Write TorchScript: traced on an example, or compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing it is deprecated, and we only read it
        made = torch.jit.script(module) if example is None else torch.jit.trace(module, example)
        made.save(path)
    return str(path)


def pt2(module: nn.Module, path: Path, example: Tensor, **dynamic: object) -> str:
    torch.export.save(torch.export.export(module, (example,), **dynamic), path)
    return str(path)


@pytest.mark.parametrize(
    "module",
    [
        Plain(),
        UnitRange(UNet(32, width=4), "rgb"),
        UnitRange(ResNetGenerator(3, 3, 4, 2, 1, "instance"), "rgb"),
    ],
    ids=["plain", "unet", "resnet"],
)
def test_all_forms_answer_alike(tmp_path: Path, module: nn.Module, x: Tensor) -> None:
    module.eval()
    to_pt2(module, x[:2], tmp_path / "victim.pt2")
    to_onnx(module, x[:2], tmp_path / "victim.onnx")
    script(module, tmp_path / "victim.pt", x[:2])
    victims = (
        Exported(str(tmp_path / "victim.pt2"), "cpu"),
        Exported(str(tmp_path / "victim.pt"), "cpu"),
        Onnx(str(tmp_path / "victim.onnx"), "cpu", threads=1),
    )
    assert [v.in_channels for v in victims] == [3, None, 3]
    for n in (1, 3):
        wanted = module(x[:n]).detach()
        for victim in victims:
            torch.testing.assert_close(victim.translate(x[:n]), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_fixed_batch_size_is_kept(tmp_path: Path, x: Tensor, size: int) -> None:
    module, example = Plain().eval(), x[:size]
    path = tmp_path / "fixed.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), path, dynamo=True, external_data=False, verbose=False)
    fixed = (
        Exported(pt2(module, tmp_path / "fixed.pt2", example), "cpu"),
        Onnx(str(path), "cpu", threads=1),
    )
    for victim in fixed:
        for n in (1, 3, 5):
            wanted = module(x[:n]).detach()
            torch.testing.assert_close(victim.translate(x[:n]), wanted, rtol=0, atol=1e-5)


def test_a_largest_batch_is_kept(tmp_path: Path, x: Tensor) -> None:
    module, batch = Plain().eval(), torch.export.Dim("batch", min=2, max=3)
    path = pt2(module, tmp_path / "range.pt2", x[:2], dynamic_shapes=({0: batch},))
    wanted = module(x).detach()
    torch.testing.assert_close(Exported(path, "cpu").translate(x), wanted, rtol=0, atol=1e-5)


def test_torchscript_answers_in_eval_mode(tmp_path: Path, x: Tensor) -> None:
    module = Plain().train()
    path = script(module, tmp_path / "training.pt")
    wanted = module.eval()(x).detach()
    torch.testing.assert_close(Exported(path, "cpu").translate(x), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5], ids=["norm", "dropout"])
def test_a_program_in_training_mode_is_refused(tmp_path: Path, x: Tensor, dropout: float) -> None:
    path = pt2(Plain(dropout).train(), tmp_path / "training.pt2", x[:2])
    with pytest.raises(UserError, match=r"exported in training mode; call eval\(\)"):
        Exported(path, "cpu")


def overwrite(path: Path, ending: str) -> None:
    """Change some bytes of one member of an archive."""
    with zipfile.ZipFile(path) as archive:
        (member,) = (i for i in archive.infolist() if i.filename.endswith(ending))
        content = archive.read(member)
    raw = bytearray(path.read_bytes())
    start = raw.index(content, member.header_offset)
    raw[start : start + 8] = b"\x11" * 8
    path.write_bytes(raw)


def test_changed_weights_are_noticed(tmp_path: Path, x: Tensor) -> None:
    module = Plain().eval()
    files = {
        pt2(module, tmp_path / "v.pt2", x[:2]): "/weight_0",
        script(module, tmp_path / "v.pt", x[:2]): "/data/0",
    }
    for path, member in files.items():
        overwrite(Path(path), member)
        with pytest.raises(UserError, match=rf"is damaged \(\w+\S*{member}\)"):
            Exported(path, "cpu")


@pytest.mark.parametrize("name", ["victim.pt2", "victim.onnx"])
@pytest.mark.parametrize("content", [b"", b"junk" * 100, None], ids=["empty", "junk", "cut"])
def test_files_that_are_no_programs(
    tmp_path: Path, x: Tensor, name: str, content: bytes | None
) -> None:
    path, box = tmp_path / name, Exported if name.endswith("pt2") else Onnx
    if content is None:
        (to_pt2 if box is Exported else to_onnx)(Plain().eval(), x[:2], path)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"victim\.checkpoint=.* cannot be read \(.+\)") as error:
        box(str(path), "cpu")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"victim\.checkpoint=\S*none: .*no such file|No such file"):
        box(str(tmp_path / "none"), "cpu")


def test_weights_are_no_program(tmp_path: Path) -> None:
    torch.save(Plain().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"holds no program .* victim=pretrained"):
        Exported(str(tmp_path / "weights.pt"), "cpu")


def test_images_of_another_size(tmp_path: Path, x: Tensor) -> None:
    module, onnx = Plain().eval(), tmp_path / "v.onnx"
    to_onnx(module, x[:2], onnx)
    small = x[:, :, :16, :16]
    for victim in (
        Exported(pt2(module, tmp_path / "v.pt2", x[:2]), "cpu"),
        Onnx(str(onnx), "cpu", threads=1),
    ):
        with pytest.raises(UserError, match=r"data\.image_size=16; set data\.image_size=32"):
            victim.translate(small)


def test_torchscript_says_what_failed(tmp_path: Path, x: Tensor) -> None:
    victim = Exported(script(TwoAtOnce().eval(), tmp_path / "two.pt", x[:2]), "cpu")
    with pytest.raises(UserError, match=r"shape \(1, 3, 32, 32\) \(RuntimeError: shape .*invalid"):
        victim.translate(x[:1])


def test_onnx_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "v.onnx"
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node("Neg", ["x"], ["y"])
    for kind, sizes, message in (
        (onnx.TensorProto.DOUBLE, (1, 3, 8, 8), r"takes x tensor\(double\)"),
        (onnx.TensorProto.FLOAT, (1, 3), "takes inputs of 2 dimensions"),
    ):
        graph = onnx.helper.make_graph(
            [node], "negative", [value("x", kind, sizes)], [value("y", kind, sizes)]
        )
        opset = [onnx.helper.make_opsetid("", 18)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        with pytest.raises(UserError, match=message):
            Onnx(str(path), "cpu")


def onnx_graph(path: Path, nodes: list[Any], shape: list[object]) -> None:
    """Write a graph from ``x`` of a shape to ``y``."""
    value = onnx.helper.make_tensor_value_info
    inputs = [value("x", onnx.TensorProto.FLOAT, shape)]
    outputs = [value("y", onnx.TensorProto.FLOAT, None)]
    graph = onnx.helper.make_graph(nodes, "graph", inputs, outputs)
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)


@pytest.mark.parametrize(
    ("operation", "found"),
    [("ReduceSum", "()"), ("NonZero", r"(4, \d+)"), ("Shape", "(4,)")],
)
def test_answers_of_another_shape(tmp_path: Path, x: Tensor, operation: str, found: str) -> None:
    more = {"keepdims": 0} if operation == "ReduceSum" else {}
    nodes = [
        onnx.helper.make_node(operation, ["x"], ["z"], **more),
        onnx.helper.make_node("Cast", ["z"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    path = tmp_path / "v.onnx"
    onnx_graph(path, nodes, ["n", 3, 32, 32])
    victim = Onnx(str(path), "cpu", threads=1)
    shape = found.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UserError, match=rf"answers images .* with shape {shape}, expected \(5, 3"):
        victim.translate(x)


@pytest.mark.parametrize("size", [2**40, 0])
def test_sizes_out_of_range(tmp_path: Path, size: int) -> None:
    nodes = [onnx.helper.make_node("Neg", ["x"], ["y"])]
    path = tmp_path / "v.onnx"
    onnx_graph(path, nodes, [size, 3, 32, 32])
    with pytest.raises(UserError, match=r"v\.onnx: takes inputs of shape .*from 1 to 16384"):
        Onnx(str(path), "cpu")


@pytest.mark.parametrize("name", [b"\x1b[1m", b"\xff\xff\xff\xff"], ids=["escape", "no text"])
def test_messages_of_libraries_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: bytes
) -> None:
    """onnxruntime repeats a name that is in the file, and prints what it cannot decode."""
    path = tmp_path / "v.onnx"
    onnx_graph(path, [onnx.helper.make_node("Neg", ["zzzz"], ["y"])], [1, 3, 32, 32])
    path.write_bytes(path.read_bytes().replace(b"zzzz", name))
    with pytest.raises(UserError, match="cannot be read") as error:
        Onnx(str(path), "cpu")
    assert str(error.value).isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path: Path, x: Tensor) -> None:
    path = pt2(Plain().eval(), tmp_path / "v.pt2", x[:2])
    with pytest.raises(UserError, match=r"trainer\.accelerator=gpu: no GPU"):
        Exported(path, "gpu")
