"""Between the command line and the tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import textwrap
import time
import uuid
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mia_lab.config.choices import Layout, Protocol, Task
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import load
from mia_lab.config.overrides import hydra_arguments
from mia_lab.config.schema import Config
from mia_lab.errors import GateFailedError, SweepFailedError, UserError
from mia_lab.store import sha256_of
from mia_lab.store.disk import enough_room, full_disk

PACKAGE = Path(__file__).resolve().parent

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The configuration tree: inside an installed wheel, beside the package in a checkout."""

HELP_COLUMN = 19
"""Where the words begin that ``conf/hydra/help`` explains a group with."""

GATE_FAILED = 3
"""Exit code of an audit whose ``fail_if`` holds."""


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
    except OSError as error:
        if full := full_disk(error, _log_folder()):
            sys.exit(_refuse(str(full), traceback_wanted))
        if started or not error.filename:
            raise
        reason = f"{error.filename}: {error.strerror}"
        sys.exit(_refuse(f"{reason}; is paths.outputs a folder you may write to?"))


def prepare() -> None:
    """Register the resolvers that ``conf/`` uses."""
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:6]}"
    OmegaConf.register_new_resolver("run_id", lambda: name, replace=True)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("dataset_root", _dataset_root, replace=True)
    OmegaConf.register_new_resolver("pair_layout", _pair_layout, replace=True)
    OmegaConf.register_new_resolver("drawn", _drawn, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("choices", _choices, replace=True)


def _run_name(task: str, data: str, victim: str) -> str:
    """An audit is named after its victim, another task after itself."""
    return f"{data}_{victim if task == Task.audit.value else task}"


def _dataset_root(source: str, parent: str | None, name: str) -> str | None:
    """Datasets on disk lie side by side unless they say where."""
    return str(Path(parent) / name) if source == "folder" and parent else None


def _pair_layout(input_dir: str | None) -> str:
    """How pairs lie on disk unless a dataset says it."""
    return Layout.side_by_side.value if input_dir is None else Layout.two_folders.value


def _drawn(protocol: str, count: int | None) -> int | None:
    """The default number of images of a role; none are drawn where a manifest gives the roles."""
    return None if protocol == Protocol.manifest.value else count


def _sweep_name(overrides: Sequence[str]) -> str:
    """Name of a sweep's folder: the same for the same command, whatever launches it."""
    words = dict(str(o).lstrip("+").partition("=")[::2] for o in overrides)
    title = words.get("sweep") or words.get("experiment") or "sweep"
    plain = "".join(c if c.isalnum() or c in "_-" else "+" for c in title)[:60]
    return f"{plain}_{sha256_of([str(o) for o in overrides])[:8]}"


def _choices(group: str, *, _root_: DictConfig) -> str:
    """The choices of a config group for ``--help``, the chosen one in brackets."""
    names = GlobalHydra.instance().config_loader().get_group_options(group)
    chosen = _root_.hydra.runtime.choices.get(group)
    words = [f"[{n}]" if n == chosen else n for n in names if not n.startswith("_")]
    return textwrap.indent(textwrap.fill(", ".join(words), 80), " " * HELP_COLUMN)


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
