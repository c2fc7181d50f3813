"""The configuration tree ``conf/``, composed from overrides."""

from __future__ import annotations

import textwrap
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf

from mia_lab.config.choices import Layout, Protocol, Task
from mia_lab.errors import UserError
from mia_lab.store import sha256_of

if TYPE_CHECKING:
    from mia_lab.config.schema import Config

PACKAGE = Path(__file__).resolve().parents[1]

CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The configuration tree: inside an installed wheel, beside the package in a checkout."""

_composing = threading.Lock()
"""Hydra composes one configuration at a time in a process."""

HELP_COLUMN = 19
"""Where the words begin that ``conf/hydra/help`` explains a group with."""


def composed(*overrides: str) -> Config:
    """The configuration of a command line, typed and checked.

    Args:
        overrides: as on the command line, without the shell's quotes.

    Raises:
        UserError: an override or a value is wrong; the message is the command's.
    """
    # The schema needs pydantic; the resolvers of the configuration tree do not.
    from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
    from mia_lab.config.load import load
    from mia_lab.config.overrides import readable

    typed = [readable(override) for override in overrides]
    with _composing:
        running = get_gh_backup()  # the caller may be an application of Hydra
        GlobalHydra.instance().clear()
        register_resolvers()
        try:
            with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
                return load(hydra.compose("config", typed))
        except CONFIGURATION_ERRORS as error:
            raise UserError(explain(error)) from error
        finally:
            restore_gh_from_backup(running)


def register_resolvers() -> None:
    """Register the resolvers that ``conf/`` uses; OmegaConf keeps them for the whole process."""
    name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:6]}"
    OmegaConf.register_new_resolver("mia_lab.run_id", lambda: name, replace=True)
    OmegaConf.register_new_resolver("mia_lab.run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("mia_lab.dataset_root", _dataset_root, replace=True)
    OmegaConf.register_new_resolver("mia_lab.pair_layout", _pair_layout, replace=True)
    OmegaConf.register_new_resolver("mia_lab.drawn", _drawn, replace=True)
    OmegaConf.register_new_resolver("mia_lab.sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("mia_lab.choices", _choices, replace=True)


def _run_name(task: str, data: str, victim: str) -> str:
    """An audit is named after data and victim, another task after data and itself.

    A comparison reads no data.
    """
    if task == Task.compare.value:
        return task
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
