"""The launchers of ``mia_lab``: Hydra finds them in packages of this name and nowhere else.

Every Hydra program of the environment imports this module when it starts. What imports torch is
therefore imported when a launcher runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mia_lab.sweeps import slurm_settings

if TYPE_CHECKING:
    from mia_lab.sweeps.point import Point
    from mia_lab.sweeps.program import Program


class _PointLauncher(Launcher):
    """Makes points of what Hydra calls jobs; subclasses say where they run."""

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
        from mia_lab.sweeps.point import Point
        from mia_lab.sweeps.program import Program

        sweep = Path(str(self.config.hydra.sweep.dir))
        points = [
            Point(sweep / _number(overrides, place), tuple(overrides))
            for place, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        return self.run(points, Program(self.config, self.context, self.function))

    def run(self, points: Sequence[Point], program: Program) -> Sequence[JobReturn]:
        raise NotImplementedError


def _number(overrides: Sequence[str], place: int) -> str:
    """The number of a point: the name of its folder if that is given, or its place."""
    values = dict(override.partition("=")[::2] for override in overrides)
    number = str(values.get("hydra.sweep.subdir", "")).strip("'")
    return number if number.isdecimal() else str(place)


class LocalLauncher(_PointLauncher):
    """Processes of this machine; see `mia_lab.sweeps.local`."""

    def run(self, points: Sequence[Point], program: Program) -> Sequence[JobReturn]:
        from mia_lab.sweeps.local import run_locally

        output, processes = Path(self.parameters["folder"]), self.parameters["processes"]
        return run_locally(points, program, output, processes)


class SlurmLauncher(_PointLauncher):
    """A SLURM cluster; see `mia_lab.sweeps.slurm`."""

    def run(self, points: Sequence[Point], program: Program) -> Sequence[JobReturn]:
        from mia_lab.sweeps.slurm import run_on_cluster

        return run_on_cluster(points, program, self.parameters)


slurm_settings.register()
