"""Fixtures of all tests."""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import omegaconf.base
import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

from mia_lab.data.procedural import source
from small_disk import SmallDisk
from support import Command


def pytest_configure() -> None:
    """Thousands of tests read the same files of ``conf/`` and the same generated pictures.

    Without these caches most of the time of a short command is Hydra's, and a picture costs 20 ms.
    """
    Plugins.instance()  # registers the sources
    files = SourcesRegistry.instance().resolve("file")
    read, known = files.load_config, {}

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return read(self, config_path)
        key = self.provider, file, file.read_bytes()
        if key not in known:
            known[key] = pickle.dumps(read(self, config_path))
        return pickle.loads(known[key])

    compose_for_mode = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: Sequence[str]) -> Any:
        """Composing for `hydra.mode` alone takes as long as for the run, which asserts the mode."""
        if any(o.lstrip("+").startswith(("sweep", "hydra.mode")) for o in overrides):
            return compose_for_mode(self, config_name, [*overrides])
        return None

    files.load_config, Hydra.get_mode = load_config, get_mode  # type: ignore[method-assign]
    omegaconf.base.parse = functools.cache(omegaconf.base.parse)
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
