"""What Hydra takes from packages named so and from nowhere else; the code is in ``mia_lab``.

Hydra imports this at every start: whatever is heavy is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from mia_lab.sweeps.local import Job


def _point(overrides: Sequence[str], place: int) -> int:
    """The number of a job's point, which is the name of its folder, or its place among the jobs."""
    told = dict(override.partition("=")[::2] for override in overrides)
    number = str(told.get("hydra.sweep.subdir", "")).strip("'")
    return int(number) if number.isdecimal() else place


class _JobLauncher(Launcher):
    """Makes jobs that run in any process; where, its heirs know."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters: dict[str, Any] = {
            k: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v
            for k, v in parameters.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from mia_lab.sweeps.local import Job

        shared = self.config, self.context, self.function
        return self.run(
            [
                Job(_point(overrides, place), tuple(overrides), *shared)
                for place, overrides in enumerate(job_overrides, initial_job_idx)
            ]
        )

    def run(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        raise NotImplementedError


class LocalLauncher(_JobLauncher):
    """Processes of this machine; see `mia_lab.sweeps.local`."""

    def run(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        from mia_lab.sweeps.local import run_here

        return run_here(jobs, Path(self.parameters["folder"]), self.parameters["processes"])


class SlurmLauncher(_JobLauncher):
    """A SLURM cluster; see `mia_lab.sweeps.slurm`."""

    def run(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        from mia_lab.sweeps.slurm import run_there

        return run_there(jobs, self.parameters)
