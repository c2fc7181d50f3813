"""A configured component: a class or function with the settings that it is built from.

The signature is the schema: it names the settings, their types, ranges and defaults. What a
component is, for keys of stored results, is its :meth:`Component.fingerprint`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from mia_lab.config.messages import missing_value, unknown_key
from mia_lab.config.signature import Parameter, signature_of
from mia_lab.errors import UserError, nearest, one_line
from mia_lab.store.content import content_sha256, source_sha256

TARGET, PARTIAL, NAME = "_target_", "_partial_", "name"


@dataclass(frozen=True)
class Component:
    """A class or function and its settings, checked against its signature.

    Attributes:
        key: where the configuration has it, such as ``victim``.
        target: dotted name of the class or function.
        arguments: all its arguments but the provided ones, defaults included; nested components
            are components.
        name: what reports call it; "" where it has no name.
        provided: parameters that are passed when it is built.
        is_partial: whether :meth:`build` gives a function that waits for more arguments.
    """

    key: str
    target: str
    arguments: Mapping[str, Any]
    name: str = ""
    provided: tuple[str, ...] = ()
    is_partial: bool = False

    @classmethod
    def of(cls, key: str, node: Mapping[str, Any], *, provided: Collection[str] = ()) -> Component:
        """A node of the configuration, checked.

        Args:
            key: its full name, for errors.
            node: ``_target_`` and settings, JSON values; perhaps ``name`` and ``_partial_``.
            provided: names of parameters that are passed when it is built; a setting of such a
                name is checked like any other.

        Raises:
            UserError: the target cannot be imported, or a setting is unknown, missing, of another
                type or out of range. The message begins with the setting's full key.
        """
        settings = dict(node)
        target, is_partial = settings.pop(TARGET, None), bool(settings.pop(PARTIAL, False))
        if not isinstance(target, str):
            raise missing_value(f"{key}.{TARGET}")
        signature = signature_of(_located(key, target))
        name = str(settings.get(NAME, ""))
        if NAME not in signature.parameters:
            settings.pop(NAME, None)
        arguments = {}
        for parameter_name, parameter in signature.parameters.items():
            full_key = f"{key}.{parameter_name}"
            if parameter_name in settings:
                value = settings.pop(parameter_name)
                arguments[parameter_name] = _checked(full_key, value, parameter)
            elif parameter_name in provided:
                continue
            elif parameter.is_required:
                raise missing_value(full_key)
            else:
                arguments[parameter_name] = parameter.normal_default()
        if settings and not signature.takes_more:
            first = min(settings)
            known = signature.parameters.keys() - set(provided)
            choices = [name for name in known if not name.startswith("_")]
            raise UserError(unknown_key(f"{key}.{first}", first, choices))
        arguments |= {k: _checked(f"{key}.{k}", v, None) for k, v in settings.items()}
        return cls(key, target, arguments, name, tuple(provided), is_partial)

    @property
    def kind(self) -> Any:
        """The class or function."""
        return _located(self.key, self.target)

    def build(self, **provided: Any) -> Any:
        """Call the class or function, nested components first.

        Args:
            provided: further arguments.

        Raises:
            UserError: the class or function raises; other errors than this become one that names
                the key.
        """
        arguments = {k: _built(v) for k, v in self.arguments.items()} | provided
        if self.is_partial:
            return partial(self.kind, **arguments)
        try:
            return self.kind(**arguments)
        except UserError:
            raise
        except Exception as error:
            reason = one_line(str(error), 500) or type(error).__name__
            raise UserError(f"{self.key} ({self.target}): cannot be built: {reason}") from error

    def fingerprint(self) -> dict[str, Any]:
        """The identity of the component, as JSON values: what its numbers depend on.

        It holds the target, the version that the class or function states, and all arguments but
        those marked :data:`~mia_lab.parameters.RUNTIME`. Files count by their content, and so do
        those that ``further_files`` of the class names, given the arguments. A target outside this
        package counts by its source file, too, and by the content of every file that an argument
        names.

        Raises:
            UserError: ``further_files`` refuses what it finds.
        """
        is_foreign = not self.target.startswith("mia_lab.")
        parameters = signature_of(self.kind).parameters
        found: dict[str, Any] = {}
        for name, value in self.arguments.items():
            parameter = parameters.get(name)
            if parameter is None or not parameter.is_runtime:
                is_file = parameter is not None and parameter.is_file
                found[name] = self._identity(value, is_file, is_foreign)
        identity: dict[str, Any] = {"target": self.target, "arguments": found}
        version = getattr(self.kind, "version", None)
        if isinstance(version, int):
            identity["version"] = version
        if is_foreign:
            identity["source"] = source_sha256(self.kind)
        further = getattr(self.kind, "further_files", None)
        if files := further(self.arguments) if further else {}:
            identity["files"] = {k: f"sha256:{content_sha256(p)}" for k, p in files.items()}
        return identity

    def _identity(self, value: Any, is_file: bool, is_foreign: bool) -> Any:
        """A setting as part of the identity; files by their content where that counts."""
        if isinstance(value, Component):
            return value.fingerprint()
        if isinstance(value, list | tuple):
            return [self._identity(item, is_file, is_foreign) for item in value]
        if isinstance(value, Mapping):
            return {str(k): self._identity(v, is_file, is_foreign) for k, v in value.items()}
        found = _json(value)
        if not (is_file or is_foreign) or not isinstance(found, str):
            return found
        if os.path.isfile(found) or (is_file and os.path.exists(found)):  # noqa: PTH110, PTH113 - Path raises for long texts
            return f"sha256:{content_sha256(Path(found))}"
        if os.path.isdir(found):  # noqa: PTH112
            # A user's class may write to a folder, such as one for its logs, while it computes.
            if found not in self._folders:
                self._folders[found] = content_sha256(Path(found))
            return f"sha256:{self._folders[found]}"
        return found

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Content of the folders that a user's class names, as it was at first."""
        return {}

    def replace(self, **arguments: Any) -> Component:
        """The component with other settings, checked like the first ones."""
        return Component.of(self.key, {**self.node(), **arguments}, provided=self.provided)

    def node(self) -> dict[str, Any]:
        """What :meth:`of` reads: JSON values, defaults included."""
        node: dict[str, Any] = {
            TARGET: self.target,
            **{k: _plain(v) for k, v in self.arguments.items()},
        }
        if self.is_partial:
            node[PARTIAL] = True
        if self.name:
            node.setdefault(NAME, self.name)
        return node


