"""The record of a run: which software computed each of its stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from made_stages import MadeStage
from mia_lab.store import Store
from mia_lab.store import software as installed
from mia_lab.tasks.records import software_record

VICTIM = MadeStage("victim")
VERDICT = MadeStage("verdict", reads=(VICTIM,))


def test_one_value_where_all_agree(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.folder(VERDICT)
        assert software_record(store, [VERDICT]) == installed.software()


def test_stages_name_what_computed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what is installed when their results are read."""
    older = replace(VERDICT, given={"a": 1})
    monkeypatch.setattr(installed, "version", lambda name: "1")
    with Store(tmp_path) as store:
        store.folder(VICTIM)
    monkeypatch.setattr(installed, "version", lambda name: "2" if name == "torch" else "1")
    with Store(tmp_path) as store:
        store.folder(VERDICT)
        store.folder(older)
    monkeypatch.setattr(installed, "version", lambda name: "" if name == "timm" else "1")
    with Store(tmp_path) as store:
        found = software_record(store, [VERDICT])
        assert (found["torch"], found["numpy"], "timm" in found) == ("1", "1", False)
        assert found["computed earlier"] == "victim: timm 1; verdict: torch 2, timm 1"
        several = software_record(store, [VERDICT, older])
        assert several["computed earlier"].endswith("; 2 verdict: torch 2, timm 1")
    # A stage that was pruned is not known.
    with Store(tmp_path) as store:
        for entry in [e for e in store.entries() if e.stage == "victim"]:
            assert store.remove(entry)
        assert software_record(store, [VERDICT])["computed earlier"] == "verdict: torch 2, timm 1"
