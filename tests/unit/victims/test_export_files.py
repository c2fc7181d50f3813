"""Writing programs: whole files, of one content, for batches of any size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from mia_lab.errors import UserError
from mia_lab.victims.export import to_onnx, to_pt2

Write = Callable[[nn.Module, Tensor, Path], None]


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid()).eval()


@pytest.fixture
def example() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("write", [to_pt2, to_onnx])
def test_one_whole_file_without_a_word(
    tmp_path: Path, module: nn.Module, example: Tensor, write: Write,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "folder" / "victim"
    write(module, example, path)
    assert list(path.parent.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")
    first = path.read_bytes()
    write(module, example, path)
    assert path.stat().st_size == len(first)


def test_batches_of_any_size(tmp_path: Path, module: nn.Module, example: Tensor) -> None:
    to_pt2(module, example, tmp_path / "v.pt2")
    program = torch.export.load(tmp_path / "v.pt2").module()
    for n in (1, 3):
        x = torch.cat([example, example])[:n]
        torch.testing.assert_close(program(x), module(x), rtol=0, atol=1e-6)
    to_onnx(module, example, tmp_path / "v.onnx")
    (given,) = onnx.load(tmp_path / "v.onnx", load_external_data=False).graph.input
    sizes = given.type.tensor_type.shape.dim
    assert [d.dim_value for d in sizes] == [0, 3, 16, 16]
    assert sizes[0].dim_param


@pytest.mark.parametrize("write", [to_pt2, to_onnx])
def test_a_module_that_cannot_be_exported_leaves_nothing(
    tmp_path: Path, example: Tensor, write: Write
) -> None:
    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.mean() > 0.5 else 1 - x

    with pytest.raises(Exception, match="data-dependent"):
        write(Undecided().eval(), example, tmp_path / "victim")
    assert not list(tmp_path.iterdir())


def test_without_the_packages(
    tmp_path: Path, module: nn.Module, example: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'mia_lab\[onnx\]'"):
        to_onnx(module, example, tmp_path / "v.onnx")
