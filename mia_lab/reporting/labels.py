"""Short names for runs: what differs between their configurations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GROUPS = ("scale", "data", "victim", "defense", "difficulty", "backbone")
"""Parts of a configuration that have a name, which says what it implies."""

IGNORED = frozenset(
    {
        *("name", "task", "until", "paths", "demo_epochs", "tracking", "report", "evaluation"),
        *("compare", "collect", "score", "store", "fail_if"),
        *("query.batch_size", "difficulty.batch_size", "difficulty.keep_gb", "difficulty.maps"),
        *("difficulty.grid", "difficulty.shard", "victim.keep_epochs"),
        *(
            f"trainer.{key}"
            for key in (
                *("accelerator", "strategy", "devices", "threads", "workers", "compile"),
                "checkpoint_every_s",
            )
        ),
    }
)
"""Keys, with all keys below them, that do not change an attack's result."""

PLACES = frozenset({"paths", "compare", "collect", "store"})
"""Keys that say where files lie."""

MOST = 4
"""Most settings in one label."""

LONGEST = 36
"""Characters of a single value; a longer one is cut at its start."""

Settings = dict[str, Any]


COMMON = "common settings"
"""Label of a run whose every value is that of most runs."""


def run_labels(
    configs: Sequence[Mapping[str, Any] | None], folders: Sequence[Path]
) -> tuple[list[str], str]:
    """A label for each run, no two alike: ``seed=1 difficulty.layers=[2]``.

    A label names the keys whose values differ between the runs, without keys that only follow
    another: copies (``victim.seed`` of ``seed``) and what a group's choice implies
    (``victim=pix2pixhd``). It leaves out a value that more than half of the runs have. Runs whose
    labels are equal get the values of any other key that tells them apart. The name of the folder
    is a label of last resort: where no key differs, or the run has no configuration.

    Args:
        configs: the resolved configuration of each run; None where there is none.
        folders: where each run lies; no two are the same.

    Returns:
        The labels, and the values that they leave out, in the same form ("" for none).
    """
    known = [flat_settings(config) for config in configs if config is not None]
    keys = differing_keys(known) if known else []
    usual = {key: value for key in keys if (value := _majority(known, key))}
    names = _folder_names(folders)
    labels = [
        name if config is None else _label(flat_settings(config), keys, usual)
        for config, name in zip(configs, names, strict=True)
    ]
    for label in {label for label in labels if labels.count(label) > 1}:
        alike = [i for i, other in enumerate(labels) if other == label]
        for i, rest in zip(alike, _further([configs[i] for i in alike]), strict=True):
            labels[i] = " ".join(part for part in (label, rest) if part != COMMON) or COMMON
    return [
        label
        if labels.count(label) == 1
        else f"{label} ({name})"
        if label != COMMON or keys
        else name
        for label, name in zip(labels, names, strict=True)
    ], " ".join(f"{short_key(key)}={value}" for key, value in usual.items())


def _further(configs: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """What tells runs apart that :func:`differing_keys` does not: any key at all."""
    settings = [flat_settings(config or {}, ignored=PLACES) for config in configs]
    keys = [
        key
        for key in dict.fromkeys(key for s in settings for key in s)
        if len({_typed(s, key) for s in settings}) > 1
    ]
    keys.sort(key=lambda key: key in IGNORED or key.partition(".")[0] in IGNORED)
    return [_label(s, keys, {}) for s in settings]


def flat_settings(
    node: Mapping[str, Any], path: str = "", ignored: frozenset[str] = IGNORED
) -> Settings:
    """Values by their dotted keys, without those that are ignored; lists are values."""
    found: Settings = {}
    for name, value in node.items():
        key = f"{path}{name}"
        if key in ignored:
            continue
        if isinstance(value, Mapping):
            found |= flat_settings(value, f"{key}.", ignored)
        else:
            found[key] = value
    return found


def differing_keys(settings: Sequence[Settings]) -> list[str]:
    """Keys that several runs have, with different values, and that do not follow another key.

    Runs may lack a key: it belongs to a component that they do not use.
    """
    every = [*dict.fromkeys(key for s in settings for key in s)]
    differing = [key for key in every if len({as_typed(s[key]) for s in settings if key in s}) > 1]
    # An original comes before its copies.
    differing.sort(key=lambda key: ("." in key, not key.startswith("scale."), key.count(".")))
    chosen: dict[tuple[str, ...], str] = {}
    for key in differing:
        copied = key.rpartition(".")[2], *(_typed(s, key) for s in settings)
        chosen.setdefault(copied, key)
    chosen_keys = [key for key in chosen.values() if not _is_implied(key, settings)]
    return sorted(chosen_keys, key=lambda key: (key != "seed", every.index(key)))


def _typed(settings: Settings, key: str) -> str:
    """A value as typed; "" where the run has no such key."""
    return as_typed(settings[key]) if key in settings else ""


def _is_implied(key: str, settings: Sequence[Settings]) -> bool:
    """Whether the name of the key's group differs, and the key has one value for each name."""
    group, _, rest = key.partition(".")
    name = f"{group}.name"
    if group not in GROUPS or rest == "name" or not all(name in s for s in settings):
        return False
    names = {as_typed(s[name]) for s in settings}
    both = {(as_typed(s[name]), _typed(s, key)) for s in settings}
    return len(names) > 1 and len(both) == len(names)


def _majority(settings: Sequence[Settings], key: str) -> str:
    """The value that more than half of the runs have; "" if there is none."""
    (value, count), *_ = Counter(_value(s[key]) for s in settings if key in s).most_common(1)
    return value if 2 * count > len(settings) else ""


def _label(settings: Settings, keys: Sequence[str], usual: Mapping[str, str]) -> str:
    values = {key: _value(settings[key]) for key in keys if key in settings}
    parts = [f"{short_key(k)}={value}" for k, value in values.items() if value != usual.get(k)]
    more = [f"+{len(parts) - MOST} more"] if len(parts) > MOST else []
    return " ".join([*parts[:MOST], *more]) or COMMON


def short_overrides(overrides: Sequence[str]) -> str:
    """Overrides of a sweep's point in few characters: ``layers=1,2 ridge=10``.

    A key is cut to its last part, unless another key ends alike.
    """
    typed = [override.lstrip("+~").partition("=") for override in overrides]
    last = Counter(key.rpartition(".")[2] for key, _, _ in typed)
    parts = []
    for key, _, value in typed:
        end = key.rpartition(".")[2]
        value = value.strip("'\"").strip("[]")
        parts.append(f"{end if last[end] == 1 else key}={_cut(value)}")
    return " ".join(parts)


def short_key(key: str) -> str:
    """A group's name is chosen by the group itself: ``victim=pix2pix``."""
    group, _, rest = key.partition(".")
    return group if rest == "name" and group in GROUPS else key


def _value(value: object) -> str:
    return _cut(f"{value:g}" if isinstance(value, float) else as_typed(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else "..." + text[3 - LONGEST :]


def as_typed(value: object) -> str:
    """As one would type it on the command line; whole numbers alike, be they floats or not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _folder_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as are needed to tell the paths apart."""
    paths = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names
