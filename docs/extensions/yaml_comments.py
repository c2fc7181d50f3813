"""What the comments of a YAML file say of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml


def comments(path: Path) -> dict[str, str]:
    """The comment of each key, by its dotted name: the one beside it, else the one above it."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    found = {}
    for name, key, value in _keys(root, "") if isinstance(root, yaml.MappingNode) else ():
        comment = _beside(lines, key, value) or _above(lines, key.start_mark)
        if comment:
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


def _keys(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, key, value
        for inner in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(inner, yaml.MappingNode):
                yield from _keys(inner, f"{name}.")


def _beside(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    """The comment at the end of a key's line, and its continuation in the same column below."""
    is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    mark = key.end_mark if is_block else value.end_mark
    match = re.match(r"(?::|[\]}])?\s*# ?(.*)", lines[mark.line][mark.column :])
    if match is None:
        return ""
    column = lines[mark.line].index("#", mark.column)
    taken = [match[1]]
    for below in lines[mark.line + 1 :]:
        if below[: column + 1] != " " * column + "#":
            break
        taken.append(below[column + 1 :].strip())
    return " ".join(taken)


def _above(lines: list[str], mark: yaml.Mark) -> str:
    """The lines directly above that hold nothing but a comment, as deep as the key."""
    line, start = mark.line, " " * mark.column + "#"
    taken: list[str] = []
    while line > 0 and lines[line - 1].startswith(start):
        line -= 1
        taken.insert(0, lines[line].strip()[1:].strip())
    return "" if line == 0 else " ".join(taken)
