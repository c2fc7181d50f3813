"""Stored results stay valid: code changes raise a version, docstrings and comments do not."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path

import pytest

import versions
from mia_lab.config import component as components
from mia_lab.config.component import Component
from mia_lab.config.signature import signature_of


def test_versions_are_those_of_the_recorded_code() -> None:
    recorded = json.loads(versions.RECORD.read_text())
    found = versions.mistakes(recorded, versions.current())
    assert not found, "\n".join([*found, "record: python tests/versions.py"])


def test_each_mistake_is_named() -> None:
    recorded = {
        "a": {"version": 1, "code": "x"},
        "b": {"version": 1, "code": "x"},
        "c": {"version": 1, "code": "x"},
        "d": {"version": 1, "code": "x"},
    }
    found = {
        "a": {"version": 1, "code": "x"},
        "b": {"version": 1, "code": "y"},
        "c": {"version": 2, "code": "y"},
        "e": {"version": 1, "code": "x"},
    }
    assert [line.split(";")[0] for line in versions.mistakes(recorded, found)] == [
        "b: its code changed, its version 1 did not",
        "c: has version 2",
        "d: is gone",
        "e: is new",
    ]


def test_docstrings_and_comments_are_no_code() -> None:
    source = '"""Doc."""\nX = 1\n"""About X."""\ndef f(a):\n    """Doc."""\n    return a  # why\n'
    same = versions.tree_sha256("X = 1\n\ndef f(a):\n    return a")
    assert versions.tree_sha256(source) == same
    assert versions.tree_sha256(source.replace("return a", "return 2 * a")) != same
    assert versions.tree_sha256(source.replace("X = 1", "X = 2")) != same
    assert versions.tree_sha256(source.replace("X = 1", "X = '1'")) != same


@pytest.mark.parametrize("path", sorted((versions.ROOT / "mia_lab").rglob("*.py")), ids=str)
def test_a_comment_changes_no_module(path: Path) -> None:
    source = path.read_text()
    more = source + '\n# a remark\n"""A docstring."""\n'
    assert versions.tree_sha256(more) == versions.tree_sha256(source)
    assert versions.tree_sha256(f"{source}\nremark = 1\n") != versions.tree_sha256(source)


def test_imports_are_followed() -> None:
    found = versions.closure("mia_lab.victims.pix2pix")
    assert {"mia_lab.victims.gan", "mia_lab.victims.losses", "mia_lab.seeding"} <= found
    assert not [name for name in found if name.split(".")[1] in versions.LEFT_OUT]
    generated = versions.closure("mia_lab.data.procedural.source")
    assert "mia_lab.data.procedural.facades" in generated  # found by its name
    verdict = versions.closure("mia_lab.stages.verdict")
    assert {"mia_lab.stages.attack", "mia_lab.evaluation.roc"} <= verdict


def test_all_stages_are_versioned() -> None:
    names = {pkgutil.resolve_name(target).name for target in versions.stages()}
    assert {"split", "victim", "reconstructions", "difficulty", "blind", "verdict"} <= names


@pytest.mark.parametrize("target", versions.components())
def test_no_fingerprint_reads_source_code(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> str:
        raise AssertionError("a fingerprint that hangs on every comment")

    monkeypatch.setattr(components, "source_sha256", refuse)
    kind = Component.of("x", {"_target_": target}, provided=_parameters(target))
    found = kind.fingerprint()
    assert found.keys() == {"target", "arguments", "version"}
    json.dumps(found, allow_nan=False)


def _parameters(target: str) -> list[str]:
    return [*signature_of(pkgutil.resolve_name(target)).parameters]
