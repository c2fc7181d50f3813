"""Reference pages that are written from the code: keys, components, metrics.json, the API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config as NapoleonConfig
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

import mia_lab
from keys import (
    Choice,
    Key,
    attack_choices,
    choices,
    difficulty_keys,
    in_words,
    schema_keys,
    schema_sections,
    source_choices,
    written,
)
from mia_lab.errors import one_line

COMPONENTS = ("victim", "difficulty", "defense", "backbone")
OPTION = re.compile(r"`?([\w.-]+)`?(?:[:,] (.+))?")
"""One of several values, and what it does."""

CODE = re.compile(
    r"(?<![\w`'\"/.-])(?:'[^']+'|[+]?[\w.@/]+=(?:'[^']*'|[^\s,;)|]*[^\s,;).:|'])|[a-z_]\w*(?:\.[a-z_]\w*)+(?:\(\))?|\w*[a-z]_[a-z_]\w*|_\w+_)(?![\w/])"
)
"""A setting, a key or a name of code in plain text."""

SCHEMA = Path(mia_lab.__file__).parent / "reporting/metrics.schema.json"


def configuration() -> str:
    """Every key that belongs to no component, a section of the page for each of the schema."""
    sections = schema_sections()
    found: dict[str, list[Key]] = {"": [], **{name: [] for name in sections}}
    for key in schema_keys():
        section = key.name.partition(".")[0]
        found[section if section in sections else ""].append(key)
    parts = []
    for name, keys in found.items():
        parts += [f"## {name or 'Keys of the root'}\n"]
        if name:
            parts += [f"{in_markdown(one_line(sections[name].__doc__ or ''))}\n"]
        parts += [entry(key) for key in keys]
    return "\n".join(parts)


def components() -> str:
    """Every choice of victim, difficulty, defence, backbone, attack and source, and its keys."""
    groups = {
        **{group: choices(group) for group in COMPONENTS},
        "attack.available": attack_choices(),
        "data.sources": source_choices(),
    }
    seen: set[str] = set()
    parts = []
    for group, found in groups.items():
        parts += [f"## {group}\n", f"{_sentence(in_markdown(written()[group]))}\n"]
        parts += [entry(key) for key in difficulty_keys() if group == "difficulty"]
        for choice in found:
            parts += [f"### {choice.name}\n", *_described(choice)]
            for key in choice.keys:
                parts.append(entry(key, is_indexed=key.name not in seen))
                seen.add(key.name)
    return "\n".join(parts)


def metrics() -> str:
    """The fields of ``metrics.json``, a table for each object of its schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    objects = {"The file": schema, **schema["$defs"]}
    return "\n".join(line for name, found in objects.items() for line in _object(name, found))


def public_names() -> str:
    """The names that ``mia_lab`` exports, each described by its docstring."""
    lines = ["```{eval-rst}", ".. currentmodule:: mia_lab", ""]
    functions = [name for name in mia_lab.__all__ if not isinstance(getattr(mia_lab, name), type)]
    classes = [name for name in mia_lab.__all__ if name not in functions]
    lines += [".. autosummary::", "", *(f"   {name}" for name in [*functions, *classes]), ""]
    lines += [f".. autofunction:: {name}" for name in functions]
    for name in classes:
        lines += [f".. autoclass:: {name}()", "   :members:", ""]
    return "\n".join([*lines, "```"])


def entry(key: Key, *, is_indexed: bool = True) -> str:
    """One key as Sphinx's ``confval``."""
    default = "must be set" if key.default is None else f"`{key.default}`"
    if key.resolved is not None:
        default += f" = `{key.resolved}`"
    index = "" if is_indexed else ":no-index:\n"
    options = f":type: {key.type}\n:default: {default}\n{index}"
    return f":::{{confval}} {key.name}\n{options}\n{described(key.meaning)}\n:::\n"


