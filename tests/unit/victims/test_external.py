"""Exported programs and ONNX files answer like the module they came from."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from torch import Tensor, nn

from mia_lab.config.component import Component
from mia_lab.data.transforms import in_levels
from mia_lab.errors import UserError
from mia_lab.victims.export import to_onnx, to_pt2
from mia_lab.victims.external import Exported, Onnx
from mia_lab.victims.networks import UnitRange
from mia_lab.victims.networks.resnet import ResNetGenerator
from mia_lab.victims.networks.unet import UNet

node = onnx.helper.make_node


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
def test_a_program_in_training_mode_answers(tmp_path: Path, x: Tensor, dropout: float) -> None:
    path = pt2(Plain(dropout).train(), tmp_path / "training.pt2", x[:2])
    answer = Exported(path, "cpu").translate(x)
    assert not torch.allclose(answer, Plain(dropout).eval()(x), atol=0.01)


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
    for kind, shape, message in (
        (TensorProto.INT64, [1, 3, 8, 8], r"takes tensor\(int64\) and gives tensor\(int64\); exp"),
        (TensorProto.BFLOAT16, [1, 3, 8, 8], r"takes tensor\(bfloat16\)"),
        (TensorProto.FLOAT, [1, 3], "takes inputs of 2 dimensions"),
    ):
        onnx_graph(path, [node("Identity", ["x"], ["y"])], shape, kind=kind, gives=kind)
        with pytest.raises(UserError, match=message):
            Onnx(str(path), "cpu")


def onnx_graph(
    path: Path,
    nodes: list[Any],
    shape: Sequence[object],
    kind: int = TensorProto.FLOAT,
    gives: int = TensorProto.FLOAT,
    outputs: Mapping[str, Sequence[object] | None] | None = None,
    **constants: float,
) -> str:
    """Write a graph from ``x`` of a shape to ``y``, or to some outputs."""
    value = onnx.helper.make_tensor_value_info
    outputs = {"y": None} if outputs is None else outputs
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("x", kind, shape)],
        [value(name, gives, sizes) for name, sizes in outputs.items()],
        [onnx.numpy_helper.from_array(np.float32(v), name) for name, v in constants.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return str(path)


@pytest.mark.parametrize(
    ("operation", "found"),
    [("ReduceSum", "()"), ("NonZero", r"(4, \d+)"), ("Shape", "(4,)")],
)
def test_answers_of_another_shape(tmp_path: Path, x: Tensor, operation: str, found: str) -> None:
    more = {"keepdims": 0} if operation == "ReduceSum" else {}
    nodes = [
        node(operation, ["x"], ["z"], **more),
        node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    path = tmp_path / "v.onnx"
    onnx_graph(path, nodes, ["n", 3, 32, 32])
    victim = Onnx(str(path), "cpu", threads=1)
    shape = found.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(
        UserError, match=rf"answers images .* with shape {shape}, expected \(5, C, 32"
    ):
        victim.translate(x)


@pytest.mark.parametrize("size", [2**40, 0])
def test_sizes_out_of_range(tmp_path: Path, size: int) -> None:
    nodes = [node("Neg", ["x"], ["y"])]
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
    onnx_graph(path, [node("Neg", ["zzzz"], ["y"])], [1, 3, 32, 32])
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


class Mapped(nn.Module):
    """A convolution between numbers of channels, and what ends it."""

    def __init__(self, takes: int, gives: int, end: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(takes, gives, 3, padding=1)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.convolution(x))


@pytest.mark.parametrize(("takes", "gives"), [(1, 1), (4, 3), (3, 5)])
def test_any_channels_of_rectangles(tmp_path: Path, takes: int, gives: int) -> None:
    module, x = Mapped(takes, gives, nn.Sigmoid()).eval(), torch.rand(3, takes, 16, 48)
    to_pt2(module, x[:2], tmp_path / "v.pt2")
    to_onnx(module, x[:2], tmp_path / "v.onnx")
    script(module, tmp_path / "v.pt", x[:2])
    for victim in (
        Exported(str(tmp_path / "v.pt2"), "cpu"),
        Exported(str(tmp_path / "v.pt"), "cpu"),
        Onnx(str(tmp_path / "v.onnx"), "cpu", threads=1),
    ):
        assert (victim.in_channels, victim.out_channels) in ((takes, gives), (None, None))
        torch.testing.assert_close(victim.translate(x), module(x).detach(), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"width 48 and height 16, but data\.image_size=32; set "):
        Onnx(str(tmp_path / "v.onnx"), "cpu").translate(torch.rand(1, takes, 32, 32))
    with pytest.raises(UserError, match=r"data\.image_size=\[16,48\]; set data\.image_size=\[48,1"):
        Onnx(str(tmp_path / "v.onnx"), "cpu").translate(torch.rand(1, takes, 48, 16))


@pytest.mark.parametrize(
    ("shape", "gives"),
    [
        (["n", 32, 32, 3], ["n", 32, 32, 3]),
        ([None, None, None, 3], [None, None, None, 3]),
        ([1, 32, 48, 1], None),
        (["n", 32, 32, 35], ["n", 32, 32, 35]),
        (["n", None, None, 35], ["n", None, None, 3]),
    ],
)
def test_channels_that_come_last(tmp_path: Path, shape: list[Any], gives: list[Any] | None) -> None:
    """Multiplies each channel by its mean over the pixels."""
    nodes = [
        node("ReduceMean", ["x", "axes"], ["mean"]),
        node("Mul", ["x", "mean"], ["z"]),
        node("Slice", ["z", "no", "channels", "last"], ["y"]),
    ]
    channels = shape[3] if gives is None else gives[3]
    path = onnx_graph(tmp_path / "v.onnx", nodes, shape, outputs={"y": gives})
    model = onnx.load(path)
    for name, values in {"axes": [1, 2], "no": [0], "channels": [channels], "last": [3]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), name))
    onnx.save(model, path)
    victim = Onnx(path, "cpu", threads=1)
    height, width = (side or 20 for side in shape[1:3])
    x = torch.rand(3, shape[3], height, width)
    assert victim.in_channels == shape[3]
    wanted = (x * x.mean((2, 3), keepdim=True))[:, :channels]
    torch.testing.assert_close(victim.translate(x), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("nchw", ["n", 32, 32, 3]), ("nhwc", ["n", 3, 32, 32]), ("nchw", ["n", None, None, 3])],
)
def test_a_declared_layout_that_does_not_fit(
    tmp_path: Path, layout: Literal["nchw", "nhwc"], shape: Sequence[object]
) -> None:
    path = onnx_graph(tmp_path / "v.onnx", [node("Identity", ["x"], ["y"])], shape)
    wrong = (
        rf"takes inputs of shape \(.*\), which victim\.layout={layout} does not fit: .* leave it"
    )
    with pytest.raises(UserError, match=wrong):
        Onnx(path, "cpu", layout=layout)
    assert Onnx(path, "cpu").in_channels == 3


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = Path(onnx_graph(tmp_path / "v.onnx", [node("Identity", ["x"], ["y"])], ["n", 3, 32, 32]))
    with pytest.raises(UserError, match=r"v\.onnx: is an ONNX model; set victim=onnx"):
        Exported(str(path), "cpu")
    with pytest.raises(UserError, match=r"v\.pt2: is an ONNX model; set victim=onnx"):
        Exported(str(path.rename(tmp_path / "v.pt2")), "cpu")
    for kind in ("PNG", "JPEG", "TIFF"):
        Image.new("RGB", (16, 16)).save(tmp_path / "v.pt", kind)
        with pytest.raises(UserError, match=rf"v\.pt: is a {kind} picture; .* victim=outputs"):
            Exported(str(tmp_path / "v.pt"), "cpu")


def test_channels_that_may_be_anywhere(tmp_path: Path) -> None:
    nodes = [node("Identity", ["x"], ["y"])]
    for shape in (["n", 20, 30, 40], ["n", 32, 32, 32], ["n", None, None, 64]):
        path = onnx_graph(tmp_path / "v.onnx", nodes, shape)
        with pytest.raises(UserError, match=r"takes inputs of shape .*; set victim\.layout=nchw"):
            Onnx(path, "cpu")
        sizes = [s if isinstance(s, int) else None for s in shape]
        assert Onnx(path, "cpu", layout="nhwc").in_channels == sizes[3]
        assert Onnx(path, "cpu", layout="nchw").in_channels == sizes[1]
    path = onnx_graph(tmp_path / "v.onnx", nodes, ["n", None, None, None])
    assert Onnx(path, "cpu").in_channels is None


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_numbers_of_other_types(tmp_path: Path, x: Tensor, kind: str) -> None:
    code = TensorProto.DataType.Value(kind)
    nodes = [node("Identity", ["x"], ["y"])]
    path = onnx_graph(tmp_path / "v.onnx", nodes, ["n", 3, 32, 32], code, code)
    victim = Onnx(path, "cpu")
    expected = x.half().float() if kind == "FLOAT16" else x
    assert torch.equal(victim.translate(x), expected)
    assert victim.transport == ("float16 numbers" if kind == "FLOAT16" else None)


def test_bytes_are_levels(tmp_path: Path) -> None:
    x = torch.arange(256).reshape(1, 1, 16, 16).float() / 255
    same = [node("Identity", ["x"], ["y"])]
    real = [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Div", ["f", "k"], ["y"])]
    shape = ["n", 1, 16, 16]
    path = onnx_graph(tmp_path / "v.onnx", same, shape, TensorProto.UINT8, TensorProto.UINT8)
    victim = Onnx(path, "cpu")
    assert torch.equal(victim.translate(x), x)
    assert torch.equal(victim.translate(x + 0.4 / 255).clamp(0, 1), x)
    assert victim.transport == "uint8 numbers"
    path = onnx_graph(tmp_path / "v.onnx", real, shape, TensorProto.UINT8, k=255)
    assert torch.equal(Onnx(path, "cpu").translate(x), x)
    with pytest.raises(UserError, match=r"takes uint8, which cannot be \[-1,1\]; set .*=\[\[0,255"):
        Onnx(path, "cpu", value_range=[-1, 1])


def test_half_precision_of_programs(tmp_path: Path, x: Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sigmoid()).eval().bfloat16()
    wanted = module(x.bfloat16()).detach().float()
    for path in (
        pt2(module, tmp_path / "v.pt2", x[:2].bfloat16()),
        script(module, tmp_path / "v.pt", x[:2].bfloat16()),
    ):
        torch.testing.assert_close(Exported(path, "cpu").translate(x), wanted, rtol=0, atol=0.01)
    assert Exported(str(tmp_path / "v.pt2"), "cpu").transport == "bfloat16 numbers"


def two_outputs(path: Path, sizes: Sequence[object] | None) -> str:
    nodes = [node("Identity", ["x"], ["y"]), node("ReduceMean", ["x"], ["z"], keepdims=1)]
    if sizes == [1]:
        nodes[1] = node("Shape", ["x"], ["s"], start=0, end=1)
        nodes.append(node("Cast", ["s"], ["z"], to=TensorProto.FLOAT))
    shape = ["n", 3, 32, 32]
    return onnx_graph(path, nodes, shape, outputs={"z": sizes, "y": shape})


def test_one_of_several_outputs(tmp_path: Path, x: Tensor) -> None:
    path = two_outputs(tmp_path / "v.onnx", [1, 1, 1, 1])
    with pytest.raises(
        UserError, match=r"gives z \(1, 1, 1, 1\), y \(n, 3, 32, 32\); choose one with victim\.outp"
    ):
        Onnx(path, "cpu")
    with pytest.raises(UserError, match=r"gives no victim\.output=w; choose one of z \(1"):
        Onnx(path, "cpu", output="w")
    assert torch.equal(Onnx(path, "cpu", output="y").translate(x), x)
    path = two_outputs(tmp_path / "v.onnx", None)
    with pytest.raises(UserError, match=r"gives z.*, y \(n, 3, 32, 32\); choose one"):
        Onnx(path, "cpu")


def test_the_only_output_that_can_hold_images(
    tmp_path: Path, x: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = two_outputs(tmp_path / "v.onnx", [1])
    assert torch.equal(Onnx(path, "cpu").translate(x), x)
    assert "y is the only one that can hold images" in caplog.text


def test_two_inputs(tmp_path: Path, x: Tensor) -> None:
    path = onnx_graph(
        tmp_path / "v.onnx", [node("Mul", ["x", "k"], ["y"])], ["n", 3, 32, 32], k=0.5
    )
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("k", TensorProto.FLOAT, []))
    onnx.save(model, path)
    assert torch.equal(Onnx(path, "cpu").translate(x), x / 2)
    del model.graph.initializer[0]
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"takes x tensor\(float\), k tensor\(float\); export a"):
        Onnx(path, "cpu")


class Several(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x.mean((1, 2, 3)), {"half": x / 2, "third": x / 3}


def test_one_of_several_outputs_of_programs(tmp_path: Path, x: Tensor) -> None:
    for path in (
        pt2(Several(), tmp_path / "v.pt2", x[:2]),
        script(Several(), tmp_path / "v.pt"),
    ):
        assert torch.equal(Exported(path, "cpu", output="1").translate(x), x / 2)
        assert torch.equal(Exported(path, "cpu", output="2").translate(x), x / 3)
        with pytest.raises(UserError, match=r"gives 0 \(\d\), 1 \(.*\), 2 \(.*victim\.output=1"):
            Exported(path, "cpu").translate(x)


class Signed(nn.Module):
    """From [-1, 1] to [-1, 1], perhaps copied after the tanh, or with a positive end."""

    def __init__(self, *, copied: bool = False, positive: bool = False) -> None:
        super().__init__()
        self.copied, self.positive = copied, positive

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x.abs() if self.positive else x)
        return y.flip(1).permute(0, 2, 3, 1).permute(0, 3, 1, 2).clamp(-1, 1) if self.copied else y


def forms(module: nn.Module, folder: Path, x: Tensor) -> list[Callable[..., Exported | Onnx]]:
    """The module in all three forms, ready to be loaded."""
    to_pt2(module, x[:2], folder / "v.pt2")
    to_onnx(module, x[:2], folder / "v.onnx")
    script(module, folder / "v.pt", x[:2])
    return [
        partial(Exported, str(folder / "v.pt2"), "cpu"),
        partial(Exported, str(folder / "v.pt"), "cpu"),
        partial(Onnx, str(folder / "v.onnx"), "cpu", threads=1),
    ]


@pytest.mark.parametrize("settings", [{}, {"copied": True}, {"positive": True}])
def test_answers_from_tanh_need_a_range(
    tmp_path: Path, x: Tensor, settings: dict[str, bool]
) -> None:
    module = Signed(**settings)
    for load in forms(module, tmp_path, x):
        with pytest.raises(
            UserError,
            match=r"come from tanh, so they are likely in \[-1,1\]; set victim\.value_",
        ):
            load()
        wanted = (module(2 * x - 1) + 1) / 2
        found = load(value_range=[-1, 1]).translate(x)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        wanted = (module(x) + 1) / 2
        for value_range in ([[0, 1], [-1, 1]], [None, [-1, 1]]):
            found = load(value_range=value_range).translate(x)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


class Clipped(nn.Module):
    """From [0, 1] to [0, 1], by a tanh whose values are clipped."""

    def __init__(self, clip: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, x: Tensor) -> Tensor:
        return self.clip(torch.tanh(3 * x - 1)).flip(1)


@pytest.mark.parametrize(
    "clip",
    [
        lambda y: y.clamp(0, 1),
        lambda y: y.clamp(min=0),
        lambda y: nn.functional.hardtanh(y, min_val=0.0, max_val=1.0),
    ],
)
def test_clipped_answers_of_tanh_are_in_the_range_of_real_numbers(
    tmp_path: Path, x: Tensor, clip: Callable[[Tensor], Tensor]
) -> None:
    """A tanh that is clipped at 0 gives 0 for black, not for grey."""
    module = Clipped(clip)
    for load in forms(module, tmp_path, x):
        torch.testing.assert_close(load().translate(x), module(x), rtol=0, atol=1e-6)


def test_tanh_that_is_clipped_elsewhere_needs_a_range(tmp_path: Path, x: Tensor) -> None:
    for load in forms(Clipped(lambda y: y.clamp(-0.5, 1.0)), tmp_path, x):
        with pytest.raises(UserError, match=r"come from tanh.*; or \[0,1\] if its answers are in"):
            load()


@pytest.mark.parametrize("least", ["attribute", "initializer", "constant", "cast", "input"])
def test_clips_of_onnx(tmp_path: Path, least: str) -> None:
    """The lower bound is a constant of the graph in all forms but the last."""
    clip = onnx.helper.make_node("Clip", ["z", "k"], ["y"])
    nodes = [node("Tanh", ["x"], ["z"])]
    if least == "constant":
        nodes.append(onnx.helper.make_node("Constant", [], ["k"], value_float=0.0))
    if least == "cast":
        nodes.append(onnx.helper.make_node("Cast", ["m"], ["k"], to=onnx.TensorProto.FLOAT))
    if least == "input":
        nodes.append(node("ReduceMin", ["x"], ["k"]))
        nodes[-1].attribute.append(onnx.helper.make_attribute("keepdims", 0))
    if least == "attribute":
        clip = onnx.helper.make_node("Clip", ["z"], ["y"], min=0.0, max=1.0)
    constants = {"initializer": {"k": 0}, "cast": {"m": 0}}.get(least, {})
    path = onnx_graph(tmp_path / "v.onnx", [*nodes, clip], ["n", 1, 16, 16], **constants)
    if least == "attribute":
        model = onnx.load(path)
        model.opset_import[0].version = 10
        model.ir_version = 5
        onnx.save(model, path)
    if least == "input":
        with pytest.raises(UserError, match="come from tanh"):
            Onnx(path, "cpu")
        return
    x = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    torch.testing.assert_close(Onnx(path, "cpu").translate(x), x.tanh(), rtol=0, atol=1e-6)


def test_tanh_in_a_branch_or_a_function(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x) if x.shape[0] > 1 else x

    with pytest.raises(UserError, match="come from tanh"):
        Exported(script(Branch(), tmp_path / "v.pt"), "cpu")
    opset = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("own", 1)]
    own = onnx.helper.make_function("own", "End", ["a"], ["b"], [node("Tanh", ["a"], ["b"])], opset)
    path = onnx_graph(tmp_path / "v.onnx", [node("Identity", ["x"], ["y"])], ["n", 3, 32, 32])
    model = onnx.load(path)
    model.graph.node[0].op_type, model.graph.node[0].domain = "End", "own"
    model.functions.append(own)
    model.opset_import.append(opset[1])
    onnx.save(model, path)
    with pytest.raises(UserError, match="come from tanh"):
        Onnx(path, "cpu")


def test_the_declared_range_is_mapped_exactly(tmp_path: Path) -> None:
    """Levels k become 2 k - 255 in [-255, 255], and come back as they were."""
    x = torch.arange(256).reshape(1, 1, 16, 16).float() / 255
    path = onnx_graph(tmp_path / "v.onnx", [node("Identity", ["x"], ["y"])], ["n", 1, 16, 16])
    for value_range in ([-255, 255], [-1, 1], [0, 255], [-0.5, 0.5]):
        found = Onnx(path, "cpu", value_range=value_range).translate(x)
        torch.testing.assert_close(found, x, rtol=0, atol=6e-8)
        np.testing.assert_array_equal(in_levels(found.numpy()), in_levels(x.numpy()))


@pytest.mark.parametrize(
    ("low", "high", "remedy"),
    [
        (-1, 1, r"from -1 to 1, outside \[0,1\]; set victim\.value_range=\[-1,1\], or \[\[0,1\],"),
        (0, 255, r"from 0 to 255, outside \[0,1\]; set victim\.value_range=\[0,255\], or"),
        (0, 1.5, r"from 0 to 1\.5, outside \[0,1\]; declare its range with victim\.value_range="),
        (-3, 2, r"from -3 to 2, outside \[0,1\]; declare its range"),
    ],
)
def test_answers_outside_the_range(tmp_path: Path, low: float, high: float, remedy: str) -> None:
    nodes = [node("Mul", ["x", "k"], ["z"]), node("Add", ["z", "m"], ["y"])]
    path = onnx_graph(tmp_path / "v.onnx", nodes, ["n", 1, 16, 16], k=high - low, m=low)
    x = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    with pytest.raises(UserError, match=remedy):
        Onnx(path, "cpu").translate(x)
    found = Onnx(path, "cpu", value_range=[[0, 1], [low, high]]).translate(x)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"outside victim\.value_range, \[2,3\]; declare what the"):
        Onnx(path, "cpu", value_range=[[0, 1], [2, 3]]).translate(x)


def test_rounding_beyond_the_range_is_clamped(tmp_path: Path) -> None:
    x = torch.ones(1, 1, 16, 16)
    for factor in (1 + 5e-7, 1 + 2e-6):
        path = onnx_graph(
            tmp_path / "v.onnx", [node("Mul", ["x", "k"], ["y"])], ["n", 1, 16, 16], k=factor
        )
        if factor < 1 + 1e-6:
            assert torch.equal(Onnx(path, "cpu").translate(x), x)
        else:
            with pytest.raises(UserError, match=r"outside \[0,1\]"):
                Onnx(path, "cpu").translate(x)


@pytest.mark.parametrize("value_range", ["[1,-1]", "[0,0]", "[0]", "[[0,1]]", "[[0,1],[1,0]]"])
def test_ranges_that_are_none(value_range: str) -> None:
    path = "mia_lab.victims.external.Onnx"
    settings = {"_target_": path, "checkpoint": "v.onnx", "value_range": json.loads(value_range)}
    with pytest.raises(UserError, match=r"^victim\.value_range=.*must be"):
        Component.of("victim", settings)


def test_conversions_are_reported(
    tmp_path: Path, x: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mia_lab")
    path = onnx_graph(tmp_path / "v.onnx", [node("Identity", ["x"], ["y"])], ["n", 32, 32, 3])
    scripted = script(Plain().eval(), tmp_path / "v.pt", x[:2])
    Exported(scripted, "cpu")
    assert "takes" not in caplog.text
    Exported(scripted, "cpu", value_range=[[0, 255], [0, 1]])
    assert "takes float32 NCHW in [0,255] and gives numbers NCHW in [0,1]" in caplog.text
    Onnx(path, "cpu", value_range=[[0, 1], [-1, 1]])
    assert "takes float32 NHWC in [0,1] and gives float32 NHWC in [-1,1]" in caplog.text
