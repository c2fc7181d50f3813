"""The program that the points of a sweep run, in a form that travels to other processes."""

from __future__ import annotations

import copy
import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.basecontainer import BaseContainer

from mia_lab.errors import UserError
from mia_lab.sweeps.point import Point

log = logging.getLogger(__name__)


class PointLostError(UserError):
    """A point ended without a result: killed, cancelled, or out of time."""


@dataclass(frozen=True)
class Program:
    """What runs a point in any process that can import the package.

    Attributes:
        config: the configuration of the sweep.
        context: Hydra's loader and callbacks.
        function: Hydra's task function.
        singletons: Hydra's global state.
    """

    config: DictConfig
    context: HydraContext
    function: TaskFunction
    singletons: dict[str, Any] = field(default_factory=Singleton.get_state)

    def compose(self, point: Point) -> DictConfig:
        """The complete configuration of a point, Hydra's own settings included.

        Raises:
            Exception: Hydra's, where the overrides do not compose.
        """
        overrides = list(point.overrides)
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config.hydra.job):
            config.hydra.job.num = point.number
        return config

    def enter(self) -> None:
        """Make Hydra's global state that of the command; once for each process."""
        Singleton.set_state(self.singletons)
        setup_globals()

    def run(self, point: Point, config: DictConfig) -> JobReturn:
        """Run a point in this process; an exception of the run becomes part of the result.

        Args:
            point: which one.
            config: from `compose`; stays as it is, for a job that is queued again.
        """
        config = copy.deepcopy(config)  # Hydra makes the one that it runs read-only
        with open_dict(config.hydra.job):
            config.hydra.job.id = os.environ.get("SLURM_JOB_ID", f"job_{point.number}")
        with _restored_process():
            done = run_job(
                task_function=self.function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=self.context,
            )
        if done.status is JobStatus.FAILED:
            _print_error(done._return_value)
        done.cfg = done.hydra_cfg = None  # the launcher reads how the run ended, nothing else
        return done


@contextmanager
def _restored_process() -> Iterator[None]:
    """Undo in the end what a point changed in its process, so that the next one starts equal."""
    environment, folder, threads = dict(os.environ), Path.cwd(), torch.get_num_threads()
    instances, resolvers = dict(Singleton._instances), dict(BaseContainer._resolvers)
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
        torch.set_num_threads(threads)
        Singleton._instances, BaseContainer._resolvers = instances, resolvers
        gc.collect()
        torch.cuda.empty_cache()  # for the other processes of the device


def _print_error(error: Exception) -> None:
    """Write the error into the point's log; the launcher shows one line of it."""
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def lost(point: Point, reason: str) -> JobReturn:
    """The outcome of a point that left no result."""
    done = JobReturn(overrides=list(filter_overrides(point.overrides)), status=JobStatus.FAILED)
    done.return_value = PointLostError(reason)
    return done


def exit_reason(code: int) -> str:
    """Describe an exit code of a process or of a shell."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "killed by signal 9 (too little memory?)"
    if 0 < number < signal.NSIG:
        return f"stopped by signal {number}"
    return f"ended with exit code {code}"
