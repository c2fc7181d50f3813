"""Every key of the configuration: its type and its default, and what is written of it.

The schema and the signatures of the components state types; ``conf/`` states defaults, and its
comments and the docstrings of the components say what a key means.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from pydantic import PydanticUserError, TypeAdapter
from pydantic.json_schema import PydanticInvalidForJsonSchema
from sphinx.ext.napoleon import Config as NapoleonConfig
from sphinx.ext.napoleon import GoogleDocstring

from mia_lab.config.build import ATTACK_ARGUMENTS
from mia_lab.config.component import _located
from mia_lab.config.compose import CONF, register_resolvers
from mia_lab.config.schema import Config, Grid, Section
from mia_lab.config.shards import KEY as SHARD
from mia_lab.config.signature import signature_of
from mia_lab.parameters import LARGEST
from yaml_comments import comments, heading

PROVIDED = {"difficulty": ("backbone", "device"), "attack.available": ATTACK_ARGUMENTS}
"""Arguments that no configuration sets."""

DEFAULT_FILES = (
    "config",
    "data/facades",
    "data/_base",
    "difficulty/grid/none",
    "scale/demo",
    "attack/default",
    "trainer/auto",
    "tracking/wandb",
)
"""The files whose comments say what the keys of the schema mean."""

LONGEST = 60
"""Characters of a default that are shown."""


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: its full, dotted name.
        type: its type and range, in words.
        default: as ``conf/`` has it; None: it must be set.
        resolved: the value of a default that refers to other keys.
        meaning: what it does; "" where nothing is written.
    """

    name: str
    type: str
    default: str | None
    resolved: str | None
    meaning: str


@dataclass(frozen=True)
class Choice:
    """One choice of a group, such as ``victim=pix2pix``.

    Attributes:
        name: as the command line has it.
        meaning: the heading of its file, or its entry.
        target: the class or function that it configures; "" without one.
        summary: what the docstring of the target says.
        keys: its arguments.
    """

    name: str
    meaning: str
    target: str
    summary: str
    keys: tuple[Key, ...]


@cache
def defaults() -> DictConfig:
    """The configuration without any override; references to other keys are kept."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config")


@cache
def written() -> dict[str, str]:
    """The comments of ``conf/`` by key."""
    found: dict[str, str] = {}
    for name in DEFAULT_FILES:
        group = name.rpartition("/")[0].replace("/", ".")
        for key, comment in comments(CONF / f"{name}.yaml").items():
            found[f"{group}.{key}" if group else key.removeprefix("defaults.")] = comment
    return found


def schema_keys(section: type[Section] = Config, prefix: str = "") -> list[Key]:
    """The keys of the schema; a component is one key."""
    found = []
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        inner = _section(field.annotation)
        if inner is not None and key != "reference.data":
            found += schema_keys(inner, f"{key}.")
            continue
        type_ = in_words(_json_schema(field.rebuild_annotation()))
        found.append(Key(key, type_, *_default(key), written().get(key, "")))
    return found


def difficulty_keys() -> list[Key]:
    """The keys below ``difficulty`` that no component has: the shard, and those of the grid."""
    shard = Key(SHARD, "text or null", *_default(SHARD), written()[SHARD])
    return [shard, *schema_keys(Grid, "difficulty.grid.")]


def schema_sections() -> dict[str, type[Section]]:
    """The sections of the schema by their key, in its order."""
    inner = {name: _section(field.annotation) for name, field in Config.model_fields.items()}
    return {name: section for name, section in inner.items() if section is not None}


def choices(group: str) -> list[Choice]:
    """What a group of components offers, by its files."""
    files = sorted((CONF / group).glob("*.yaml"))
    return [_choice(group, f"{group}={path.stem}", path) for path in files]


def attack_choices() -> list[Choice]:
    """The attacks, entries of ``conf/attack/default.yaml``."""
    path = CONF / "attack/default.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["available"]
    said = comments(path)
    return [
        _component(
            "attack.available", f"attack.available.{name}", name, node, "", said,
            f"available.{name}.",
        )
        for name, node in entries.items()
    ]  # fmt: skip


def source_choices() -> list[Choice]:
    """The sources of data, entries of ``conf/data/_base.yaml``."""
    path = CONF / "data/_base.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    said = comments(path)
    return [
        _component(
            "data.sources", f"data.sources.{name}", f"data.source={name}", node,
            said.get(f"sources.{name}", ""), said, f"sources.{name}.",
        )
        for name, node in entries.items()
    ]  # fmt: skip


def _choice(group: str, name: str, path: Path) -> Choice:
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _component(group, group, name, node, heading(path), comments(path), "")


def _component(
    group: str,
    key: str,
    name: str,
    node: Mapping[str, Any],
    meaning: str,
    said: Mapping[str, str],
    prefix: str,
) -> Choice:
    target = node.get("_target_")
    if target in (None, "???"):
        return Choice(name, meaning, "", "", ())
    kind = _located(key, target)
    arguments = documented_arguments(kind)
    found = []
    for argument, parameter in signature_of(kind).parameters.items():
        if argument in PROVIDED.get(group, ()) or argument == "grid":
            continue
        value = node.get(argument, parameter.default)
        default = None if parameter.is_required and argument not in node else _shown(value)
        if default == f"${{...{argument}}}":  # of a source of data: the key of all datasets
            continue
        said_here = said.get(f"{prefix}{argument}", "")
        text = fuller(_followed(argument, arguments.get(argument, "")), said_here)
        type_ = in_words(_json_schema(parameter.annotation))
        found.append(Key(f"{key}.{argument}", type_, default, None, text))
    return Choice(name, meaning, target, summary(kind), tuple(found))


def fuller(argument: str, comment: str) -> str:
    """What a docstring says of an argument, or a comment if it says more."""
    refers = argument.startswith(("see ", "as of "))
    return comment if comment and (refers or len(comment) >= len(argument)) else argument


def _followed(argument: str, text: str) -> str:
    """What the class says of an argument that a text refers to, if it refers to one."""
    match = re.match(r"(?:see|as of) :class:`~?(mia_lab\.[\w.]+)`", text)
    return documented_arguments(_located(argument, match[1])).get(argument, text) if match else text


def summary(kind: Callable[..., Any]) -> str:
    """The text of a docstring before its sections."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return re.split(r"^(?:Args|Attributes|Raises|Returns):\s*$", text, flags=re.MULTILINE)[
        0
    ].strip()


