"""What Hydra takes from packages named so and from nowhere else; the code is in ``mia_lab``."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class ResumingSweeper(BasicSweeper):
    """Hydra's grid; only points that are not done run. See `mia_lab.sweeps.sweeper`."""

    def sweep(self, arguments: list[str]) -> Any:
        from mia_lab.sweeps.sweeper import sweep

        return sweep(self, arguments)
