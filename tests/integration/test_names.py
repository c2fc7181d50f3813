"""Folders with special characters in their names, through the real command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import Command

NAME = 'Straße 5% (neu), #1=ä\'s [x] {y} "z" ${a} & b'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / NAME
    (root / "train").mkdir(parents=True)
    for i in range(13):
        noise = np.random.default_rng(i).integers(0, 256, (32, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "train" / f"{i}.png")
    return root


def quoted(text: str) -> str:
    """In quotes for Hydra, as the user would write it within single quotes of the shell."""
    escaped = text.replace('"', r"\"").replace("${", r"\${")
    return f'"{escaped}"'


def test_the_command_of_a_report_runs_again(command: Command, folder: Path) -> None:
    root = f"data.root={quoted(str(folder))}"
    asked = ("+experiment=tiny", "data=custom", root, "paths.outputs=aus=gabe (ß) %s {x}")
    ran = command(*asked)
    assert ran.code == 0, ran.err
    (run,) = (command.folder / "aus=gabe (ß) %s {x}/runs").glob("*/*")
    typed = json.loads((run / "metrics.json").read_text())["command"]
    python, _, _, *arguments = shlex.split(typed)
    assert python == "python"
    again = command(*arguments)
    assert again.code == 0, again.err
    assert "computing" not in again.err


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "local"])
def test_points_of_a_sweep(command: Command, folder: Path, launcher: str) -> None:
    root = f"data.root={quoted(str(folder))},{quoted(str(folder.parent / 'gone=1, 2'))}"
    out = "paths.outputs=aus=gabe (ß) %s {x}"
    asked = ("-m", "+experiment=tiny", "data=custom", "until=split", root, out)
    ran = command(*asked, f"hydra/launcher={launcher}")
    assert "2 points: 1 done, 1 failed" in ran.out
    assert "gone=1, 2: no such folder" in ran.out
