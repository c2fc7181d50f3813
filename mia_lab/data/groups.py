"""Groups of images that belong together: what they are called, and roles by group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mia_lab.data.splits import AUXILIARIES, JUDGED, Counts, Rows, resolve
from mia_lab.errors import UserError
from mia_lab.seeding import generator
from mia_lab.types import Role


def assign_groups(
    pool: Sequence[str], groups: Mapping[str, str], counts: Counts, seed: int
) -> Rows:
    """Roles drawn by group: no group has images in two roles.

    Groups come in random order, and fill the members, then the non-members, then the auxiliaries;
    what a group has beyond the number asked for is left out.

    Args:
        pool: ids of all images there are.
        groups: the group of each.
        counts: how many images of each role; where neither members nor non-members are told, the
            members end with the group that completes half of the pool.
        seed: decides the draw.

    Raises:
        UserError: the groups are too few.
    """
    names = sorted({groups[i] for i in pool})
    mixed = [names[k] for k in generator(seed, "split", "groups").permutation(len(names))]
    whole = counts.members is None and counts.nonmembers is None
    members, nonmembers = resolve(counts, len(pool))
    wanted = {Role.MEMBER: members, Role.NONMEMBER: nonmembers, Role.AUXILIARY: counts.auxiliary}
    rows: Rows = {}
    for role, asked in wanted.items():
        count = AUXILIARIES if asked is None else asked
        chosen: list[str] = []
        while len(chosen) < count and mixed:
            name = mixed.pop()
            chosen += [i for i in pool if groups[i] == name]
        if not whole and asked is not None and len(chosen) < count:
            raise UserError(
                f"data.group_by: its {len(names)} groups give {len(chosen)} of {count} images of "
                f"role {role}, as no group may have two roles; ask for fewer images"
            )
        kept = chosen if whole else chosen[:count]
        rows |= {i: {"role": str(role), "group": groups[i]} for i in kept}
    for role in JUDGED:
        if not any(row["role"] == role for row in rows.values()):
            raise UserError(
                f"data.group_by: {len(names)} groups leave no images for role {role}, as no group "
                "may have two roles; it needs to name more groups"
            )
    return rows


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
