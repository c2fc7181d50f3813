"""The reference of the configuration says of every key what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from keys import (
    Choice,
    attack_choices,
    choices,
    defaults,
    difficulty_keys,
    in_words,
    schema_keys,
    source_choices,
)
from mia_lab.config.component import _located
from mia_lab.config.signature import signature_of
from reference import described, entry, in_markdown
from yaml_comments import comments

GROUPS = ("victim", "difficulty", "defense", "backbone")
CHOICES = [c for group in GROUPS for c in choices(group)] + attack_choices() + source_choices()


def leaves(node: object, prefix: str = "") -> set[str]:
    """The keys of a configuration that hold no mapping, and its components."""
    if not isinstance(node, dict) or "_target_" in node or prefix in COMPONENTS:
        return {prefix.rstrip(".")}
    return set().union(*(leaves(value, f"{prefix}{key}.") for key, value in node.items()))


COMPONENTS = {"attack.available.", "data.sources."}


def test_every_key_of_the_configuration_is_listed() -> None:
    composed = OmegaConf.to_container(defaults(), resolve=False)
    assert {key.name for key in schema_keys()} == leaves(composed)


def test_every_key_says_what_it_is() -> None:
    keys = schema_keys() + difficulty_keys() + [key for choice in CHOICES for key in choice.keys]
    assert [key.name for key in keys if not key.meaning] == []
    assert [
        key.name for key in keys if "any value" in key.type and "backbone" not in key.name
    ] == []


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.target], ids=lambda c: c.name)
def test_every_argument_of_a_component_is_listed(choice: Choice) -> None:
    listed = {key.name.rpartition(".")[2] for key in choice.keys}
    missing = set(signature_of(_located("component", choice.target)).parameters) - listed
    if choice.name.startswith("data.source="):  # others are keys of all datasets
        missing -= {key.name.removeprefix("data.") for key in schema_keys()}
    assert missing <= NOT_SET


NOT_SET = {"evidence", "ids", "model", "device", "grid", "backbone"}
"""Arguments that the package passes, and the grid, whose keys have entries of their own."""


def test_comments_beside_above_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "# heading\n"
        "first: 1   # beside,\n"
        "           # continued\n"
        "text: 'a # b'\n"
        "# above,\n"
        "# on two lines\n"
        "section:\n"
        "  inner: 2   # of the inner\n"
        "last: 3\n"
    )
    assert comments(path) == {
        "first": "beside, continued",
        "section": "above, on two lines",
        "section.inner": "of the inner",
    }


def test_types_in_words() -> None:
    number = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert in_words(number) == "number above 0 and at most 1"
    assert in_words({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}) == "a, b or null"
    assert in_words({"type": "array", "items": {"type": "integer"}}) == "list of integers"


def test_alternatives_become_a_list() -> None:
    assert described("pictures stored rotated: refuse | apply: turn them upright") == (
        "Pictures stored rotated.\n\n- `refuse`\n- `apply`: turn them upright"
    )
    assert described("style of pictures: a | b") == "Style of pictures."


def test_keys_and_settings_become_code() -> None:
    assert in_markdown("needs data.protocol=official, see data.manifest; None: no file") == (
        "needs `data.protocol=official`, see {confval}`data.manifest`; null: no file"
    )


def test_entry_of_a_key() -> None:
    (key,) = [key for key in schema_keys() if key.name == "data.image_size"]
    assert entry(key).splitlines()[:3] == [
        ":::{confval} data.image_size",
        ":type: integer or list of integers",
        ":default: `${scale.image_size}` = `64`",
    ]


def test_entry_of_the_shard() -> None:
    shard, *grid = map(entry, difficulty_keys())
    assert shard.splitlines()[0] == ":::{confval} difficulty.shard"
    assert "joins the 16 parts" in shard
    assert len(grid) == 5
