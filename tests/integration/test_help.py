"""``--help``: every task and group with its choices, and examples that can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mia_lab.cli import CONF
from mia_lab.config.choices import Task
from mia_lab.config.overrides import hydra_arguments
from support import Command, composed

TEMPLATES = Path(__file__).parents[2] / "experiments/templates/conf"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    ran = Command(tmp_path_factory.mktemp("help"))("--help")
    assert ran.code == 0, ran.err
    return ran.out


def test_no_argument_is_a_call_for_help(command: Command, text: str) -> None:
    modules, out = command.imports()
    assert "torch" not in modules
    assert out == text.replace(", tiny, tiny_diffusion, tiny_private", "")  # of the tests
    assert [*command.folder.iterdir()] == []


def test_every_task_is_explained(text: str) -> None:
    for task in Task:
        assert re.search(rf"^  {task.value} +\w", text, re.MULTILINE)


def test_every_choice_is_listed(text: str) -> None:
    parts = re.split(r"^  \+?(\S+)  ", text, flags=re.MULTILINE)
    words = dict(zip(parts[1::2], parts[2::2], strict=True))
    internal = {"job_logging", "hydra_logging", "sweeper", "help"}
    files = [p for p in CONF.rglob("*/*.yaml") if p.parent.name not in internal]
    assert len(files) > 40
    for file in files:
        listed = re.findall(r"\w+", words[str(file.parent.relative_to(CONF))])
        assert (file.stem in listed) is not file.stem.startswith("_")


def test_further_choices_and_chosen_ones_are_listed(command: Command) -> None:
    command.conf = TEMPLATES
    out = command("--help", "victim=onnx").out
    assert re.search(r"my_black_box,\s+my_trained_victim,\s+\[onnx\],", out)


def test_the_help_fits_a_terminal(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 100


def test_the_examples_compose(text: str) -> None:
    examples = text.split("Examples:")[1].replace("\\\n", " ")
    lines = re.findall(r"python -m mia_lab (.*)", examples)
    assert len(lines) >= 4
    for line in lines:
        arguments = hydra_arguments(shlex.split(line))
        plain = [a for a in arguments if a not in ("-m", "hydra/launcher=local", "seed=1,2,3")]
        composed(*plain)


def test_options_that_name_nothing(command: Command) -> None:
    assert "--config-name gone: no such configuration" in command("--config-name", "gone").error
    command.conf = Path("gone")
    assert "gone: no such folder" in command("seed=1").error


def test_only_launchers_are_proposed(command: Command) -> None:
    ran = command("-m", "hydra/launcher=locl", "seed=1")
    assert 'did you mean "local"?' in ran.error
    assert "slurm_settings" not in ran.error
