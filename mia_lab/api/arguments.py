"""Errors of a call, which name the arguments of the call and not the command's keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mia_lab.errors import UserError

ARGUMENTS = {
    "attack.names": "attacks",
    "score.fpr": "fpr",
    **{
        f"canary.{name}": name
        for name in (
            *("folder", "folders", "input", "target", "variants", "kind", "pattern", "strength"),
            *("k", "score", "combine", "planned"),
        )
    },
    "seed": "seed",
    "data.image_size": "image_size",
    "paths.outputs": "folder",
}
"""The argument that states a key; an override of the key is refused."""

OF_IMAGES = (
    (r"\braise data\.n_auxiliary\b", "give more auxiliaries"),
    (r" \(rows with this role in data\.manifest\)", ""),
    (r" \(see data\.[^)]*\)", ""),
    (r"\b(set data\.\w+_channels=.*), or convert them", r"convert them, or of folders \1"),
    (r"\bdata\.root=(?=.*: no such folder)", ""),
    (r"; set data\.root, [^)]*\)", "; data.layout, an override, says how its pictures lie"),
)
"""Words on where images are, where arguments give the images: patterns and what stands for them."""

OF_CALLS = (
    (r"^images(?=: )", "x, y"),  # of difficulty_scores
    (r"\bvictim=pretrained victim\.checkpoint=FILE\b", "the path of its file"),
    (r"\btask=difficulty\b", "difficulty_scores()"),
    (r"\btask=(\w+)", r"\1()"),
    (r"\bvictim\.value_range\b", "value_range"),
    (r"\bvictim\.(?:checkpoint|folder|url)\b", "victim"),
    (r"\bpaths\.store=(\S+)/store\b", r"folder=\1"),
    (r"\bbackbone\.name\b", "backbone"),
    *((rf"(?<![\w.+@]){re.escape(key)}\b(?!\.)", name) for key, name in ARGUMENTS.items()),
    (r"\b(?:set|add|use|give) (?=\+?\w+[.@][\w.@]+=)", "add the override "),
)
"""Words of the command that no call has, likewise."""


@contextmanager
def named(*, images: bool) -> Iterator[None]:
    """Errors that end the block name arguments.

    Args:
        images: whether arguments give the images; otherwise overrides do.
    """
    try:
        yield
    except UserError as error:
        text = str(error)
        for pattern, words in (*(OF_IMAGES if images else ()), *OF_CALLS):
            text = re.sub(pattern, words, text)
        error.args = (text,)
        raise
