"""Compose the configurations of many points fast: each choice of config groups only once.

Hydra reads and merges about twenty files for every point of a sweep. Most points of a grid differ
in values only, so their files and the order of merging are the same.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import omegaconf.base
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.defaults_list import Overrides
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.grammar_parser import parse

_Choices = tuple[str | None, RunMode, tuple[str, ...]]


class PointConfigLoader(ConfigLoaderImpl):
    """Hydra's loader, which keeps what it composes from config groups and applies values to a copy.

    The result equals Hydra's own. Kept compositions do not travel to other processes.

    Args:
        config_search_path: where the configuration files are.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._composed: dict[_Choices, bytes] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_composed": {}}

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        options = run_mode, from_shell, validate_sweep_overrides
        parsed = [_parsed(line) for line in overrides]
        if run_mode is not RunMode.RUN or any(_changes_search_path(o) for o in parsed):
            return super()._load_configuration_impl(config_name, overrides, *options)
        if validate_sweep_overrides:
            self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        values = Overrides(repo=self.repository, overrides_list=parsed).config_overrides
        is_value = {id(override) for override in values}
        choices = tuple(_line(o) for o in parsed if id(o) not in is_value)
        key = config_name, run_mode, choices
        if key not in self._composed:
            composed = super()._load_configuration_impl(config_name, list(choices), *options)
            self._composed[key] = pickle.dumps(composed)
        config: DictConfig = pickle.loads(self._composed[key])
        self._apply_overrides_to_config(values, config)
        _describe_overrides(config, parsed)
        return config


def with_fast_composition(context: HydraContext) -> HydraContext:
    """The same context with a loader that composes each choice of config groups once."""
    loader = PointConfigLoader(context.config_loader.get_search_path())
    return HydraContext(config_loader=loader, callbacks=context.callbacks)


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Override:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed


@contextmanager
def interpolations_parsed_once() -> Iterator[None]:
    """Within, OmegaConf parses the text of each interpolation once; it has no cache of its own.

    The parser takes more than half of the time in which a configuration is resolved.
    """
    names = vars(omegaconf.base)
    before = names["parse"]
    names["parse"] = lru_cache(maxsize=4096)(parse)
    try:
        yield
    finally:
        names["parse"] = before


def _changes_search_path(override: Override) -> bool:
    return str(override.get_key_element()).endswith("hydra.searchpath")


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _describe_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Write into ``hydra`` what depends on all overrides and on the process, as Hydra does."""
    of_hydra = [o for o in overrides if o.is_hydra_override()]
    of_task = [o for o in overrides if not o.is_hydra_override()]
    job = config.hydra.job
    with open_dict(config.hydra):
        config.hydra.overrides.hydra = [_line(o) for o in of_hydra]
        config.hydra.overrides.task = [_line(o) for o in of_task]
        config.hydra.runtime.cwd = str(Path.cwd())
        for name in job.env_copy:
            job.env_set[name] = os.environ[name]
    dirname = job.config.override_dirname
    job.override_dirname = get_overrides_dirname(
        overrides=of_task,
        kv_sep=dirname.kv_sep,
        item_sep=dirname.item_sep,
        exclude_keys=dirname.exclude_keys,
    )
