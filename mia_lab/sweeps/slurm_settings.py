"""The keys of ``hydra/launcher=slurm``.

Hydra imports this with its plugins, in every Hydra program of the environment: nothing here
imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_submitit_launcher.config import (
    SlurmQueueConf,
)


@dataclass
class SlurmSettings(SlurmQueueConf):  # type: ignore[misc]
    """The keys of hydra-submitit-launcher, and one of ours.

    Attributes:
        points_per_job: how many points a job runs, one after another in one process.
    """

    points_per_job: int = 1


def register() -> None:
    """Make the keys known to Hydra; ``conf/hydra/launcher/slurm.yaml`` starts from them."""
    store = ConfigStore.instance()
    store.store("_slurm_settings", SlurmSettings, group="hydra/launcher", provider="mia_lab")
