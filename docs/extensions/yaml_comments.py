"""What the comments of a YAML file say of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")


def comments(path: Path) -> dict[str, str]:
    """The comment of each key, by its dotted name: the one beside it, else the one above it."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    found = {}
    for name, line in _keys(root, "") if isinstance(root, yaml.MappingNode) else ():
        if comment := _beside(lines, line) or _above(lines, line):
            found[name] = comment
    return found


def heading(path: Path) -> str:
    """The comment that a file begins with."""
    taken = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            taken.append(line[1:].strip())
    return " ".join(taken)


def _keys(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, int]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, key.start_mark.line
        for inner in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(inner, yaml.MappingNode):
                yield from _keys(inner, f"{name}.")


def _beside(lines: list[str], line: int) -> str:
    """The comment at the end of a line, and its continuation in the same column below."""
    match = COMMENT.search(_without_quotes(lines[line]))
    if match is None:
        return ""
    column = lines[line].index("#", match.start())
    taken = [match[1]]
    for below in lines[line + 1 :]:
        if below[: column + 1] != " " * column + "#":
            break
        taken.append(below[column + 1 :].strip())
    return " ".join(taken)


def _above(lines: list[str], line: int) -> str:
    """The lines directly above that hold nothing but a comment, as deep as the key."""
    indent = len(lines[line]) - len(lines[line].lstrip())
    taken: list[str] = []
    while line > 0 and lines[line - 1].startswith(" " * indent + "#"):
        line -= 1
        taken.insert(0, lines[line].strip()[1:].strip())
    return "" if line == 0 else " ".join(taken)


def _without_quotes(line: str) -> str:
    """A line with quoted texts blanked, which may hold a ``#``."""
    return (
        re.sub(r"'[^']*'|\"[^\"]*\"", lambda m: " " * len(m[0]), line.partition(" #")[0])
        + (line[len(line.partition(" #")[0]) :])
    )
