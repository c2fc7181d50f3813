"""Groups of images that belong together: their names, and the assignment of roles by group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mia_lab.data.manifest import CANDIDATE_ROLES, Rows
from mia_lab.data.splits import AUXILIARIES, Counts
from mia_lab.errors import UserError
from mia_lab.seeding import generator
from mia_lab.types import Role


def assign_groups(
    pool: Sequence[str], groups: Mapping[str, str], counts: Counts, seed: int
) -> Rows:
    """Draw roles by group, so that no group has images in two roles.

    Groups are taken in random order. First they fill the roles whose counts are given; surplus
    images of a group are left out. Then, if their count is not given, the members take groups until
    they have half of the remaining images (all of them if the count of non-members is given), the
    non-members take the rest, and the auxiliaries come last, at most 100. This order favours large
    groups slightly.

    Args:
        pool: ids of all images.
        groups: group of each image, by id.
        counts: number of images of each role.
        seed: seed of the draw.

    Raises:
        UserError: there are too few groups.
    """
    names = sorted({groups[i] for i in pool})
    shuffled = [names[k] for k in generator(seed, "split", "groups").permutation(len(names))]
    images = {name: [i for i in pool if groups[i] == name] for name in names}
    requested = {
        Role.MEMBER: counts.members,
        Role.NONMEMBER: counts.nonmembers,
        Role.AUXILIARY: counts.auxiliary,
    }

    def take(count: int) -> list[str]:
        chosen: list[str] = []
        while len(chosen) < count and shuffled:
            chosen += images[shuffled.pop()]
        return chosen

    roles: dict[Role, list[str]] = {}
    for role, count in requested.items():
        if count is not None:
            roles[role] = take(count)[:count]
            if len(roles[role]) < count:
                raise UserError(
                    f"data.group_by: the {len(names)} groups provide {len(roles[role])} of {count} "
                    f"images of role {role}, because a group has one role; ask for fewer images"
                )
    left = sum(len(images[name]) for name in shuffled)
    if Role.MEMBER not in roles:
        roles[Role.MEMBER] = take(left if Role.NONMEMBER in roles else left // 2)
    if Role.NONMEMBER not in roles:
        roles[Role.NONMEMBER] = take(left)
    if Role.AUXILIARY not in roles:
        roles[Role.AUXILIARY] = take(AUXILIARIES)[:AUXILIARIES]
    for role in CANDIDATE_ROLES:
        if not roles[role]:
            raise UserError(
                f"data.group_by: {len(names)} groups leave no images for role {role}, because a "
                "group has one role; choose a pattern that finds more groups"
            )
    return {i: {"role": str(role), "group": groups[i]} for role, ids in roles.items() for i in ids}


def group_names(ids: Sequence[str], pattern: str) -> dict[str, str]:
    """The group of each image: the match of a regular expression in its id.

    Args:
        ids: image ids.
        pattern: the regular expression; its first capturing group is the name, or else the whole
            match.

    Raises:
        UserError: the pattern is not a regular expression, or it does not match an id.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.group_by={pattern}: is not a regular expression ({error})") from None
    found = {}
    for image_id in ids:
        match = compiled.search(image_id)
        if match is None or not (name := match[1] if compiled.groups else match[0]):
            raise UserError(f"data.group_by={pattern}: finds no group in the id {image_id!r}")
        found[image_id] = name
    return found
