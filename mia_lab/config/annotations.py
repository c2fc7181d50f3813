"""The types of a component's parameters as its source states them.

PyTorch takes seconds to import. A value that is out of range is refused before that: the source is
read, and nothing is imported. Whatever this cannot read, the signature checks later.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mia_lab.config.signature import Parameter

PACKAGE = Path(__file__).resolve().parents[1]


def check_stated_types(key: str, node: Mapping[str, Any]) -> None:
    """Check the settings of a component of this package whose types its source states.

    Args:
        key: its full name, for errors.
        node: ``_target_`` and settings; null and components are left to the signature.

    Raises:
        UserError: a setting has another type, or is out of range.
    """
    annotations = stated_types(str(node.get("_target_")))
    for name, value in node.items():
        is_component = isinstance(value, Mapping) and "_target_" in value
        if name in annotations and value is not None and not is_component:
            parameter = Parameter(annotations[name], inspect.Parameter.empty)
            parameter.checked(f"{key}.{name}", value)


@cache
def stated_types(target: str) -> Mapping[str, Any]:
    """The types of the parameters of a class or function, those that can be read.

    Args:
        target: its dotted name.
    """
    module, _, name = target.rpartition(".")
    names = _Names.of(module)
    if names is None:
        return {}
    found = names.defined.get(name)
    if isinstance(found, ast.ClassDef):
        found = next((part for part in found.body if _is_constructor(part)), None)
    if not isinstance(found, ast.FunctionDef):
        return {}
    types = {}
    for argument in (*found.args.args, *found.args.kwonlyargs):
        try:
            types[argument.arg] = names.value(argument.annotation)
        except Exception:  # of a name that exists for type checkers, or where PyTorch is imported
            continue
    return types


def _is_constructor(part: ast.stmt) -> bool:
    return isinstance(part, ast.FunctionDef) and part.name == "__init__"


class _Names(dict[str, Any]):
    """The names of a module of this package, evaluated when they are asked for.

    Args:
        source: of the module.

    Attributes:
        defined: where its names come from, by name.
    """

    def __init__(self, source: str) -> None:
        self.defined: dict[str, Any] = {}
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    self.defined[alias.asname or alias.name] = statement.module, alias.name
            elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.defined[statement.targets[0].id] = statement.value
            elif isinstance(statement, ast.ClassDef | ast.FunctionDef):
                self.defined[statement.name] = statement

    @classmethod
    @cache
    def of(cls, module: str) -> _Names | None:
        """Those of a module; None for one of another package."""
        package, *path = module.split(".")
        file = PACKAGE.joinpath(*path).with_suffix(".py")
        return cls(file.read_text("utf-8")) if package == "mia_lab" and file.is_file() else None

    def value(self, expression: ast.expr | None) -> Any:
        """What an expression evaluates to.

        Raises:
            Exception: it has no value without an import.
        """
        if expression is None:
            raise KeyError
        return eval(compile(ast.Expression(expression), "", "eval"), {}, self)

    def __missing__(self, name: str) -> Any:
        origin = self.defined.get(name)
        if isinstance(origin, ast.expr):
            return self.value(origin)
        if not isinstance(origin, tuple):
            raise KeyError(name)
        module, original = origin
        if module in sys.modules:
            return getattr(sys.modules[module], original)
        names = _Names.of(module)
        if names is None:
            raise KeyError(name)
        return names[original]
