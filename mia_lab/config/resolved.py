"""From what Hydra composed to typed settings, and from those to plain ones."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mia_lab.config.explain import unknown_key
from mia_lab.config.schema import Config, Data
from mia_lab.errors import UserError

FILE_KEYS = {"checkpoint", "perceptual_weights", "folder"}
"""Keys that name a file or a folder."""


def typed(cfg: DictConfig) -> Config:
    """The composed configuration as a dataclass; victim and difficulty become plain dicts.

    Raises:
        UserError: a mandatory value was not given, or ``+key=value`` added an unknown key.
    """
    _refuse_added_keys(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]}: no value given; add {missing[0]}=... to the command")
    config = cast(Config, OmegaConf.to_object(cfg))
    _expand_home(config)
    for data in (config.data, config.reference.data):
        if data is not None:
            _find_root(data, config.paths.data)
    config.victim = plain(config.victim)
    config.difficulty = plain(config.difficulty)
    config.defense = plain(config.defense)
    config.reference.victim = plain(config.reference.victim)
    for settings in (config.victim, config.difficulty, config.reference.victim or {}):
        for key in FILE_KEYS & settings.keys():
            if settings[key] is not None:
                settings[key] = str(Path(settings[key]).expanduser())
    return config


def _find_root(data: Data, parent: str | None) -> None:
    """Datasets on disk lie side by side unless they say where."""
    if data.source == "folder" and data.root is None and parent:
        data.root = str(Path(parent) / data.name)
    if "root" in data.sources.get(data.source, {}):
        data.sources[data.source]["root"] = data.root


def _expand_home(config: Config) -> None:
    """A tilde in a configuration file means the home folder; no shell has expanded it."""
    pictures = ("manifest", "root")
    sections = [(config.paths, ("data", "outputs", "store")), (config.data, pictures)]
    if config.reference.data is not None:
        sections.append((config.reference.data, pictures))
    for section, keys in sections:
        for key in keys:
            if (value := getattr(section, key)) is not None:
                setattr(section, key, str(Path(value).expanduser()))


def _refuse_added_keys(node: DictConfig, path: str = "") -> None:
    """``+key=value`` adds keys that no dataclass has; OmegaConf would take them silently."""
    kind = OmegaConf.get_type(node)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else None
    for key in map(str, node):
        full_key = f"{path}{key}"
        if known is not None and key not in known:
            raise UserError(unknown_key(full_key, key, known))
        child = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _refuse_added_keys(child, f"{full_key}.")


def plain(node: Any) -> Any:
    """Dataclasses and enums as JSON values."""
    if is_dataclass(node) and not isinstance(node, type):
        node = asdict(node)
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node.value if isinstance(node, Enum) else node


def as_yaml(config: Config) -> str:
    """The resolved configuration, as the run used it."""
    return str(OmegaConf.to_yaml(OmegaConf.create(plain(config))))
