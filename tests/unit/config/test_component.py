"""Settings of components: checked against signatures, and what a component is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Le

from mia_lab.config.component import Component
from mia_lab.errors import UserError
from mia_lab.parameters import RUNTIME, File, Positive, PositiveInt

HERE = __name__


class Thing:
    version: ClassVar[int] = 3

    def __init__(
        self,
        width: PositiveInt,
        share: Annotated[float, Ge(0), Le(1)] = 1,
        kind: Literal["small", "large"] = "small",
        weights: File | None = None,
        epochs: Sequence[int] = (),
        ridge: Positive | Literal["auto"] = 1.0,
        workers: Annotated[PositiveInt | None, RUNTIME] = None,
        inner: Any = None,
    ) -> None:
        if width == 13:
            raise UserError("victim.width=13: brings bad luck")
        if width == 14:
            raise RuntimeError("no\nmemory")
        self.width, self.share, self.inner = width, share, inner


def plain(a, b=2):  # type: ignore[no-untyped-def]
    return a, b


class Greedy:
    def __init__(self, a: int = 1, **more: Any) -> None:
        self.more = more


def thing(**settings: Any) -> Component:
    return Component.of("victim", {"_target_": f"{HERE}.Thing", "width": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "victim.width=0: must be at least 1"),
        ({"width": "wide"}, "victim.width=wide: must be a whole number"),
        ({"width": 2.0}, "victim.width=2.0: must be a whole number"),
        ({"width": True}, "victim.width=true: must be a whole number"),
        ({"width": None}, "victim.width=null: must be a whole number"),
        ({"share": 1.5}, "victim.share=1.5: must be at most 1"),
        ({"share": float("nan")}, "victim.share=nan: must be a finite number"),
        ({"share": float("inf")}, "victim.share=inf: must be a finite number"),
        ({"kind": "tiny"}, "victim.kind=tiny: must be one of small, large"),
        ({"epochs": 3}, r"victim.epochs=3: must be a list, such as \[3\]"),
        ({"epochs": [1, "x"]}, r"victim.epochs=\[1, x\]: x must be a whole number"),
        ({"ridge": 0}, "victim.ridge=0: must be above 0 or auto"),
        ({"ridge": "least"}, "victim.ridge=least: must be a number or auto"),
        ({"widht": 1}, "victim.widht: unknown key; there are epochs, .*; did you mean .width.[?]"),
        (
            {"_target_": f"{HERE}.Absent"},
            f"victim._target_={HERE}.Absent: cannot be imported: {HERE} has no Absent$",
        ),
        ({"_target_": f"{HERE}.Gredy"}, f".*: {HERE} has no Gredy; did you mean .Greedy.[?]$"),
        (
            {"_target_": "mia_lab.victms.pix2pix.Pix2Pix"},
            ".*: mia_lab has no victms; did you mean .victims.[?]$",
        ),
        (
            {"_target_": "mia_lab.victims.limit.MAX"},
            ".*: mia_lab.victims has no limit; did you mean .limits.[?]$",
        ),
        (
            {"_target_": "gone.models.Model"},
            "victim._target_=gone.models.Model: cannot be imported: there is no module gone; add "
            "the folder that holds it to PYTHONPATH: export PYTHONPATH=FOLDER$",
        ),
        ({"_target_": "Model"}, "victim._target_=Model: cannot be imported: write module.Name$"),
        ({"_target_": None}, "victim._target_: no value given"),
        ({"inner": {"_target_": f"{HERE}.Thing"}}, "victim.inner.width: no value given; add"),
    ],
)
def test_settings_are_checked_against_the_signature(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        thing(**settings)
    assert "\n" not in str(caught.value)


def test_arguments_are_complete_and_names_are_none() -> None:
    found = thing(name="my thing", share=0)
    assert found.name == "my thing"
    assert found.arguments == {
        "width": 2,
        "share": 0.0,
        "kind": "small",
        "weights": None,
        "epochs": [],
        "ridge": 1.0,
        "workers": None,
        "inner": None,
    }
    assert Component.of("x", found.node()).arguments == found.arguments
    assert isinstance(found.build(), Thing)


def test_parameters_without_annotation_take_anything() -> None:
    node = {"_target_": f"{HERE}.plain", "a": {"b": [1]}}
    assert Component.of("x", node).build() == ({"b": [1]}, 2)
    assert Component.of("x", {**node, "_partial_": True}).build()(b=3) == ({"b": [1]}, 3)
    with pytest.raises(UserError, match=r"x\.c: unknown key; there are a, b"):
        Component.of("x", {**node, "c": 1})
    assert Component.of("x", {"_target_": f"{HERE}.Greedy", "b": 1}).build().more == {"b": 1}
    blur = Component.of("x", {"_target_": "PIL.ImageFilter.GaussianBlur", "radius": 3})
    assert blur.build().radius == 3


def test_provided_parameters_come_when_it_is_built() -> None:
    node = {"_target_": f"{HERE}.Thing"}
    found = Component.of("victim", node, provided=["width"])
    assert "width" not in found.arguments
    assert found.build(width=5).width == 5
    assert found.replace(share=0.5).build(width=4).share == 0.5
    with pytest.raises(UserError, match=r"victim\.share=2: must be at most 1"):
        found.replace(share=2)


def test_nested_components_are_built_first() -> None:
    assert thing(inner={"_target_": f"{HERE}.Thing", "width": 7}).build().inner.width == 7


def test_errors_of_constructors_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^victim.width=13: brings bad luck$"):
        thing(width=13).build()
    with pytest.raises(UserError, match=r"^victim \(.*Thing\): cannot be built: no memory$"):
        thing(width=14).build()


def test_the_fingerprint_is_what_decides_numbers(tmp_path: Path) -> None:
    same = thing().fingerprint()
    assert same == thing(share=1.0, ridge=1, workers=4, name="other", kind="small").fingerprint()
    assert same["version"] == 3
    assert same != thing(share=0.5).fingerprint()
    assert same != thing(inner={"_target_": f"{HERE}.Thing", "width": 1}).fingerprint()

    weights = tmp_path / "weights"
    weights.write_text("1")
    first = thing(weights=str(weights)).fingerprint()
    weights.rename(tmp_path / "moved")
    assert thing(weights=str(tmp_path / "moved")).fingerprint() == first
    (tmp_path / "moved").write_text("22")
    assert thing(weights=str(tmp_path / "moved")).fingerprint() != first


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "my_component.py"
    path.write_text("def ratio(floor=0.1, table='x'):\n    return floor\n")
    monkeypatch.delitem(sys.modules, "my_component", raising=False)
    yield path
    sys.modules.pop("my_component", None)


def test_a_foreign_component_counts_by_its_source_and_files(mine: Path) -> None:
    node = {"_target_": "my_component.ratio"}
    first = Component.of("x", node).fingerprint()
    table = mine.with_name("table.csv")
    table.write_text("1")
    with_file = Component.of("x", {**node, "table": str(table)}).fingerprint()
    table.write_text("12")
    assert Component.of("x", {**node, "table": str(table)}).fingerprint() != with_file

    mine.write_text(mine.read_text().replace("return floor", "return 2 * floor"))
    module: ModuleType = importlib.import_module("my_component")
    importlib.reload(module)
    assert Component.of("x", node).fingerprint() != first
