"""Running the real command in a folder of its own."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hydra import compose, initialize_config_dir

from mia_lab.cli import main
from mia_lab.config.compose import CONF, register_resolvers
from mia_lab.config.load import parse
from mia_lab.config.schema import Config

TEST_CONF = Path(__file__).parent / "conf"


def composed(*overrides: str) -> Config:
    """The configuration a command line composes, typed but not checked."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse(compose("config", list(overrides)))


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
    """``python -m mia_lab`` in an empty folder: in this process, or in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = TEST_CONF
        self.environment: dict[str, str] = {}

    @property
    def computed(self) -> Counter[str]:
        """How often each stage was computed, as the store's log tells."""
        log = self.folder / "outputs/store/log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        events = [json.loads(line) for line in lines]
        return Counter(e["stage"] for e in events if e["event"] == "computed")

    def scores(self, column: str) -> np.ndarray:
        """A column of the newest audit's ``scores.csv``."""
        with (self.folder / "outputs/latest/scores.csv").open(newline="") as file:
            return np.array([float(row[column]) for row in csv.DictReader(file)])

    def __call__(self, *arguments: str) -> Ran:
        """Run the real entry point here: the same code, without a second import of torch."""
        out, err, handlers = io.StringIO(), io.StringIO(), [*logging.root.handlers]
        with ExitStack() as stack:
            stack.enter_context(patch.dict(os.environ, self._environment(), clear=True))
            stack.enter_context(patch.object(sys, "argv", ["mia_lab", *self._arguments(arguments)]))
            stack.enter_context(contextlib.chdir(self.folder))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            code: object = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
            except Exception:
                code = 1
                traceback.print_exc()
            finally:
                logging.shutdown()
                logging.root.handlers[:] = handlers  # the command's write to a folder that goes
        if isinstance(code, str):
            print(code, file=err)
        return Ran(
            code if isinstance(code, int) else 1, out.getvalue(), err.getvalue(), self.folder
        )

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "mia_lab", *self._arguments(arguments)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def alone(self, *arguments: str, timeout: float = 300) -> Ran:
        """Run in a process of its own."""
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=timeout)
        return Ran(process.returncode, out, err, self.folder)

    def imports(self, *arguments: str) -> tuple[set[str], str]:
        """Which top-level packages a command imports, and what it prints; no test configuration."""
        ran = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "mia_lab", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(re.findall(r"\| +(\w+)$", ran.stderr, re.MULTILINE)), ran.stdout

    def _arguments(self, arguments: Sequence[str]) -> list[str]:
        return ["--config-dir", str(self.conf), *arguments]

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k != "MIA_LAB_DATA"}
        return {**inherited, "OMP_NUM_THREADS": "1", **self.environment}
