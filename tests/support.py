"""Running the real command in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from mia_lab.cli import CONF, prepare
from mia_lab.config import build
from mia_lab.config.schema import Config

TEST_CONF = Path(__file__).parent / "conf"


def composed(*overrides: str) -> Config:
    """The configuration a command line composes, typed but not validated."""
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build.typed(compose("config", list(overrides)))


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def error(self) -> str:
        """The one line of an expected failure; fails the test if there was anything else."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.code != 0, self.out
        assert "Traceback" not in self.err, self.err
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:], self.err
        return errors[0]

    @property
    def metrics(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return json.loads((self.folder / "outputs/latest/metrics.json").read_text())


class Command:
    """``python -m mia_lab`` in a subprocess, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = TEST_CONF
        self.environment = {k: v for k, v in os.environ.items() if k != "MIA_LAB_DATA"}
        self.environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mia_lab", "--config-dir", str(self.conf), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, timeout: float = 300) -> Ran:
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=timeout)
        return Ran(process.returncode, out, err, self.folder)
