"""The sweeper of ``mia_lab``: Hydra finds it in packages of this name and nowhere else."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ResumingSweeper(BasicSweeper):
    """Hydra's grid; only points that are not done run. See `mia_lab.sweeps.sweeper`."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        # Every Hydra program of the environment imports this module; the import here needs torch.
        from mia_lab.sweeps import sweeper

        self._sweep = sweeper.sweep
        context = sweeper.with_fast_composition(hydra_context)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweep(self, arguments)
