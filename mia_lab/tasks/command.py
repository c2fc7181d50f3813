"""The command of a run, and how long its parts took."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


class Clock:
    """Seconds spent in each named part of a task."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - start, 3)


def command_line() -> str:
    """The command as typed, or as a sweep composed it for this point, as a shell reads it."""
    if not HydraConfig.initialized():
        return ""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task)  # as it is, with \${ in it
    assert isinstance(typed, list)
    return shlex.join(["python", "-m", "mia_lab", *map(str, typed)])
