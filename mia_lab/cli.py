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

from mia_lab.config.choices import Task
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.load import load
from mia_lab.config.schema import Config
from mia_lab.errors import GateFailedError, UserError
from mia_lab.store.disk import is_full
from mia_lab.sweeps.jobs import noted, point_key
from mia_lab.sweeps.sweeper import SweepFailedError, sweep_name

PACKAGE = Path(__file__).resolve().parent

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The configuration tree: inside an installed wheel, beside the package in a checkout."""

GATE_FAILED = 3
"""Exit code of an audit whose ``fail_if`` holds."""


def main() -> None:
    """Run the command; errors that a user can mend end in one line, not a traceback."""
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors out of Hydra, we print them ourselves
    prepare()
    sys.argv[1:] = map(_quoted, sys.argv[1:])
    started = False

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        folder = Path(HydraConfig.get().runtime.output_dir)
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            # A failure ends the job, not the sweep.
            with noted(folder, lambda: point_key(load(cfg))) as needed:
                if needed:
                    run(cfg)
            return
        try:
            run(cfg)
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
        job()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on with what is stored")
    except SweepFailedError as error:
        sys.exit(GATE_FAILED if error.by_gate else 1)  # the table has said it
    except CONFIGURATION_ERRORS as error:
        sys.exit(_refuse(explain(error), traceback_wanted))
    except UserError as error:
        sys.exit(_refuse(str(error), traceback_wanted))
    except OSError as error:
        if is_full(error):
            sys.exit(_refuse(f"the disk is full ({error}); make room and run the command again"))
        if started or not error.filename:
            raise
        reason = f"{error.filename}: {error.strerror}"
        sys.exit(_refuse(f"{reason}; is paths.outputs a folder you may write to?"))


def prepare() -> None:
    """Register what ``conf/`` refers to, such as a folder name that is never used twice."""
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:6]}"
    OmegaConf.register_new_resolver("run_id", lambda: name, replace=True)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("dataset_root", _dataset_root, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)


def _run_name(task: str, data: str, victim: str) -> str:
    """An audit is named after its victim, another task after itself."""
    return f"{data}_{victim if task == Task.audit.value else task}"


def _dataset_root(source: str, parent: str | None, name: str) -> str | None:
    """Datasets on disk lie side by side unless they say where."""
    return str(Path(parent) / name) if source == "folder" and parent else None


def run(cfg: DictConfig) -> None:
    """Check a composed configuration and run its task.

    Raises:
        UserError: something the user can mend.
    """
    config = load(cfg)
    if config.task is Task.store:
        _store(config)
        return
    if config.task is Task.collect:
        from mia_lab.tasks.collect import collect_task

        collect_task(config)
        return
    job = HydraConfig.get()
    sweep = job.mode is RunMode.MULTIRUN
    folder = Path(job.runtime.output_dir)
    group = Path(job.sweep.dir).name if sweep else config.name
    if config.task is Task.difficulty:
        from mia_lab.tasks.difficulty import survey

        survey(config, folder, group)
    elif config.task is Task.score:
        from mia_lab.tasks.score import score

        score(config, folder, group)
    elif config.task is Task.compare:
        from mia_lab.tasks.compare import compare

        compare(config, folder)
    elif config.task is Task.export:
        from mia_lab.tasks.export import export

        export(config, folder)
    else:
        _audit(config, folder, group)


def _audit(config: Config, folder: Path, group: str) -> None:
    from mia_lab.evaluation.gate import sentence
    from mia_lab.tasks.audit import audit

    gate = audit(config, folder, group)
    if gate is not None and gate.failed:
        raise GateFailedError(f"fail_if: {sentence(gate)}")


def _store(config: Config) -> None:
    from mia_lab.tasks.store import Choice, administer

    task = config.store
    choice = Choice(task.stage, task.state and task.state.value, task.older_than_days, task.max_gb)
    print(administer(Path(config.paths.store), task.action.value, choice, task.dry_run))


def _tidy(folder: Path) -> None:
    """Remove the output folder of a command that put nothing into it: refused, or no audit."""
    if not [p for p in folder.iterdir() if p.name != ".hydra" and p.stat().st_size]:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # not empty: other runs have the same name
            folder.parent.rmdir()


def _quoted(argument: str) -> str:
    """Hydra's grammar wants quotes within the shell's around a condition: fail_if='a > 0.6'."""
    key, equals, value = argument.partition("=")
    plain = key == "fail_if" and not set("'\"") & set(value)
    return f"{key}{equals}'{value}'" if plain and set("<>") & set(value) else argument


def _refuse(message: str, traceback_wanted: bool = False) -> int:
    if traceback_wanted:
        raise
    print(f"error: {message}", file=sys.stderr)
    return 2
