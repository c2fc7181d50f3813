"""An audit's result survives the disk to the last bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audits import make_adjustment, make_audit, make_grid
from mia_lab.evaluation.results import (
    AnswersCurve,
    AuditResult,
    EpsilonBound,
    EpsilonBounds,
    Normality,
    Slice,
    Utility,
)
from mia_lab.evaluation.stored import load_result, save_result
from mia_lab.types import PrivacyClaim


@pytest.fixture(scope="module")
def full() -> AuditResult:
    """A result without a single empty field."""
    found = make_audit(groups=True).result
    quantiles = np.sort(np.random.default_rng(3).normal(size=7))
    bound = EpsilonBound(0.1 + 0.2, "it is private", "holds", "fixed", 40, 20, 17, 1e-5)
    epsilon = EpsilonBounds(bound, dataclasses.replace(bound, value=0.7))
    decisions = {
        name: dataclasses.replace(quality, epsilon=epsilon)
        for name, quality in found.decisions.items()
    }
    return dataclasses.replace(
        found,
        difficulty=np.append(found.difficulty[:-1], np.inf),
        normality=Normality(7, 1 / 3, -0.1, 2e-17, quantiles, quantiles**3),
        claim=PrivacyClaim(3.0, 1e-5, 1.1, 0.01, 100),
        utility=Utility(40, 0.1, 0.8, 12.5),
        decisions=decisions,
        slices=(*found.slices, Slice("group", "city-9", "membership", 3, 0, None)),
        grid=make_grid(),
        answers=(AnswersCurve("least error", np.arange(1, 4), *np.full((3, 3), 0.7)),),
        adjustment=make_adjustment(),
    )


def assert_same(first: Any, second: Any) -> None:
    if dataclasses.is_dataclass(first):
        assert type(first) is type(second)
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, np.ndarray):
        assert first.dtype.kind == second.dtype.kind
        assert first.shape == second.shape
        if first.dtype.kind != "U":
            assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, tuple):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_same(*pair)
    else:
        assert type(first) is type(second)
        assert first == second


def test_a_stored_result_is_the_same_result(full: AuditResult, tmp_path: Path) -> None:
    for field in dataclasses.fields(full):
        value = getattr(full, field.name)
        assert value is not None
        assert not hasattr(value, "__len__") or len(value)
    save_result(tmp_path, full)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert_same(load_result(tmp_path, AuditResult), full)


def test_absent_parts_stay_absent(tmp_path: Path) -> None:
    bare = dataclasses.replace(make_audit().result, alpha_curve=None, comparisons=())
    save_result(tmp_path, bare)
    assert_same(load_result(tmp_path, AuditResult), bare)


def test_a_damaged_file_is_refused(full: AuditResult, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_result(tmp_path, AuditResult)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match="alpha"):
        load_result(tmp_path, AuditResult)