def _checked(key: str, value: Any, parameter: Parameter | None) -> Any:
    """A setting as its annotation has it; nested components by their own signature."""
    if isinstance(value, Mapping) and TARGET in value:
        return Component.of(key, value)
    if isinstance(value, list) and any(isinstance(v, Mapping) and TARGET in v for v in value):
        return [_checked(f"{key}[{i}]", item, None) for i, item in enumerate(value)]
    return value if parameter is None else parameter.checked(key, value)


def _built(value: Any) -> Any:
    if isinstance(value, Component):
        return value.build()
    return [_built(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A setting as :meth:`Component.of` reads it."""
    return value.node() if isinstance(value, Component) else _json(value)


def _json(value: Any) -> Any:
    try:
        return to_jsonable_python(value, inf_nan_mode="strings")
    except PydanticSerializationError:
        return "default"  # no configured value: the code that states it counts


def _located(key: str, target: str) -> Any:
    try:
        found: Any = _imported(target)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}.{TARGET}={target}: cannot be imported: {reason}") from error
    if not callable(found):
        raise UserError(f"{key}.{TARGET}={target}: is no class or function")
    # Such as os.system, which would be called before its result turns out to be no component.
    if {target.partition(".")[0], _root(found)} & sys.stdlib_module_names:
        raise UserError(
            f"{key}.{TARGET}={target}: belongs to Python's standard library, which has no parts of "
            "an audit; name a class or function of mia_lab or of your own"
        )
    return found


def _root(kind: Any) -> str:
    """The top-level module or package that defines a class or function."""
    while isinstance(kind, partial):
        kind = kind.func
    is_code = inspect.isclass(kind) or inspect.isroutine(kind)
    return str(kind.__module__).partition(".")[0] if is_code else ""


def _imported(target: str) -> Any:
    """Resolve a dotted name to a class or function of a module, or an attribute of a class."""
    path = target.split(".")
    for length in range(len(path) - 1, 0, -1):
        name = ".".join(path[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            is_no_module = error.name is not None and f"{name}.".startswith(f"{error.name}.")
            if is_no_module and length > 1:
                continue
            if is_no_module:
                raise ImportError(
                    f"there is no module {name}; add the folder that holds it to PYTHONPATH: "
                    "export PYTHONPATH=FOLDER"
                ) from error
            raise
        for attribute in path[length:]:
            found = _attribute(found, attribute)
        return found
    raise ImportError("write module.Name")


def _attribute(owner: Any, name: str) -> Any:
    """What a module or class has under a name; the error proposes the name that is most like it."""
    if hasattr(owner, name):
        return getattr(owner, name)
    modules = [module.name for module in iter_modules(getattr(owner, "__path__", []))]
    hint = nearest(name, [*dir(owner), *modules])
    raise ImportError(f"{owner.__name__} has no {name}{hint}")
