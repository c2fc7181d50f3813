"""Groups of images that belong together: what they are called, and roles by group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mia_lab.data.splits import AUXILIARIES, JUDGED, Counts, Rows
from mia_lab.errors import UserError
from mia_lab.seeding import generator
from mia_lab.types import Role


def assign_groups(
    pool: Sequence[str], groups: Mapping[str, str], counts: Counts, seed: int
) -> Rows:
    """Roles drawn by group: no group has images in two roles.

    Groups come in random order, and fill the roles whose numbers are given; what a group has beyond
    them is left out. Of the others, members take groups until half of what is left, or all where
    the non-members are given; non-members take the rest; auxiliaries come last, up to 100. Filling
    up like this favours large groups a little.

    Args:
        pool: ids of all images there are.
        groups: the group of each.
        counts: how many images of each role.
        seed: decides the draw.

    Raises:
        UserError: the groups are too few.
    """
    names = sorted({groups[i] for i in pool})
    mixed = [names[k] for k in generator(seed, "split", "groups").permutation(len(names))]
    images = {name: [i for i in pool if groups[i] == name] for name in names}
    asked = {
        Role.MEMBER: counts.members,
        Role.NONMEMBER: counts.nonmembers,
        Role.AUXILIARY: counts.auxiliary,
    }

    def take(count: int) -> list[str]:
        chosen: list[str] = []
        while len(chosen) < count and mixed:
            chosen += images[mixed.pop()]
        return chosen

    roles: dict[Role, list[str]] = {}
    for role, count in asked.items():
        if count is not None:
            roles[role] = take(count)[:count]
            if len(roles[role]) < count:
                raise UserError(
                    f"data.group_by: its {len(names)} groups give {len(roles[role])} of {count} "
                    f"images of role {role}, as no group may have two roles; ask for fewer images"
                )
    left = sum(len(images[name]) for name in mixed)
    if Role.MEMBER not in roles:
        roles[Role.MEMBER] = take(left if Role.NONMEMBER in roles else left // 2)
    if Role.NONMEMBER not in roles:
        roles[Role.NONMEMBER] = take(left)
    if Role.AUXILIARY not in roles:
        roles[Role.AUXILIARY] = take(AUXILIARIES)[:AUXILIARIES]
    for role in JUDGED:
        if not roles[role]:
            raise UserError(
                f"data.group_by: {len(names)} groups leave no images for role {role}, as no group "
                "may have two roles; it needs to name more groups"
            )
    return {i: {"role": str(role), "group": groups[i]} for role, ids in roles.items() for i in ids}


def group_names(ids: Sequence[str], pattern: str) -> dict[str, str]:
    """The group of each image: what a regular expression finds in its id.

    Args:
        ids: of images.
        pattern: searched for; its first parenthesis is the name, or all that it finds.

    Raises:
        UserError: it is no regular expression, or an id has no such part.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.group_by={pattern}: is no regular expression ({error})") from None
    found = {}
    for image_id in ids:
        match = compiled.search(image_id)
        if match is None or not (name := match[1] if compiled.groups else match[0]):
            raise UserError(f"data.group_by={pattern}: finds no group in the id {image_id!r}")
        found[image_id] = name
    return found
