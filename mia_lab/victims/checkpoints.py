"""Read files of weights without running code, and find the generator in them."""

from __future__ import annotations

import json
import re
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mia_lab.backbones.state import LONGEST_NAME, archive_members, check_state
from mia_lab.errors import UserError, one_line
from mia_lab.victims.layouts import family, prefixes, unknown

DEEPEST = 4
"""State dicts are looked for in dicts that are nested up to this depth."""

LISTED = 8
"""Largest number of generators that an error names."""

_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that torch.compile, FSDP and activation checkpointing add to names, anywhere in them."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a file of weights.

    Attributes:
        tensors: tensors of the network's state dict, by name.
        recipe: architecture and arguments of the network; None for a file that mia_lab did not
            write.
        reading: where in the file they were, such as "g_ema" and "prefix netG. removed".
    """

    tensors: dict[str, Tensor]
    recipe: Mapping[str, Any] | None
    reading: tuple[str, ...] = ()


def read(path: Path, key: str | None = None) -> Checkpoint:
    """Read a generator from safetensors (by the file's suffix) or a file of PyTorch.

    In the latter it may lie in dicts, such as a Lightning checkpoint, and among other networks.

    Args:
        path: path of the file.
        key: name of the entry, or prefix of the names of tensors, where there are several.

    Raises:
        UserError: the file is missing or damaged, the generator is unknown or not made of tensors,
            or there are several.
    """
    try:
        content, recipe = _content(path)
        if recipe is None:
            return _chosen(content, key, path)
        if key is not None:
            raise ValueError("was written by mia_lab and holds one generator; leave victim.key out")
        check_state(content, path)
    except ValueError as error:
        raise UserError(f"victim.checkpoint={path}: {error}") from error
    return Checkpoint(dict(content), recipe)


def _content(path: Path) -> tuple[Mapping[Any, Any], Any]:
    """The content of a file; of a file of mia_lab the generator's tensors, and its recipe."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = _read_pickle(path)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"contains a {type(content).__name__}, not a state dict; save the network's "
            "state_dict()"
        )
    if not _is_from_mia_lab(content):
        return content, None
    state, prefix = content["state_dict"], "generator."
    own = {k: v for k, v in state.items() if isinstance(k, str) and k.startswith(prefix)}
    return {k.removeprefix(prefix): v for k, v in own.items()}, content["generator"]


@dataclass(frozen=True)
class _Found:
    """A generator in a file.

    Attributes:
        entry: keys of the dicts that lead to it.
        prefix: of its names.
        wrappers: further parts of its names, which were removed.
        state: its state dict.
    """

    entry: tuple[str, ...]
    prefix: str
    wrappers: tuple[str, ...]
    state: dict[Any, Any]

    @property
    def name(self) -> str:
        """The value of ``victim.key`` that chooses it."""
        prefix = (part for part in self.prefix.split(".") if part not in ("", "module"))
        return ".".join([*self.entry, *prefix])

    @property
    def reading(self) -> tuple[str, ...]:
        entry = [f"entry {'.'.join(self.entry)}"] if self.entry else []
        prefix = [f"prefix {self.prefix} removed"] if self.prefix else []
        told = [*entry, *prefix, *(f"{part} removed from names" for part in self.wrappers)]
        return tuple(one_line(line) for line in told)


def _chosen(content: Mapping[Any, Any], key: str | None, path: Path) -> Checkpoint:
    entries = list(_entries(content))
    found = [generator for entry, state in entries for generator in _generators(entry, state)]
    if not found:
        names = [name for _, state in entries for name in state if isinstance(name, str)]
        if told := family(names):
            raise ValueError(told)
        check_state(content, path)
        raise ValueError(unknown(names))
    names = [generator.name for generator in found]
    listed = ", ".join(f"victim.key={one_line(name) or repr(name)}" for name in names[:LISTED])
    if key is not None:
        fitting = [g for g in found if g.name == key] or [
            g for g in found if f".{key}." in f".{g.name}."
        ]
        if not fitting:
            raise ValueError(f"victim.key={key} names no generator in it; set {listed}")
        found = fitting
    if len(found) > 1:
        raise ValueError(f"holds {len(found)} generators; choose one: {listed}")
    check_state(found[0].state, path)
    return Checkpoint(found[0].state, None, found[0].reading)


def _entries(content: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """All dicts of a file, outer ones first, each once."""
    waiting: deque[tuple[tuple[str, ...], Mapping[Any, Any]]] = deque([((), content)])
    seen: set[int] = set()
    while waiting:
        entry, node = waiting.popleft()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield entry, node
        if len(entry) < DEEPEST:
            inner = ((k, v) for k, v in node.items() if isinstance(k, str))
            waiting += [((*entry, k), v) for k, v in inner if isinstance(v, Mapping)]


def _generators(entry: tuple[str, ...], state: Mapping[Any, Any]) -> Iterator[_Found]:
    renamed = {_WRAPPERS.sub("", k) if isinstance(k, str) else k: v for k, v in state.items()}
    if len(renamed) < len(state):  # some tensors have both names
        renamed = dict(state)
    wrappers = {m[0] for k in state if isinstance(k, str) for m in _WRAPPERS.finditer(k)}
    names = [
        k
        for k, v in renamed.items()
        if isinstance(k, str) and len(k) <= LONGEST_NAME and isinstance(v, Tensor)
    ]
    for prefix in prefixes(names):
        own = {
            k.removeprefix(prefix): v
            for k, v in renamed.items()
            if isinstance(k, str) and k.startswith(prefix)
        }
        yield _Found(entry, prefix, tuple(sorted(wrappers)), own if prefix else renamed)


def _is_from_mia_lab(content: Mapping[Any, Any]) -> bool:
    """Whether the content is that of a Lightning checkpoint with a recipe of the generator."""
    recipe = content.get("generator")
    is_recipe = isinstance(recipe, Mapping) and {"architecture", "arguments"} <= recipe.keys()
    return is_recipe and isinstance(content.get("state_dict"), Mapping)


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Any]:
    try:
        with safe_open(path, framework="pt") as file:
            recipe = (file.metadata() or {}).get("generator")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # of types that PyTorch or this version of the reader lacks
        raise ValueError(f"cannot be read ({one_line(str(error))})") from error
    try:
        return tensors, None if recipe is None else json.loads(recipe)
    except (ValueError, RecursionError) as error:
        reason = one_line(str(error))
        raise ValueError(
            f"its metadata 'generator' is no JSON of mia_lab ({reason}); export it again"
        ) from error


def _read_pickle(path: Path) -> Any:
    archive_members(path)
    try:
        with warnings.catch_warnings():  # torch warns about files that it then rejects
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious file may raise anything
        if "TorchScript" in str(error):
            raise ValueError("is a TorchScript program; use victim=exported") from error
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"contains code besides tensors ({one_line(code[1])}), so it was not loaded; if "
                "you trust the file, save the network's state_dict() in another file"
            ) from error
        is_missing = isinstance(error, OSError) and error.filename is not None
        reason = one_line(str(error)) if is_missing else "not a file of weights"
        raise ValueError(
            f"cannot be read ({reason}); use a state dict saved by torch.save, or a .safetensors "
            "file"
        ) from error
