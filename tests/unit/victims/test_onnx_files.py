"""ONNX models that keep tensors in other files: each counts by its content, wherever it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto
from onnx import helper as h

from mia_lab.config.component import Component
from mia_lab.errors import UserError
from mia_lab.victims.external import Onnx

SHAPE = ["n", 3, 8, 8]
X = 0.25 + 0.25 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ADD = h.make_node("Add", ["x", "w"], ["y"])
AS_CHANNELS = h.make_node("Reshape", ["v", "shape"], ["w"])
CHANNELS = h.make_tensor("shape", TensorProto.INT64, [4], [1, 3, 1, 1])


def external(name: str, location: str = "w.bin", **stated: object) -> TensorProto:
    """Three numbers in another file."""
    kind = stated.pop("kind", TensorProto.FLOAT)
    dims = stated.pop("dims", (1, 3, 1, 1))
    found = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **stated}.items():
        found.external_data.add(key=key, value=str(value))
    return found


def model(
    nodes: Sequence[NodeProto],
    tensors: Sequence[TensorProto] = (),
    sparse: Sequence[SparseTensorProto] = (),
    functions: Sequence[Any] = (),
) -> ModelProto:
    value = h.make_tensor_value_info
    graph = h.make_graph(
        nodes,
        "graph",
        [value("x", TensorProto.FLOAT, SHAPE)],
        [value("y", TensorProto.FLOAT, SHAPE)],
        initializer=tensors,
        sparse_initializer=sparse,
    )
    opsets = [h.make_opsetid("", 18), h.make_opsetid("own", 1)]
    return h.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


def initializer() -> ModelProto:
    return model([ADD], [external("w")])


def constant() -> ModelProto:
    return model([h.make_node("Constant", [], ["w"], value=external("w")), ADD])


def branch(*, as_constant: bool, depth: int) -> ModelProto:
    """A tensor in the branches of a node ``If``, which may be in branches of another one."""
    node = h.make_node("Constant", [], ["w"], value=external("w"))
    nodes, tensors = ([node, ADD], []) if as_constant else ([ADD], [external("w")])
    result = h.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)
    for level in range(depth):
        inner = h.make_graph(nodes, f"graph{level}", [], [result], initializer=tensors)
        yes = h.make_tensor(f"yes{level}", TensorProto.BOOL, [], [True])
        choice = h.make_node("If", [yes.name], ["y"], then_branch=inner, else_branch=inner)
        nodes, tensors = [choice], [yes]
    return model(nodes, tensors)


def function() -> ModelProto:
    nodes = [h.make_node("Constant", [], ["w"], value=external("w")), ADD]
    own = h.make_function("own", "Shift", ["x"], ["y"], nodes, [h.make_opsetid("", 18)])
    return model([h.make_node("Shift", ["x"], ["y"], domain="own")], functions=[own])


def sparse(*, as_constant: bool) -> ModelProto:
    places = h.make_tensor("places", TensorProto.INT64, [3], [0, 1, 2])
    found = SparseTensorProto(values=external("v", dims=(3,)), indices=places, dims=[3])
    if as_constant:
        node = h.make_node("Constant", [], ["v"], sparse_value=found)
        return model([node, AS_CHANNELS, ADD], [CHANNELS])
    return model([AS_CHANNELS, ADD], [CHANNELS], [found])


PLACES: dict[str, Callable[[], ModelProto]] = {
    "initializer": initializer,
    "constant": constant,
    "branch": lambda: branch(as_constant=False, depth=1),
    "constant of a branch": lambda: branch(as_constant=True, depth=1),
    "branch of a branch": lambda: branch(as_constant=False, depth=2),
    "function": function,
    "sparse initializer": lambda: sparse(as_constant=False),
    "sparse constant": lambda: sparse(as_constant=True),
}
NUMBERS = np.array([0.125, 0.25, 0.5], np.float32)


def shifted(numbers: np.ndarray) -> torch.Tensor:
    return X + torch.from_numpy(numbers).reshape(1, 3, 1, 1)


def fingerprint(path: Path) -> dict[str, Any]:
    node = {"_target_": "mia_lab.victims.external.Onnx", "checkpoint": str(path)}
    return Component.of("victim", node).fingerprint()


def written(folder: Path, content: ModelProto, numbers: np.ndarray = NUMBERS) -> Path:
    folder.mkdir(exist_ok=True)
    numbers.tofile(folder / "w.bin")
    (folder / "v.onnx").write_bytes(content.SerializeToString())
    return folder / "v.onnx"


@pytest.mark.parametrize("place", PLACES)
def test_a_changed_file_is_another_victim(tmp_path: Path, place: str) -> None:
    path = written(tmp_path / "model", PLACES[place]())
    before = fingerprint(path)
    victim = Onnx(str(path), "cpu", threads=1)
    torch.testing.assert_close(victim.translate(X), shifted(NUMBERS), rtol=0, atol=0)
    content = bytearray(NUMBERS.tobytes())
    content[3] ^= 0x80  # the sign of the first number
    (path.parent / "w.bin").write_bytes(content)  # in place, as rsync --inplace and cp write
    assert fingerprint(path) != before
    torch.testing.assert_close(victim.translate(X), shifted(NUMBERS), rtol=0, atol=0)
    changed = Onnx(str(path), "cpu", threads=1).translate(X)
    torch.testing.assert_close(changed, shifted(NUMBERS * [-1, 1, 1]).float(), rtol=0, atol=0)
    (path.parent / "w.bin").write_bytes(NUMBERS.tobytes())
    assert fingerprint(path) == before


def test_a_model_keeps_answering_when_its_weights_are_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path, initializer())
    victim = Onnx(str(path), "cpu", threads=1)
    (tmp_path / "w.bin").write_bytes(b"")  # a mapped file would end the process
    torch.testing.assert_close(victim.translate(X), shifted(NUMBERS), rtol=0, atol=0)


def test_where_the_files_are_does_not_count(tmp_path: Path) -> None:
    content = model([ADD], [external("w", "weights/w.bin")])
    found = []
    for name in ("a", "b"):
        path = written(tmp_path / name, content)
        (path.parent / "weights").mkdir()
        (path.parent / "w.bin").rename(path.parent / "weights/w.bin")
        found.append(fingerprint(path))
        answers = Onnx(str(path), "cpu", threads=1).translate(X)
        torch.testing.assert_close(answers, shifted(NUMBERS), rtol=0, atol=0)
    assert found[0] == found[1]
    assert list(found[0]["files"]) == ["weights/w.bin"]


def test_a_model_in_one_file_has_the_fingerprint_of_its_file_alone(tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(NUMBERS.reshape(1, 3, 1, 1), "w")
    path = written(tmp_path, model([ADD], [tensor]))
    assert fingerprint(path).keys() == {"target", "arguments", "version"}


def test_every_tensor_that_the_file_mentions_is_found(tmp_path: Path) -> None:
    """Also those that onnxruntime does not read, such as of a training."""
    content = model([h.make_node("Identity", ["x"], ["y"])])
    attribute = content.graph.node[0].attribute
    attribute.add(name="t", t=external("", "0"))
    attribute.add(name="ts", tensors=[external("", "1"), external("", "2")])
    attribute.add(name="s", sparse_tensor=SparseTensorProto(indices=external("", "3")))
    attribute.add(name="ss", sparse_tensors=[SparseTensorProto(values=external("", "4"))])
    inner = h.make_graph([], "inner", [], [], initializer=[external("", "5")])
    attribute.add(name="gs", graphs=[inner])
    content.training_info.add().initialization.initializer.append(external("", "6"))
    for number in range(7):
        NUMBERS.tofile(tmp_path / str(number))
    assert sorted(fingerprint(written(tmp_path, content))["files"]) == list("0123456")


@pytest.mark.parametrize("place", PLACES)
def test_files_outside_of_the_folder_are_refused(tmp_path: Path, place: str) -> None:
    secret = tmp_path / "w.bin"
    NUMBERS.tofile(secret)
    path = written(tmp_path / "model", PLACES[place]())
    (path.parent / "w.bin").unlink()
    (path.parent / "w.bin").symlink_to(secret)
    assert_refused(path, r"keeps weights in 'w\.bin', outside of its own folder; copy the file")


def test_a_cache_of_a_model_hub_links_both_files_to_one_folder(tmp_path: Path) -> None:
    (place, *_) = PLACES
    (tmp_path / "snapshots").mkdir()
    path = written(tmp_path / "snapshots/1", PLACES[place]())
    before = fingerprint(path)
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate((path, path.parent / "w.bin")):
        file.rename(tmp_path / f"blobs/{number}")
        file.symlink_to(f"../../blobs/{number}")
    assert fingerprint(path) == before


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"location": "../w.bin"}, r"keeps weights in '\.\./w\.bin', outside of its own folder"),
        ({"location": "inside/../../w.bin"}, "outside of its own folder"),
        ({"location": "{folder}/w.bin"}, "outside of its own folder"),
        ({"location": "*/_ORT_MEM_ADDR_/*"}, "outside of its own folder"),
        ({"location": "w\0.bin"}, "outside of its own folder"),
        ({"location": "none.bin"}, r"'none\.bin', which is no file; copy it there"),
        ({"location": ""}, "which is no file"),
        ({"location": "w" * 10**4}, r"\.\.\.', which is no file"),
        ({"location": "w.bin\n" * 10**4}, "outside of its own folder"),
        ({"location": "w.bin", "offset": "9" * 10**4}, r"from byte 9+\.\.\., 12 of them"),
        ({"location": "w.bin", "offset": 4}, "from byte 4, 12 of them, but it has 12; copy"),
        (
            {"location": "w.bin", "offset": 0, "length": 10**30},
            r"from byte 0, 10+\.\.\. of them, but it has 12",
        ),
        ({"location": "w.bin", "offset": -4}, "from byte -4, 12 of them"),
        ({"location": "w.bin", "offset": "many"}, "from byte many, 12 of them"),
        ({"location": "w.bin", "dims": (1, 3, 8, 8), "length": None}, r"cannot be read \(.*w"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, stated: dict[str, Any], message: str) -> None:
    stated = {"length": 12, **stated}
    stated["location"] = stated["location"].format(folder=tmp_path / "model")
    stated = {key: value for key, value in stated.items() if value is not None}
    NUMBERS.tofile(tmp_path / "w.bin")
    path = written(tmp_path / "model", model([ADD], [external("w", **stated)]))
    assert_refused(path, message)


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Onnx(str(path), "cpu")
    assert str(error.value).startswith(f"victim.checkpoint={path}: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000 + len(str(path))


def test_no_room_for_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, initializer())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    assert_refused(path, r"cannot be copied to .*\(No space left on device\); set TMPDIR")


def test_a_copy_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, temporary = written(tmp_path / "model", initializer()), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    victim = Onnx(str(path), "cpu", threads=1)
    assert not any(temporary.iterdir())
    torch.testing.assert_close(victim.translate(X), shifted(NUMBERS), rtol=0, atol=0)
