"""Between the command line and the tasks."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mia_lab.config import build
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.schema import Task, register
from mia_lab.config.validate import validate
from mia_lab.errors import UserError

PACKAGE = Path(__file__).resolve().parent

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The configuration tree: inside an installed wheel, beside the package in a checkout."""


def prepare() -> None:
    """Register what ``conf/`` refers to: the schema, and a folder name that is never used twice."""
    register()
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:6]}"
    OmegaConf.register_new_resolver("run_id", lambda: name, replace=True)


def run_job(cfg: DictConfig) -> None:
    """Check a composed configuration and run its task.

    Raises:
        UserError: something the user can mend (in a multirun; a single run ends in one line).
    """
    try:
        config = build.typed(cfg)
        validate(config)
        if config.task is Task.store:
            from mia_lab.store.admin import administer

            task = config.store
            root = Path(config.paths.store)
            print(administer(root, task.action.value, task.stage, task.older_than_days))
            return
        from mia_lab.pipeline import audit

        resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
        audit(config, resolved, Path(HydraConfig.get().runtime.output_dir))
    except UserError as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise  # Hydra notes the failure and goes on with the other jobs
        raise SystemExit(exit_with_one_line(error)) from error


def exit_with_one_line(error: Exception) -> int:
    """Print what the user can mend and return the exit code; re-raise everything else."""
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, CONFIGURATION_ERRORS):
        message = explain(error)
    elif isinstance(error, OSError) and error.filename:
        message = f"{error.filename}: {error.strerror}; is paths.outputs a folder you may write to?"
    else:
        raise error
    print(f"error: {message}", file=sys.stderr)
    return 2
