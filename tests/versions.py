"""The code behind each component and stage: its version, and a hash of what it computes with.

Run this file to record both in ``tests/golden/versions.json``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

import mia_lab.stages
from mia_lab.store import Stage

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "golden" / "versions.json"

LEFT_OUT = (
    *("config", "stages", "tasks", "sweeps", "reporting", "store", "cli", "parameters"),
    "progress",
)
"""Parts of the package that compute no number of a component."""


def components() -> list[str]:
    """Every class and function of the package that a ``_target_`` in ``conf/`` names."""
    targets: set[str] = set()
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        targets |= set(_targets(yaml.safe_load(path.read_text())))
    return sorted(target for target in targets if target.startswith("mia_lab."))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def stages() -> list[str]:
    """Every class of ``mia_lab.stages`` that states a name, and so has entries in the store."""
    found = []
    for module in pkgutil.iter_modules(mia_lab.stages.__path__, "mia_lab.stages."):
        for name, value in vars(import_module(module.name)).items():
            is_own = isinstance(value, type) and value.__module__ == module.name
            if is_own and issubclass(value, Stage) and hasattr(value, "name"):
                found.append(f"{module.name}.{name}")
    return sorted(found)


def current() -> dict[str, dict[str, Any]]:
    """Version and code of every component and stage."""
    return {
        target: {
            "version": pkgutil.resolve_name(target).version,
            "code": code_sha256(target.rpartition(".")[0]),
        }
        for target in (*components(), *stages())
    }


def code_sha256(module: str) -> str:
    """Of the syntax trees of a module and of all it imports, without docstrings and comments.

    Args:
        module: its dotted name. Of what it imports, modules in the parts of :data:`LEFT_OUT` and
            other packages do not count; modules in its own part do.
    """
    digest = hashlib.sha256()
    for name in sorted(closure(module)):
        digest.update(f"{name}\t{tree_sha256(_source(name))}\n".encode())
    return digest.hexdigest()


def closure(module: str) -> set[str]:
    """A module and all modules of the package that it imports, directly or not."""
    part = module.split(".")[1]
    left_out = {name for name in LEFT_OUT if name != part}
    found, waiting = {module}, [module]
    while waiting:
        for name in _imports(waiting.pop()) - found:
            if name.split(".")[1] not in left_out:
                found.add(name)
                waiting.append(name)
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """Modules of the package that a module imports when it runs."""
    names: set[str] = set()
    for node in _running(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    if "iter_modules(__path__)" in _source(module):  # a package that finds its modules by name
        folder = [str(_folder(module))]
        names |= {found.name for found in pkgutil.iter_modules(folder, f"{module}.")}
    return frozenset(n for n in names if n.startswith("mia_lab.") and _path(n) is not None)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _running(node)


def _folder(module: str) -> Path:
    return ROOT.joinpath(*module.split("."))


def _path(module: str) -> Path | None:
    path = _folder(module)
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _source(module: str) -> str:
    path = _path(module)
    assert path is not None, module
    return path.read_text()


@cache
def tree_sha256(source: str) -> str:
    """Of the syntax tree of a source, without docstrings and comments."""
    return hashlib.sha256(_dump(ast.parse(source)).encode()).hexdigest()


def _dump(node: Any) -> str:
    """A syntax tree as text that does not depend on Python's version; empty fields are left out."""
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node if not _is_docstring(item))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: _dump(value) for name, value in ast.iter_fields(node) if value is not None}
    return f"{type(node).__name__}({','.join(f'{k}={v}' for k, v in fields.items() if v != '[]')})"


def _is_docstring(node: Any) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text and isinstance(node.value.value, str)


def mistakes(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What the record does not say of the code, one line a component."""
    lines = []
    for target in sorted({*recorded, *found}):
        before, now = recorded.get(target), found.get(target)
        if before is None or now is None:
            lines.append(f"{target}: is {'new' if before is None else 'gone'}; record it")
        elif now["version"] != before["version"]:
            lines.append(f"{target}: has version {now['version']}; record it")
        elif now["code"] != before["code"]:
            lines.append(
                f"{target}: its code changed, its version {now['version']} did not; raise the "
                "version if its numbers change, then record it"
            )
    return lines


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
