"""Damaged texts that runs and users leave behind give one line, or what another reader reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from audits import make_audit
from fuzzing import damaged_text, fuzz
from made_stages import MadeStage
from mia_lab.config.load import as_yaml, read_yaml
from mia_lab.data.csv_text import restored
from mia_lab.data.manifest import read_manifest, write_manifest
from mia_lab.difficulty.supervised import LABELS_FILE, Supervised
from mia_lab.errors import UserError
from mia_lab.evaluation.finished import FinishedRun, RunComparison
from mia_lab.evaluation.metrics_file import _METRICS
from mia_lab.reporting.comparison.words import text as comparison_text
from mia_lab.reporting.files import write_files
from mia_lab.reporting.labels import run_labels
from mia_lab.reporting.sweep.words import text as sweep_text
from mia_lab.store import Store
from mia_lab.store.manifest import MANIFEST, describe
from mia_lab.store.manifest import read_manifest as read_entry
from mia_lab.sweeps.point import NOTE, Point, State, result_sha256
from mia_lab.tasks.collect import _point, gather
from mia_lab.tasks.compare import paired_tests, read_run
from support import composed

AUDIT = make_audit(12)
STAGE = MadeStage("numbers", given={"a": 1, "b": [0.5, "text", None]})


def told(work: Callable[[], Any], path: Path) -> Any:
    """What a reader returns; None if it refuses, which it does in one line with the file's name."""
    try:
        return work()
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, message
        assert str(path) in message
        message.encode()
        return None


def number(content: Any) -> Any:
    """JSON with every number as a float, so that 1 and 1.0 are alike."""
    if isinstance(content, dict):
        return {key: number(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [number(value) for value in content]
    is_number = isinstance(content, int | float) and not isinstance(content, bool)
    return float(content) if is_number else content


def rows(content: bytes) -> list[dict[str, str]]:
    """A CSV by column, as Python's reader has it."""
    text = content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


class Runs:
    """Two finished runs and a sweep of them; files of the second are damaged."""

    FILES = ("metrics.json", "config.yaml", "scores.csv", "split.csv")

    def __init__(self, folder: Path) -> None:
        self.first, self.second = folder / "0", folder / "1"
        for path in (self.first, self.second):
            path.mkdir()
            write_files(AUDIT, (), path)
            write_manifest(path / "split.csv", AUDIT.split)
            (path / "config.yaml").write_text(as_yaml(composed(f"seed={path.name}")))
            point = Point(path, (f"seed={path.name}",), "key", State.DONE)
            replace(point, result=result_sha256(path)).write()
        self.whole = {name: (self.second / name).read_bytes() for name in (*self.FILES, NOTE)}
        self.intact = read_yaml(self.first / "config.yaml"), read_run(self.first, "0")

    def check(self, name: str, content: bytes) -> None:
        path = self.second / name
        path.write_bytes(content)
        try:
            if name != NOTE:
                self.compare(path, content)
            if name not in ("scores.csv", "split.csv"):
                self.collect(name)
        finally:
            path.write_bytes(self.whole[name])

    def compare(self, path: Path, content: bytes) -> None:
        """As ``task=compare`` reads them, up to the text that it prints."""

        def read() -> FinishedRun:
            folders = [self.first, self.second]
            config, first = self.intact
            labels, common = run_labels([config, read_yaml(self.second / "config.yaml")], folders)
            runs = (first, read_run(self.second, labels[1]))
            comparison_text(RunComparison("x", runs, common, paired_tests(runs), {}, {}, ""))
            return runs[1]

        # A file that contradicts another one of the run may be named, or the other.
        found = told(read, self.second)
        if found is None:
            return
        if path.name == "metrics.json":
            kept = number(_METRICS.dump_python(found.metrics))
            expected = number(json.loads(content))
            assert {key: expected[key] for key in kept} == kept
        elif path.name == "config.yaml":
            plain = yaml.safe_load(content)
            assert read_yaml(path) == {str(key): value for key, value in plain.items()}
        elif path.name == "split.csv":
            for column in ("id", "role", "group", "model", "content"):
                plain = [restored(row[column]) for row in rows(content)]
                assert np.array(plain).tolist() == getattr(found.split, column).tolist()
        else:
            for table in found.scores:
                error = {
                    restored(r["id"]): float(r[f"{table.attack}_error"]) for r in rows(content)
                }
                assert table.score.tolist() == [-error[i] for i in table.id.tolist()]

    def collect(self, name: str) -> None:
        """As ``task=collect`` reads them: a point that cannot be read is no obstacle."""
        point = _point(1, self.second)
        assert len(point.reason.splitlines()) <= 1
        if name != NOTE and point.metrics is not None and point.settings:
            sweep_text(gather(self.first.parent))


class Entry:
    """An entry of a store, whose manifest is damaged."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        with Store(self.root) as store:
            self.entry = store.folder(STAGE)
        self.whole = {MANIFEST: (self.entry / MANIFEST).read_bytes()}

    def check(self, name: str, content: bytes) -> None:
        path = self.entry / name
        path.write_bytes(content)
        found = told(lambda: read_entry(self.entry), path)
        with Store(self.root) as store:
            told(lambda: store.folder(STAGE), self.entry)
            store.software(STAGE)
        state = describe(self.entry).state
        if found is None:
            assert state == "damaged"
            return
        expected = json.loads(content)
        assert found | {"sha256": expected["sha256"]} == expected


class Labels:
    """The labels of ``difficulty=supervised``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for i in range(12):
            Image.new("RGB", (4, 4)).save(folder / f"{i}.png")
        lines = ["file,difficulty", *(f"{i}.png,{i / 7:.3f}" for i in range(12))]
        self.whole = {LABELS_FILE: "\n".join(lines).encode()}

    def check(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        found = told(lambda: Supervised(None, str(self.folder), 48), path)  # type: ignore[arg-type]
        if found is not None:
            plain = {self.folder / row["file"]: float(row["difficulty"]) for row in rows(content)}
            assert found._labels == plain


class Roles:
    """A manifest of roles and groups."""

    POOL = tuple(f"train/{i}" for i in range(12))

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = [f"{i},{'non' * (n % 2)}member,city-{n % 3}" for n, i in enumerate(self.POOL)]
        self.whole = {"roles.csv": "\n".join(["id,role,group", *lines]).encode()}

    def check(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.write_bytes(content)
        for unknown in (False, True):
            found = told(lambda unknown=unknown: read_manifest(path, self.POOL, unknown), path)
            if found is not None:
                plain = {row["id"]: row for row in rows(content)}
                for image_id, row in found.items():
                    assert row["role"] == (plain[image_id].get("role") or "candidate")
                    assert row.get("group", "") == restored(plain[image_id].get("group") or "")


TEXTS = (Runs, Entry, Labels, Roles)


def check(kind: type[Runs | Entry | Labels | Roles], folder: Path, n: int) -> None:
    made = kind(folder)
    fuzz(made.whole, n, made.check, swap=0.1, damage=damaged_text)


@pytest.mark.parametrize("kind", TEXTS)
def test_damaged_texts(tmp_path: Path, kind: type[Runs | Entry | Labels | Roles]) -> None:
    check(kind, tmp_path, 75)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEXTS)
def test_many_damaged_texts(tmp_path: Path, kind: type[Runs | Entry | Labels | Roles]) -> None:
    check(kind, tmp_path, 1250)
