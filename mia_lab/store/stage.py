"""A stage: one costly step of a run, stored under a hash of everything its result depends on."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from mia_lab.errors import UserError

if TYPE_CHECKING:
    from mia_lab.store.artifact import Store

Result = TypeVar("Result")


def canonical_json(value: Any) -> str:
    """Canonical JSON of a value: sorted keys, no spaces, so that equal values give equal strings.

    Raises:
        TypeError: a value has no JSON form (an object, a path, an array).
        ValueError: a value is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hexadecimal sha256 of a JSON value; see :func:`canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Stage(ABC, Generic[Result]):
    """What is computed, from what, and how its files are read back.

    A stage is a frozen dataclass. Its fields hold what it is made from: plain settings, components
    and other stages. Fields that are stages, or tuples of stages, are its upstream. The method
    :meth:`inputs` states what else its numbers depend on.

    Attributes:
        name: folder of the store that holds the results, such as ``victim``.
        version: raise it whenever the code of the stage changes the numbers it computes.
        is_resumable: an interrupted computation continues in the folder it left behind.
        is_quick: computing takes seconds at most, so that a read-only store needs no entry.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    is_resumable: ClassVar[bool] = False
    is_quick: ClassVar[bool] = False

    @abstractmethod
    def inputs(self) -> Mapping[str, Any]:
        """Everything besides upstream stages that decides the numbers; JSON values.

        Names of devices, numbers of workers and paths do not belong here.
        """

    @abstractmethod
    def compute(self, folder: Path, store: Store) -> None:
        """Fill a folder with files.

        Args:
            folder: empty, or as an interrupted computation left it if the stage is resumable.
            store: gives the results of upstream stages.
        """

    @abstractmethod
    def load(self, folder: Path) -> Result:
        """Read the result back from its folder."""

    def check(self) -> None:
        """Raise a :class:`UserError` if this machine cannot compute the stage.

        Tasks call it for all stages that are not stored, before they compute the first one.
        """
        return

    @cached_property
    def upstream(self) -> Mapping[str, Stage[Any] | tuple[Stage[Any], ...]]:
        """The stages that this one reads, by the names of its fields.

        A field may also be a dataclass that bundles stages; its fields count as ``field.name``.
        """
        return dict(_stages_of(self))

    @cached_property
    def key(self) -> str:
        """Hexadecimal sha256 of name, version, inputs and the keys of all upstream stages."""
        return sha256_of(self.declaration)

    @cached_property
    def declaration(self) -> Mapping[str, Any]:
        """What the key is a hash of; JSON values."""
        keys = {
            name: [s.key for s in value] if isinstance(value, tuple) else value.key
            for name, value in self.upstream.items()
        }
        return {
            "stage": self.name,
            "version": self.version,
            "inputs": dict(self.inputs()),
            "upstream": keys,
        }

    def check_unchanged(self) -> None:
        """Refuse a result of files that changed while it was computed.

        Raises:
            UserError: :meth:`inputs` now states something else than the key is a hash of.
        """
        now = json.loads(canonical_json(dict(self.inputs())))
        before = json.loads(canonical_json(self.declaration["inputs"]))
        if now != before:
            raise UserError(
                f"{_first_difference(before, now)}: a file that it names has changed while the "
                f"stage {self.name} was computed, so nothing was stored; run the command again "
                "when the files are complete"
            )

    @property
    def path(self) -> str:
        """``name/key``: where the result lies in a store."""
        return f"{self.name}/{self.key}"

    def upstream_stages(self) -> Iterator[Stage[Any]]:
        """The upstream stages one after another."""
        for value in self.upstream.values():
            yield from value if isinstance(value, tuple) else (value,)


def _first_difference(before: Any, now: Any, name: str = "") -> str:
    """Dotted name of the first entry in which two JSON objects differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *now]:
            if before.get(key) != now.get(key):
                return _first_difference(before.get(key), now.get(key), f"{name}.{key}".strip("."))
    return name


def _stages_of(
    bundle: Any, prefix: str = ""
) -> Iterator[tuple[str, Stage[Any] | tuple[Stage[Any], ...]]]:
    for field in fields(bundle):
        name, value = f"{prefix}{field.name}", getattr(bundle, field.name)
        if isinstance(value, Stage) or (
            isinstance(value, tuple) and value and all(isinstance(v, Stage) for v in value)
        ):
            yield name, value
        elif is_dataclass(value) and not isinstance(value, type):
            yield from _stages_of(value, f"{name}.")
