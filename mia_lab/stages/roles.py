"""Which image plays which role, as the configuration says; nothing is decoded yet."""

from __future__ import annotations

from pathlib import Path

from mia_lab.config.choices import Assignment, Protocol, Task
from mia_lab.config.schema import Config
from mia_lab.data import groups, splits
from mia_lab.data.source import PairSource, all_ids
from mia_lab.errors import UserError


def assign_roles(config: Config, source: PairSource) -> splits.Rows:
    """Role and group of every chosen image.

    Raises:
        UserError: the images are too few for what is asked, or a manifest or a pattern of groups
            does not fit them.
    """
    rows = _rows(config, source)
    guesses = config.evaluation.guesses
    n = sum(row["role"] in splits.JUDGED for row in rows.values())
    if guesses is not None and guesses > n:
        raise UserError(
            f"evaluation.guesses={guesses}: there are {n} candidates; ask for fewer guesses, or "
            "raise data.n_members and data.n_nonmembers"
        )
    return rows


def _rows(config: Config, source: PairSource) -> splits.Rows:
    data, seed = config.data, config.seed
    counts = splits.Counts(data.n_members, data.n_nonmembers, data.n_auxiliary)
    if data.protocol is Protocol.resplit:
        pool = source.ids("train")
        if data.group_by is not None:
            names = groups.group_names(pool, data.group_by)
            return groups.assign_groups(pool, names, counts, seed)
        coins = data.assignment is Assignment.bernoulli
        return splits.assign_resplit(pool, counts, seed, coins=coins)
    if data.protocol is Protocol.official:
        rows = splits.assign_official(source.ids("train"), source.ids("test"), counts, seed)
    else:
        unknown = config.task is Task.score
        rows = splits.read_manifest(Path(str(data.manifest)), all_ids(source), unknown)
    if data.group_by is not None:
        names = groups.group_names([*rows], data.group_by)
        rows = {i: {"group": names[i], **row} for i, row in rows.items()}
    return rows
