"""Fixtures of all tests."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import omegaconf.omegaconf
import pytest
import yaml

from mia_lab.data.procedural import source
from small_disk import SmallDisk
from support import Command


def pytest_configure() -> None:
    """Thousands of tests read the same files of ``conf/`` and the same generated pictures.

    Parsing costs a third of the time of a short command, and a picture 20 ms.
    """
    parsed: dict[str, Any] = {}

    def load(stream: Any, Loader: Any) -> Any:
        text = stream if isinstance(stream, str) else stream.read()
        if text not in parsed:
            try:
                parsed[text] = yaml.load(text, Loader)
            except yaml.YAMLError:  # again, for a message that names the file
                if stream is not text:
                    stream.seek(0)
                return yaml.load(stream, Loader)
        return copy.deepcopy(parsed[text])

    omegaconf.omegaconf.yaml = SimpleNamespace(**vars(yaml) | {"load": load})
    source.render = functools.lru_cache(maxsize=128)(source.render)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Sums over several threads differ in their last bits, and a test may have set their number."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real datasets, see docs/get_started.md."""
    root = os.environ.get("MIA_LAB_DATA")
    if not root:
        pytest.skip("MIA_LAB_DATA is not set: no real data to test on")
    return Path(root)


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny pipelines of diffusers, see :mod:`tiny_pipelines`; tests change copies."""
    from tiny_pipelines import save_pipelines  # diffusers takes seconds to import

    folder = tmp_path_factory.mktemp("pipelines")
    save_pipelines(folder)
    return folder
