"""Audits of a pipeline of diffusers: the real command on a tiny pipeline."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from mia_lab.victims import pipelines as module
from support import Command
from tiny_pipelines import counting

MEMBERS, OTHERS = 5, 4
IMAGES = MEMBERS + OTHERS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all answers that the pipeline was asked for."""
    seeds: list[int] = []
    monkeypatch.setattr(module.Pipeline, "sample", counting(module.Pipeline.sample, seeds))
    return seeds


def manifest(folder: Path, prompts: bool = True, name: str = "roles.csv") -> str:
    """Members and others of the generated pictures; every image has a prompt of its own."""
    rows = []
    for number in range(IMAGES):
        row = {"id": f"train/{number:06d}", "role": "member" if number < MEMBERS else "nonmember"}
        if prompts:
            row["prompt"] = f"facade, number {'abcdefghi'[number]}"
        rows.append(row)
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / name)


def arguments(pipelines: Path, roles: str) -> tuple[str, ...]:
    return (
        *("data.image_size=32", "trainer=cpu", "trainer.threads=1", "tracking.mode=disabled"),
        *("victim=diffusers", f"victim.checkpoint={pipelines / 'pix2pix'}", "victim.steps=2"),
        *("data.protocol=manifest", f"data.manifest={roles}", "query.batch_size=2"),
        *("evaluation.permutations=20", "report.pictures=false", "difficulty=image_statistics"),
    )


def test_no_answer_is_asked_for_twice(
    command: Command, pipelines: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted audit goes on where it was, and further answers are asked for alone."""
    given = (*arguments(pipelines, manifest(command.folder)), "until=reconstructions")
    with monkeypatch.context() as interrupted:
        stopping = counting(module.Pipeline.sample, [], most=6)
        interrupted.setattr(module.Pipeline, "sample", stopping)
        ran = command(*given)
        assert ran.err.endswith("interrupted; the same command continues from the stored results\n")
    assert len(asked) == 6
    assert command(*given, "query.batch_size=3", "query.repeats=4").code == 0
    assert len(asked) == len(set(asked)) == 4 * IMAGES
    assert command(*given, "query.repeats=8").code == 0
    assert len(asked) == len(set(asked)) == 8 * IMAGES


def test_prompts_of_the_manifest_reach_the_victim_alone(
    command: Command, pipelines: Path, asked: list[int]
) -> None:
    roles = manifest(command.folder)
    given = arguments(pipelines, roles)
    assert command(*given).metrics
    own, before = command.scores("reconstruction_error"), command.computed
    # The manifest of a run repeats the run.
    again = manifest(command.folder, name="unused.csv")
    split = (command.folder / "outputs/latest/split.csv").read_text()
    Path(again).write_text(split)
    assert '"facade, number a"' in split
    assert command(*given, f"data.manifest={again}").metrics
    assert (command.scores("reconstruction_error") == own).all()
    assert len(asked) == IMAGES
    # Without prompts in the manifest, the stages that do not ask the victim are not repeated.
    bare = manifest(command.folder, prompts=False, name="bare.csv")
    between = command.computed
    assert command(*given, f"data.manifest={bare}", "victim.prompt=facade").metrics
    assert (command.scores("reconstruction_error") != own).all()
    repeated = command.computed - between
    assert {"victim", "reconstructions"} <= set(repeated)
    assert not {"split", "difficulty", "pooled", "features", "blind"} & set(repeated)
    assert before["split"] == 1
    assert {"split", "difficulty", "pooled", "blind"} <= set(before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("victim.prompt=night",), "victim.prompt gives one prompt for all images, and the column"),
        (("victim.strenght=0.5",), 'did you mean "strength"?'),
        (("data.image_size=33",), "set data.image_size=32"),
    ],
)
def test_settings_are_refused_before_a_query(
    command: Command, pipelines: Path, asked: list[int], settings: tuple[str, ...], message: str
) -> None:
    given = arguments(pipelines, manifest(command.folder))
    assert message in command(*given, *settings).error
    assert not asked


def test_a_prompt_is_missing(command: Command, pipelines: Path, asked: list[int]) -> None:
    given = arguments(pipelines, manifest(command.folder, prompts=False))
    error = command(*given).error
    assert "set victim.prompt=TEXT for all images, or give data.manifest a column prompt" in error
    assert not asked


def test_a_change_of_any_file_is_another_victim(
    command: Command, pipelines: Path, tmp_path: Path, asked: list[int]
) -> None:
    copy = Path(shutil.copytree(pipelines / "pix2pix", tmp_path / "copy"))
    given = (*arguments(pipelines, manifest(command.folder)), "until=reconstructions")
    assert command(*given).code == 0
    assert command(*given, f"victim.checkpoint={copy}").code == 0
    assert len(asked) == IMAGES  # the content counts, and not the name
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    assert command(*given, f"victim.checkpoint={copy}").code == 0
    assert len(asked) == 2 * IMAGES


def test_other_victims_do_not_read_prompts(command: Command, pipelines: Path) -> None:
    roles = manifest(command.folder)
    given = ("data.image_size=32", "data.protocol=manifest", "tracking.mode=disabled")
    (command.folder / "answers").mkdir()
    ran = command(
        *given, f"data.manifest={roles}", "victim=outputs", "victim.folder=answers", "until=split"
    )
    assert "victim=outputs takes no prompts, so that the column prompt" in ran.err
