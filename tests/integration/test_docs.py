"""The code of the documentation does what its pages say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pages import ROOT, PageRun, blocks
from reader import served, write_files
from support import Command

RUN = {"bash", "python"}
PAGES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if not {"_build", "project", "studies"} & set(path.relative_to(ROOT).parts)
    and RUN & {block.language for block in blocks(path)}
)


SHORT = {"CONTRIBUTING.md", "http.md", "wandb.md", "release_gate.md", "scores.md"}
"""Pages whose commands take some seconds together; the tests of the others are slow ones."""


def marked(page: Path) -> object:
    marks = [] if page.name in SHORT else [pytest.mark.slow]
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


def test_commands_of_the_front_page_compose(command: Command) -> None:
    """They train for a minute, small as they are: the slow test below runs them."""
    PageRun(ROOT / "README.md", command, 0, command.folder).compose()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for all pages and all worker processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "store"


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_page(page: Path, command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    write_files(command.folder, text)
    with served(text, monkeypatch) as port:
        PageRun(page, command, port, store).run()
