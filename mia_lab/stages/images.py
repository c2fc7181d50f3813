"""The images of a run and their roles, before any of them is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mia_lab.config import build
from mia_lab.config.checks import check_guesses
from mia_lab.config.choices import Assignment, Duplicates, Protocol, Task
from mia_lab.config.schema import Config, Data
from mia_lab.data import groups, manifest, splits
from mia_lab.data.dataset import PairDataset
from mia_lab.data.source import PairSource, all_ids
from mia_lab.errors import UserError, noting
from mia_lab.progress import progress
from mia_lab.types import Role

SourceReader = Callable[[Data], PairSource]
"""Gives the source that some settings of data describe."""


@dataclass(frozen=True)
class RunImages:
    """The images that play a role in a run.

    Attributes:
        dataset: all of them, in the order of their ids.
        rows: role, and group, content hash and prompt where known, of each id.
        attacked: the roles of the images under attack.
        keeps_duplicates: whether identical pairs may have different roles.
        dropped: ids that were left out, because identical pairs had different roles.
    """

    dataset: PairDataset
    rows: manifest.Rows
    attacked: tuple[Role, ...]
    keeps_duplicates: bool = False
    dropped: tuple[str, ...] = ()

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Ids of the images that the victim is trained on."""
        return self.of(Role.MEMBER)

    @cached_property
    def nonmembers(self) -> tuple[str, ...]:
        """Ids of the candidates that the victim never saw."""
        return self.of(Role.NONMEMBER)

    @cached_property
    def auxiliaries(self) -> tuple[str, ...]:
        """Ids of the known non-members that are set aside."""
        return self.of(Role.AUXILIARY)

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Ids of the images under attack."""
        return self.of(*self.attacked)

    @cached_property
    def scored(self) -> PairDataset:
        """The images that attacks score: candidates, and auxiliaries, which fix thresholds."""
        return self.dataset.subset(self.of(*self.attacked, Role.AUXILIARY))

    @property
    def listed(self) -> Mapping[str, tuple[Path, Path]]:
        """Input and target of each image, where a manifest lists them; else empty."""
        return getattr(self.dataset.source, "listed", {})

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """The group of each image that has one."""
        return {i: row["group"] for i, row in self.rows.items() if "group" in row}

    @cached_property
    def collections(self) -> Mapping[str, str]:
        """The collection of each image that belongs to one."""
        rows = ((i, self.rows[i]) for i in self.dataset.ids)
        return {i: row[manifest.COLLECTION] for i, row in rows if manifest.COLLECTION in row}

    def of(self, *roles: Role) -> tuple[str, ...]:
        """Ids of all images with one of the given roles."""
        return tuple(i for i in self.dataset.ids if self.rows[i]["role"] in roles)


ATTACKED = {
    Task.score: (Role.CANDIDATE,),
    Task.dataset_inference: (Role.CANDIDATE, Role.MEMBER),
}
"""Roles of the images under attack, where they are others than those of an audit."""


def run_images(config: Config, source: PairSource) -> RunImages:
    """The images that a configuration chooses from a source, with their roles.

    Raises:
        UserError: the images are too few, or a manifest or a pattern of groups does not fit them.
    """
    rows = _assign_roles(config, source)
    attacked = ATTACKED.get(config.task, manifest.CANDIDATE_ROLES)
    dropped: tuple[str, ...] = ()
    if config.data.duplicates is Duplicates.drop:
        dropped = _in_two_roles(source, rows)
        before = {row["role"] for row in rows.values()}
        rows = {i: row for i, row in rows.items() if i not in dropped}
        _check_left(rows, [role for role in attacked if role in before], dropped)
    check_guesses(config, sum(row["role"] in attacked for row in rows.values()))
    prompts = {i: row[manifest.PROMPT] for i, row in rows.items() if manifest.PROMPT in row}
    dataset = pair_dataset(config.data, source, sorted(rows), prompts=prompts)
    keeps = config.data.duplicates is Duplicates.keep
    return RunImages(dataset, rows, attacked, keeps, dropped)


def pair_dataset(
    data: Data,
    source: PairSource,
    ids: Sequence[str],
    key: str = "data",
    prompts: Mapping[str, str] | None = None,
) -> PairDataset:
    """Some pairs of a source, in the size and the encoding that victims are given.

    Args:
        data: the settings.
        source: the dataset that they describe.
        ids: of the pairs.
        key: of the settings, for messages.
        prompts: the prompt of each id that has one.

    Raises:
        UserError: labels are asked for, and there is no palette, or a wrong one.
    """
    encoding = build.encoding(data, source, key)
    return PairDataset(
        source, ids, data.image_size, encoding=encoding, resize=data.resize, prompts=prompts
    )


def _in_two_roles(source: PairSource, rows: manifest.Rows) -> tuple[str, ...]:
    """Ids of all images whose pair is that of an image in another role."""
    hashes = {}
    for image_id in progress(sorted(rows), "comparing", is_brief=True):
        stored = source.fingerprint([image_id])
        with noting():
            if stored not in _hashes:
                _hashes[stored] = splits.content_hash(source.load(image_id))
            hashes[image_id] = _hashes[stored]
    roles = {image_id: row["role"] for image_id, row in rows.items()}
    return tuple(sorted(i for ids in splits.in_two_roles(hashes, roles) for i in ids))


_hashes: dict[str, str] = {}
"""Content hash of pairs by their fingerprints: the points of a sweep decode a pair once."""


def _check_left(rows: manifest.Rows, attacked: Sequence[Role], dropped: tuple[str, ...]) -> None:
    left = {row["role"] for row in rows.values()}
    if gone := [role for role in attacked if role not in left]:
        raise UserError(
            f"data.duplicates=drop: leaves out {len(dropped)} images, so that none is left with "
            f"the role {gone[0]}; remove copies from the dataset, or set data.duplicates=keep"
        )


def _assign_roles(config: Config, source: PairSource) -> manifest.Rows:
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
        path = Path(str(data.manifest))
        if manifest.names_files(path) and not hasattr(source, "listed"):
            raise UserError(
                f"data.source={data.source}: data.manifest={path} lists files, which "
                "data.source=folder reads; set that, or remove the columns input and target"
            )
        if config.task is Task.dataset_inference:
            rows = manifest.read_collections(path, all_ids(source))
        else:
            rows = manifest.read_manifest(path, all_ids(source), config.task is Task.score)
    if data.group_by is not None:
        if any("group" in row for row in rows.values()):
            raise UserError(
                f"data.group_by={data.group_by}: data.manifest={data.manifest} gives groups, too, "
                "in its column group; leave one of them out"
            )
        names = groups.group_names([*rows], data.group_by)
        rows = {i: {**row, "group": names[i]} for i, row in rows.items()}
    return rows
