"""Find picture files in folders, and the partners among them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from mia_lab.data.reading import ENDINGS
from mia_lab.data.source import MissingPart
from mia_lab.errors import UserError, nearest_folder, refuse
from mia_lab.store import files_below
from mia_lab.store.content import is_hidden


@dataclass(frozen=True)
class Matches:
    """Files that belong together.

    Attributes:
        files: by their common name, one file of each folder.
        rule: what the common name is, in words; "" if the files have equal names.
    """

    files: Mapping[str, tuple[Path, ...]]
    rule: str = ""


def matched(folders: Sequence[Path], pattern: str | None = None) -> Matches:
    """The files of each name, one per folder.

    A name is a file's path below its folder without the extension. If the folders share no name,
    each folder may have a prefix and a suffix of its own (``photo_001``, ``001_B``): whole words
    that all its names have in common. The shortest ones are removed that give the folders most
    names in common.

    Args:
        folders: at least two folders.
        pattern: ``data.match``, a regular expression that finds the common name in each name: its
            first group, or else the whole match. None: names are compared as described.

    Raises:
        UserError: a name is missing in one of the folders, the folders have no name in common, or
            the pattern does not find one name for each file.
    """
    found = [pictures(folder) for folder in folders]
    if pattern is not None:
        found, rule = [_searched(files, pattern) for files in found], f"data.match={pattern}"
    elif set.intersection(*(set(files) for files in found)):
        rule = ""
    else:
        found, rule = _without_affixes(folders, found)
    names = _with_partners(folders, found)
    return Matches({name: tuple(files[name] for files in found) for name in names}, rule)


def pictures(folder: Path) -> dict[str, Path]:
    """All pictures below a folder, without hidden ones, by their relative paths without extension.

    Raises:
        UserError: there are none, two have one name, or see :func:`mia_lab.store.files_below`.
    """
    if not folder.is_dir():
        raise MissingPart(
            f"{folder}: no such folder; set data.root, data.layout, data.train and data.test "
            "to match your files (data.train='' where they lie in data.root itself)"
            f"{nearest_folder(folder)}"
        )
    found: dict[str, Path] = {}
    for path in files_below(folder, lambda p: p.suffix.lower() in ENDINGS, hidden=False):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            refuse(f"{path}: two pictures named {name} ({found[name].name}); remove one")
            continue
        found[name] = path
    if not found:
        raise UserError(f"{folder}: contains no pictures; put the pairs there or set data.root")
    return found


def passed_over(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files below a folder that :func:`pictures` leaves out, by the reason.

    A hidden folder counts as one file; what lies in it is not listed.
    """
    found: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder, followlinks=False):
        hidden = [name for name in (*folders, *names) if is_hidden(name)]
        if hidden:
            found.setdefault("hidden", []).extend(Path(parent, name) for name in sorted(hidden))
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (Path(parent, name) for name in sorted(names) if not is_hidden(name)):
            if path.suffix.lower() not in ENDINGS:
                found.setdefault(f"no picture ({path.suffix or 'no ending'})", []).append(path)
    return {reason: tuple(paths) for reason, paths in found.items()}


def _with_partners(folders: Sequence[Path], found: Sequence[Mapping[str, Path]]) -> list[str]:
    """The names that all folders have; the others are refused."""
    common = set.intersection(*(set(files) for files in found))
    for files in found:
        for other, folder in zip(found, folders, strict=True):
            if missing := sorted(files.keys() - other.keys()):
                problem = (
                    f"{files[missing[0]]}: has no partner {missing[0]}.* in {folder} "
                    f"({len(missing)} of {len(files)} have none); "
                    "add the partners, or remove these files"
                )
                if not common:
                    raise UserError(problem)
                refuse(problem)
    return [name for name in found[0] if name in common]


def _searched(files: Mapping[str, Path], pattern: str) -> dict[str, Path]:
    """Files by what a regular expression finds in their names."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.match={pattern}: is not a regular expression ({error})") from None
    found: dict[str, Path] = {}
    for name, path in files.items():
        match = compiled.search(name)
        if match is None or not (common := match[1] if compiled.groups else match[0]):
            refuse(
                f"{path}: data.match={pattern} finds nothing in the name {name!r}; remove the "
                "file, or change the expression"
            )
        elif common in found:
            refuse(
                f"{path}: data.match={pattern} finds {common!r}, as in {found[common].name}; "
                "give an expression that tells them apart"
            )
        else:
            found[common] = path
    return found


def _without_affixes(
    folders: Sequence[Path], found: Sequence[Mapping[str, Path]]
) -> tuple[list[dict[str, Path]], str]:
    """Files of each folder by their names, without a prefix and a suffix that these names share."""
    choices = [_shortened(files) for files in found]

    def rank(chosen: tuple[tuple[str, str], ...]) -> tuple[int, int]:
        names = (choice[affixes] for choice, affixes in zip(choices, chosen, strict=True))
        common = set.intersection(*(set(files) for files in names))
        return len(common), -sum(len(prefix + suffix) for prefix, suffix in chosen)

    best = max(product(*choices), key=rank)
    if not rank(best)[0]:
        examples = " and ".join(str(min(files.values())) for files in found)
        raise UserError(
            f"{examples}: the folders have no name in common; give a regular expression that "
            r"finds the common name of two partners, such as data.match='(\d+)$'"
        )
    shapes = [f"{p}NAME{s} in {f}" for (p, s), f in zip(best, folders, strict=True)]
    shortened = [choice[affixes] for choice, affixes in zip(choices, best, strict=True)]
    return shortened, ", ".join(shapes)


def _shortened(files: Mapping[str, Path]) -> dict[tuple[str, str], dict[str, Path]]:
    """Files by their shortened names, for each prefix and suffix that all names share."""
    own = [name.rpartition("/")[2] for name in files]
    starts = [own[0][:i] for i in _cuts(own[0], after=True)]
    ends = [own[0][i:] for i in _cuts(own[0], after=False)]
    prefixes = [start for start in starts if all(name.startswith(start) for name in own)]
    suffixes = [end for end in ends if all(name.endswith(end) for name in own)]
    shortest = min(map(len, own))
    found = {}
    for prefix, suffix in product(prefixes, suffixes):
        if len(prefix + suffix) < shortest:
            parents = ((*name.rpartition("/"), path) for name, path in files.items())
            found[prefix, suffix] = {
                f"{parent}{slash}{name[len(prefix) : len(name) - len(suffix)]}": path
                for parent, slash, name, path in parents
            }
    return found


def _cuts(name: str, after: bool) -> list[int]:
    """Where a name may be cut: at its ends, between letters and digits, and at separators.

    Args:
        name: the name of a file.
        after: whether a separator stays in front of the cut.
    """
    found = [0, len(name)]
    for i, (left, right) in enumerate(pairwise(name), start=1):
        if left.isalnum() and right.isalnum():
            is_cut = left.isdigit() != right.isdigit()
        else:
            is_cut = not (left if after else right).isalnum()
        if is_cut:
            found.append(i)
    return found
