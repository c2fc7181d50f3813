"""Settings of a training that do not belong to the victim; importing them needs no Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytorch_lightning as pl

EpochHook = Callable[[int, Mapping[str, float], "pl.LightningModule"], None]
"""Called after every epoch with its number, mean losses and the module."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training that do not belong to the victim; see ``conf/trainer``."""

    accelerator: str = "auto"
    precision: str = "32-true"
    checkpoint_every_s: float = 2.0
    strategy: str = "auto"
    devices: int = 1
    workers: int | None = None
    compile: bool = False

    @property
    def processes(self) -> int:
        return self.devices if self.strategy == "ddp" else 1
