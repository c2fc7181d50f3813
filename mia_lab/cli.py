"""Between the command line and the tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mia_lab import process
from mia_lab.config.compose import CONF, register_resolvers
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import load
from mia_lab.config.overrides import hydra_arguments
from mia_lab.config.schema import Config
from mia_lab.errors import GateFailedError, SweepFailedError, UserError
from mia_lab.store.disk import enough_room, full_disk

GATE_FAILED = 3
"""Exit code of an audit whose ``fail_if`` holds."""


def main() -> None:
    """Run the command; errors that a user can mend end in one line, not a traceback."""
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors out of Hydra, we print them ourselves
    register_resolvers()
    started = False

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        folder = Path(HydraConfig.get().runtime.output_dir)
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            # A failure ends the point, not the sweep.
            import_module("mia_lab.sweeps.record").run_point(folder, lambda: load(cfg), run_task)
            return
        try:
            run_task(load(cfg))
        except GateFailedError as error:
            print(error, file=sys.stderr)
            sys.exit(GATE_FAILED)
        except UserError as error:
            if traceback_wanted:
                raise
            sys.exit(_refuse(str(error)))
        finally:
            _tidy(folder)

    try:
        sys.argv[1:] = hydra_arguments(sys.argv[1:] or ["--help"])
        job()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command continues from the stored results")
    except SweepFailedError as error:
        sys.exit(GATE_FAILED if error.by_gate else 1)  # the table has said it
    except CONFIGURATION_ERRORS as error:
        sys.exit(_refuse(explain(error), traceback_wanted))
    except UserError as error:
        sys.exit(_refuse(str(error), traceback_wanted))
    except BrokenPipeError:  # of `| head`; what is left to print goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if full := full_disk(error, _log_folder()):
            sys.exit(_refuse(str(full), traceback_wanted))
        if started or not error.filename:
            raise
        reason = f"{error.filename}: {error.strerror}"
        sys.exit(_refuse(f"{reason}; is paths.outputs a folder you may write to?"))


def run_task(config: Config) -> None:
    """Run the task of a configuration.

    Raises:
        UserError: something the user can mend.
    """
    job = HydraConfig.get()
    is_point = job.mode is RunMode.MULTIRUN
    folder = Path(job.runtime.output_dir)
    group = Path(job.sweep.dir).name if is_point else config.name
    # Only the module of this task is imported: PyTorch and Matplotlib take seconds.
    task = import_module(f"mia_lab.tasks.{config.task.value}")
    process.imported()
    try:
        with enough_room(folder):
            task.run(config, folder, group)
    except UserError:
        raise
    except Exception as error:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: the run's folder was deleted while the run was going; run the command "
                "again, which continues from the stored results"
            ) from error
        if isinstance(error, PermissionError) and error.filename:
            raise UserError(
                f"{error.filename}: {error.strerror}; correct its permissions"
            ) from error
        raise


def _log_folder() -> Path:
    """Folder of the run's log; Hydra opens it before it writes its own files there."""
    logs = [h.baseFilename for h in logging.root.handlers if isinstance(h, logging.FileHandler)]
    return Path(logs[0]).parent if logs else Path.cwd()


def _tidy(folder: Path) -> None:
    """Remove the output folder of a command that put nothing into it: refused, or no audit."""
    if not folder.is_dir():  # deleted while the run was going
        return
    if not [p for p in folder.iterdir() if p.name != ".hydra" and p.stat().st_size]:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # not empty: other runs have the same name
            folder.parent.rmdir()


def _refuse(message: str, traceback_wanted: bool = False) -> int:
    if traceback_wanted:
        raise
    print(f"error: {message}", file=sys.stderr)
    return 2