def described(meaning: str) -> str:
    """A meaning; its alternatives, ``a: text | b: text``, as a list."""
    first, *others = in_markdown(meaning).split(" | ")
    if not others:
        return _sentence(first)
    lead = "" if OPTION.fullmatch(first) else re.match(r".*?[.:] (?=`?[\w.-]+`?(:|$))", first)
    begin = lead[0] if lead else ""
    options = [first.removeprefix(begin), *others]
    found = [OPTION.fullmatch(option) for option in options]
    if not any(match and match[2] for match in found):  # the type says so
        return _sentence(begin.rstrip(": "))
    items = [
        f"- `{match[1]}`" + (f": {match[2]}" if match[2] else "") if match else f"- {option}"
        for match, option in zip(found, options, strict=True)
    ]
    return "\n".join([f"{_sentence(begin.rstrip(': '))}\n", *items])


def in_markdown(text: str) -> str:
    """A comment, or a docstring's reStructuredText as far as ours use it, as Markdown."""
    text = re.sub(r"(?::py)?:\w+:`~[\w.]*?(\w+)`", r"`\1`", text)
    text = re.sub(r"(?::py)?:\w+:`([^`]+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else _marked(part) for part in parts)


def _marked(text: str) -> str:
    """Text outside code; settings, keys and names of code become code."""
    text = re.sub(r"\bNone\b", "null", text)
    text = CODE.sub(lambda match: _code(match[0]), text)
    return re.sub(r"(?<!`)\*(?!`)", r"\*", text)


def _code(word: str) -> str:
    return f"{{confval}}`{word}`" if word in _names() else f"`{word}`"


@cache
def _names() -> frozenset[str]:
    """The keys that have an entry."""
    return frozenset(key.name for key in schema_keys())


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    begin = text[0].upper() if re.match(r"[a-z]+\b(?![_.:/(])", text) else text[0]
    return begin + text[1:] + ("" if text[-1] in ".!?" else ".")


def _described(choice: Choice) -> Iterator[str]:
    if choice.meaning:
        yield f"{_sentence(in_markdown(choice.meaning))}\n"
    if choice.summary:
        yield f"{in_markdown(choice.summary)}\n"
    if choice.target:
        yield f"Code: `{choice.target}`\n"


def _object(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"({anchor(name)})="
    yield f"## {name}\n"
    yield f"{_sentence(in_markdown(one_line(schema.get('description', ''))))}\n"
    yield "| field | type | meaning |\n|---|---|---|"
    for field, found in schema.get("properties", {}).items():
        meaning = _sentence(in_markdown(one_line(found.get("description", ""))))
        yield f"| `{field}` | {_linked(found)} | {meaning.replace('|', chr(92) + '|')} |"
    yield ""


def _linked(schema: dict[str, Any]) -> str:
    """A type in words; objects link to their own table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(_linked(option) for option in schema["anyOf"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_linked(schema['items'])}"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"mapping to {_linked(values)}"
    return in_words(schema)


def anchor(name: str) -> str:
    """The anchor of an object of ``metrics.json``."""
    return f"metrics-{name.casefold().replace('.', '-')}"


class Written(SphinxDirective):
    """A part of a page, written as MyST text when the page is read."""

    write: ClassVar[Callable[[], str]]

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # its sources are many
        container = nodes.section()
        container.document = self.state.document
        text = StringList(type(self).write().splitlines(), self.env.docname)
        self.state.nested_parse(text, self.content_offset, container, match_titles=True)
        return container.children


def read_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Google's style; napoleon itself takes a colon in a property's first line for a type."""
    if what != "property":
        google = NapoleonConfig(napoleon_use_rtype=False)
        lines[:] = GoogleDocstring([*lines], google, app, what, name, obj).lines()


def name_aliases(
    app: Sphinx, what: str, name: str, obj: object, options: object, given: str, returned: str
) -> tuple[str, str] | None:
    """Names of ``autodoc_type_aliases``, which Sphinx shows as calls within a union."""
    return given and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", given), returned


PARTS = {
    "configuration-keys": configuration,
    "component-keys": components,
    "metrics-schema": metrics,
    "public-names": public_names,
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", name_aliases)
    for name, write in PARTS.items():
        app.add_directive(name, type(name, (Written,), {"write": staticmethod(write)}))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