def documented_arguments(kind: Callable[..., Any]) -> dict[str, str]:
    """What ``Args:`` says of each argument; a class also inherits what it says."""
    found: dict[str, str] = {}
    bases = inspect.getmro(kind) if inspect.isclass(kind) else (kind,)
    for base in reversed(bases):
        if base.__module__.startswith("mia_lab."):
            for doc in (base.__doc__, getattr(base.__init__, "__doc__", None)):
                found |= _arguments(inspect.cleandoc(doc or ""))
    return found


def _arguments(doc: str) -> dict[str, str]:
    lines = GoogleDocstring(doc, NapoleonConfig(napoleon_use_param=True)).lines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if match := re.match(r":param ([^:]+): ?(.*)", line):
            names = [name.strip().lstrip("\\*") for name in match[1].split(",")]
            found |= dict.fromkeys(names, match[2])
        elif line.startswith(" ") and names:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
        else:
            names = []
    return found


def _section(annotation: Any) -> type[Section] | None:
    """The section that a field holds."""
    for found in (annotation, *get_args(annotation)):
        if isinstance(found, type) and issubclass(found, Section):
            return found
    return None


def _default(key: str) -> tuple[str | None, str | None]:
    """The default as written, and its value where it refers to other keys."""
    raw: Any = OmegaConf.to_container(defaults(), resolve=False)
    for part in key.split("."):
        raw = raw[part]
    is_reference = isinstance(raw, str) and "${" in raw
    return _shown(raw), _shown(OmegaConf.select(defaults(), key)) if is_reference else None


def _shown(value: Any) -> str | None:
    """A value as the command line takes it; None: it must be set."""
    if value in ("???", inspect.Parameter.empty):
        return None
    if isinstance(value, Mapping | DictConfig):
        return value.get("name", "...")
    if value == "":
        return "''"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    text = text.removesuffix("\n...").removesuffix("...").strip()
    text = value if isinstance(value, str) else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _json_schema(annotation: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(annotation).json_schema(mode="validation")
    except (PydanticUserError, PydanticInvalidForJsonSchema):
        return {}


def in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> str:
    """A type of JSON schema in words."""
    definitions = schema.get("$defs", definitions) or {}
    if "$ref" in schema:
        return in_words(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        options = [in_words(option, definitions) for option in schema["anyOf"]]
        return _either([*dict.fromkeys(options)])
    if "enum" in schema:
        return _either([str(value) for value in schema["enum"]])
    if "const" in schema:
        return str(schema["const"])
    if "prefixItems" in schema:
        return f"[{', '.join(in_words(item, definitions) for item in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        item = in_words(schema.get("items", {}), definitions)
        if item == "any value":
            return "list"
        return f"list of ({item})" if " or " in item else f"list of {_plural(item)}"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"mapping to {in_words(values, definitions)}"
    words = {
        "string": "text", "integer": "integer", "number": "number", "boolean": "true or false",
        "null": "null", "object": "mapping",
    }  # fmt: skip
    return f"{words.get(str(schema.get('type')), 'any value')}{_range(schema)}"


def _either(options: list[str]) -> str:
    """Options with one "or" before the last."""
    flat = [part for option in options for part in option.split(" or ")]
    return ", ".join(flat[:-1]) + f" or {flat[-1]}" if len(flat) > 1 else flat[0]


def _plural(item: str) -> str:
    first, _, rest = item.partition(" ")
    many = {"any": "any", "true": "true"}.get(first, f"{first}s")
    return f"{many} {rest}".strip()


def _range(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    limits = []
    if low is not None and low > -LARGEST:
        limits.append(f"{'above' if 'exclusiveMinimum' in schema else 'at least'} {low:g}")
    if high is not None and high < LARGEST:
        limits.append(f"{'below' if 'exclusiveMaximum' in schema else 'at most'} {high:g}")
    return f" {' and '.join(limits)}" if limits else ""
