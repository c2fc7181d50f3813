"""Between the command line and the tasks."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mia_lab.config import build
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.schema import Config, Task, register
from mia_lab.config.validate import validate
from mia_lab.errors import UserError

PACKAGE = Path(__file__).resolve().parent

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The configuration tree: inside an installed wheel, beside the package in a checkout."""


def main() -> None:
    """Run the command; errors that a user can mend end in one line, not a traceback."""
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors out of Hydra, we print them ourselves
    prepare()
    started = False

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        try:
            run(cfg)
        except UserError as error:
            # In a multirun Hydra notes the failure and goes on with the other jobs.
            if traceback_wanted or HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            sys.exit(_refuse(str(error)))
        finally:
            _tidy(Path(HydraConfig.get().runtime.output_dir))

    try:
        job()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on with what is stored")
    except CONFIGURATION_ERRORS as error:
        sys.exit(_refuse(explain(error), traceback_wanted))
    except UserError as error:
        sys.exit(_refuse(str(error), traceback_wanted))
    except OSError as error:
        if started or not error.filename:
            raise
        reason = f"{error.filename}: {error.strerror}"
        sys.exit(_refuse(f"{reason}; is paths.outputs a folder you may write to?"))


def prepare() -> None:
    """Register what ``conf/`` refers to: the schema, and a folder name that is never used twice."""
    register()
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:6]}"
    OmegaConf.register_new_resolver("run_id", lambda: name, replace=True)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)


def _run_name(task: Task | str, data: str, victim: str) -> str:
    """An audit is named after its victim, another task after itself."""
    task = Task(task) if isinstance(task, str) else task
    return f"{data}_{victim if task is Task.audit else task.value}"


def run(cfg: DictConfig) -> None:
    """Check a composed configuration and run its task.

    Raises:
        UserError: something the user can mend.
    """
    config = build.typed(cfg)
    validate(config)
    if config.task is Task.store:
        _store(config)
        return
    job = HydraConfig.get()
    sweep = job.mode is RunMode.MULTIRUN
    folder = Path(job.runtime.output_dir)
    group = Path(job.sweep.dir).name if sweep else config.name
    if config.task is Task.difficulty:
        from mia_lab.survey import survey

        survey(config, folder, group)
    else:
        from mia_lab.pipeline import audit

        audit(config, folder, group)


def _store(config: Config) -> None:
    from mia_lab.store.admin import administer

    task = config.store
    print(administer(Path(config.paths.store), task.action.value, task.stage, task.older_than_days))


def _tidy(folder: Path) -> None:
    """Remove the output folder of a command that put nothing into it: refused, or no audit."""
    if not [p for p in folder.iterdir() if p.name != ".hydra" and p.stat().st_size]:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # not empty: other runs have the same name
            folder.parent.rmdir()


def _refuse(message: str, traceback_wanted: bool = False) -> int:
    if traceback_wanted:
        raise
    print(f"error: {message}", file=sys.stderr)
    return 2
