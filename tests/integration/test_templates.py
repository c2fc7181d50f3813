"""The templates of docs/extend.md work as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import Command, Ran

TEMPLATES = Path(__file__).parents[2] / "experiments" / "templates"


ERRORS = ("attack.names=[reconstruction]", "difficulty=none")
"""Of an audit that measures errors alone."""


@pytest.fixture
def templates(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    command.conf = TEMPLATES / "conf"
    monkeypatch.syspath_prepend(str(TEMPLATES))
    return command


def run(command: Command, *arguments: str) -> Ran:
    small = ("data.image_size=32", "data.n_members=6", "data.n_nonmembers=6", "trainer.threads=1")
    quick = ("evaluation.permutations=20", "report.pictures=false", "tracking.mode=disabled")
    return command("data=my_dataset", *small, *quick, *arguments)


def test_dataset_and_attack_around_pix2pix(templates: Command) -> None:
    tiny = ("victim.width=4", "victim.discriminator_width=4", "victim.epochs=1")
    ran = run(templates, "attack=my_attack", *tiny)
    assert list(ran.metrics["attacks"]) == ["reconstruction", "membership", "ratio"]
    header, *rows = (ran.folder / "outputs/latest/scores.csv").read_text().splitlines()
    error, difficulty, ratio = (
        np.array([float(row.split(",")[header.split(",").index(c)]) for row in rows])
        for c in ("reconstruction_error", "difficulty", "ratio_error")
    )
    np.testing.assert_allclose(ratio, error / np.maximum(difficulty, 1e-3))


def test_trained_victim(templates: Command) -> None:
    asked = ("victim=my_trained_victim", "victim.epochs=2", *ERRORS)
    ran = run(templates, *asked)
    assert ran.metrics["name"] == "my_dataset_my_trained_victim"
    assert run(templates, *asked).err.count("computing") == 0


def test_black_box(templates: Command) -> None:
    refused = run(templates, "victim=my_black_box")
    assert "data.protocol=resplit draws new members" in refused.error
    asked = ("victim=my_black_box", "data.protocol=official", *ERRORS)
    ran = run(templates, *asked)
    assert ran.metrics["n_members"] == 6
    scores = ran.folder / "outputs" / "latest" / "scores.csv"
    before = scores.read_text()
    ran = run(templates, *asked, "victim.brightness=1")
    assert ran.code == 0
    assert scores.read_text() != before


def test_difficulty_and_defense(templates: Command) -> None:
    tiny = ("victim.width=4", "victim.discriminator_width=4", "victim.epochs=1")
    mine = ("difficulty=my_difficulty", "defense=my_defense")
    ran = run(templates, "attack.names=[reconstruction,adaptive,membership]", *mine, *tiny)
    assert ran.code == 0, ran.err
    assert ran.metrics["utility"] is not None
    assert len(set(templates.scores("difficulty"))) == 12
    # A source that changes is another defence: who cannot know its version reads it.
    assert "my_defense" in ran.metrics["record"]["defense"]
