"""What a check found, in sentences, as a contact sheet and as a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mia_lab.data.picture import visible
from mia_lab.errors import listed
from mia_lab.evaluation.results import Check, Estimated, Gallery, VictimCheck
from mia_lab.progress import duration
from mia_lab.reporting.audit.dossiers import gallery_alt, samples_figure
from mia_lab.reporting.audit.words import correspondence_sentence
from mia_lab.reporting.canvas import Picture, png, shortened
from mia_lab.reporting.files import write_json, write_pictures

LISTED = 20
"""Most problems, kinds of pictures and pairs of near-duplicates that are listed."""

ROLES = {
    "member": "members",
    "nonmember": "non-members",
    "auxiliary": "auxiliaries",
    "candidate": "candidates",
}
"""Roles in the plural."""

COLUMNS = 6
"""Pairs in one row of the contact sheet."""


def sentences(found: Check) -> dict[str, list[str]]:
    """What was found, by heading; headings without sentences are left out."""
    victim = found.victim
    sections = {
        "Problems": _problems(found),
        "Data": _data(found),
        "Victim": _victim(victim) if victim else [],
        "Costs": [costs_sentence(victim.costs)] if victim and victim.costs else [],
        "Not checked": skipped(found),
    }
    return {title: lines for title, lines in sections.items() if lines}


def verdict(found: Check) -> str:
    """Whether an audit can run."""
    if found.obstacles:
        n = found.obstacles
        return f"{n} problem{'s keep' if n > 1 else ' keeps'} an audit from running."
    related = found.victim and found.victim.correspondence
    if related and not related.holds:
        return (
            "An audit would run, but the answers do not belong to their targets; mend that first."
        )
    return "An audit would run."


def _problems(found: Check) -> list[str]:
    lines = [*by_kind(found.problems), *_identical(found)]
    more = len(lines) - LISTED
    return [*lines[:LISTED], *([f"and {more} more problems"] if more > 0 else [])]


def _identical(found: Check) -> list[str]:
    if found.duplicates != "error":
        return []
    return [
        f"{' and '.join(ids)} are the same pair in two roles; remove copies, or set "
        "data.duplicates=drop"
        for ids in found.inspection.identical
    ]


def skipped(found: Check) -> list[str]:
    """What was not checked, because of a problem."""
    lines, victim = [], found.victim
    if not found.roles:
        lines.append("Copies in several roles are not looked for, as the roles are not known.")
    if victim is None:
        is_read = any(found.inspection.kinds.values())
        reason = "a problem prevents it" if is_read else "no pair can be read"
        lines.append(f"The victim is not queried: {reason}.")
    if found.problems and not (victim and victim.costs):
        lines.append("Time and disk space are not estimated before the problems are mended.")
    return lines


def _data(found: Check) -> list[str]:
    seen = found.inspection
    counts = ", ".join(f"{n} {ROLES.get(role, role)}" for role, n in found.roles.items())
    lines = [f"Roles: {counts}" + (f"; {found.groups} groups" if found.groups else "")]
    lines = lines if counts else []
    if found.dropped:
        lines.append(
            f"Left out by data.duplicates=drop: {len(found.dropped)} images whose pairs are the "
            f"same in several roles, such as {found.dropped[0]}"
        )
    if found.matched_by:
        lines.append(f"Partners are matched by {found.matched_by}")
    for side, kinds in seen.kinds.items():
        if kinds:
            shown = listed([f"{n} of {kind}" for kind, n in kinds.items()], LISTED)
            low, high = seen.values[side]
            lines.append(f"{side.capitalize()}s: {shown}; stored values from {low:g} to {high:g}")
    for reason, paths in found.passed_over.items():
        lines.append(f"Skipped, {reason}: {len(paths)}, such as {paths[0]}")
    lines += seen.doubts
    if alike := seen.near_duplicates:
        pairs = listed([f"{one} and {other}" for one, other, _ in alike], 3)
        lines.append(
            f"{len(alike)} pairs of images in different roles look alike ({pairs}); if they show "
            "the same scene, give it one role by data.group_by"
        )
    return lines


def _victim(found: VictimCheck) -> list[str]:
    if found.correspondence is None:
        return [f"The audit trains {found.name}, so a check cannot query it."]
    assert found.levels is not None
    (low, high, mean), (target_low, target_high, target_mean) = found.levels
    lines = [
        correspondence_sentence(found.correspondence),
        f"Answers run from {low:.3f} to {high:.3f}, mean {mean:.3f}; targets from "
        f"{target_low:.3f} to {target_high:.3f}, mean {target_mean:.3f}.",
    ]
    if found.determinism:
        lines.append(f"{found.determinism[0].upper()}{found.determinism[1:]}.")
    return lines


def costs_sentence(costs: Sequence[Estimated]) -> str:
    """Time and disk of an audit."""
    known = [cost for cost in costs if cost.seconds is not None]
    parts = ", ".join(f"{cost.part} {duration(cost.seconds or 0.0)}" for cost in known)
    total = duration(sum(cost.seconds or 0.0 for cost in known))
    unknown = [cost.part for cost in costs if cost.seconds is None]
    without = f"; {', '.join(unknown)} could not be timed" if unknown else ""
    megabytes = sum(cost.stored for cost in costs) / 1e6
    return (
        f"An audit as configured takes about {total} on this machine ({parts}){without}, and "
        f"{megabytes:.0f} MB in the store. Attacks and statistics take some seconds more."
    )


def by_kind(problems: Sequence[str]) -> tuple[str, ...]:
    """The first of those problems that differ only by file and numbers, with their number.

    Examples:
        >>> by_kind(["1.png: has 3 pages", "2.png: has 5 pages", "3.png: is empty"])
        ('1.png: has 3 pages (and 1 other likewise)', '3.png: is empty')
    """
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(_NUMBER.sub("", problem.partition(": ")[2] or problem), []).append(problem)
    return tuple(
        f"{alike[0]} (and {len(alike) - 1} other{'s' if len(alike) > 2 else ''} likewise)"
        if len(alike) > 1
        else alike[0]
        for alike in kinds.values()
    )


_NUMBER = re.compile(r"[-+]?\d[\d.]*(e[-+]?\d+)?")


def draw(found: Check, sheet: Gallery | None) -> tuple[Picture, ...]:
    """The pictures ``contact_sheet`` and ``answers``; both show images of the data.

    Args:
        found: the result.
        sheet: the pairs of the contact sheet, their roles as captions; None: there are none.
    """
    pictures = []
    if sheet is not None:
        alt = f"Pairs, input above target: {', '.join(sheet.ids)}"
        image = png(contact_sheet(sheet))
        pictures.append(
            Picture("contact_sheet", "Each input above its target", alt, image, private=True)
        )
    gallery = found.victim and found.victim.gallery
    if gallery:
        image = png(samples_figure(gallery))
        pictures.append(Picture("answers", "Answers", gallery_alt(gallery), image, private=True))
    return tuple(pictures)


def contact_sheet(sheet: Gallery) -> Figure:
    """Pairs in rows, each input above its target, under role and id."""
    x, y = (visible(side) for side in (sheet.x, sheet.y))
    height, width = x.shape[2:]
    columns = min(COLUMNS, len(x))
    rows = -(-len(x) // columns)
    # Placed by hand, in inches, so that tiles keep their aspect ratio.
    tile, gap, head = 1.0, 0.05, 0.34
    side = tile * height / width
    band = head + 2 * side + 2 * gap
    size = columns * (tile + gap) + gap, rows * band + gap
    figure = Figure(figsize=size)
    figure.set_layout_engine("none")
    for i, (image_id, role) in enumerate(zip(sheet.ids, sheet.captions, strict=True)):
        row, column = divmod(i, columns)
        left, top = gap + column * (tile + gap), size[1] - row * band
        words = f"{role}\n{shortened(image_id, 18)}"
        place = left / size[0], (top - head + 0.04) / size[1]
        figure.text(*place, words, fontsize=7, va="bottom", parse_math=False)
        for line, picture in enumerate((x[i], y[i])):
            bottom = top - head - (line + 1) * side - line * gap
            box = left / size[0], bottom / size[1], tile / size[0], side / size[1]
            axes = figure.add_axes(box)
            axes.imshow(picture.transpose(1, 2, 0).clip(0, 1), aspect="auto")
            axes.set_axis_off()
    return figure


def write_files(found: Check, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``check.json`` and the pictures into an existing folder."""
    write_json(content(found), folder / "check.json")
    write_pictures(pictures, folder)


def content(found: Check) -> dict[str, Any]:
    """The content of ``check.json``, of plain types only."""
    seen, victim = found.inspection, found.victim
    return {
        "name": found.name,
        "problems": [*found.problems, *_identical(found)],
        "roles": dict(found.roles),
        "groups": found.groups,
        "dropped": list(found.dropped),
        "kinds": {side: dict(kinds) for side, kinds in seen.kinds.items()},
        "values": {side: list(span) for side, span in seen.values.items()},
        "matched_by": found.matched_by,
        "passed_over": {k: [str(path) for path in paths] for k, paths in found.passed_over.items()},
        "doubts": list(seen.doubts),
        "identical": [list(ids) for ids in seen.identical],
        "near_duplicates": [list(pair) for pair in seen.near_duplicates],
        "skipped": skipped(found),
        "victim": None if victim is None else _victim_content(victim),
        "verdict": verdict(found),
    }


def _victim_content(found: VictimCheck) -> Mapping[str, Any]:
    related = found.correspondence
    return {
        "name": found.name,
        "correspondence": related and {**vars(related), "holds": related.holds},
        "determinism": found.determinism,
        "levels": found.levels and dict(zip(("answers", "targets"), found.levels, strict=True)),
        "costs": {cost.part: {"s": cost.seconds, "bytes": cost.stored} for cost in found.costs},
    }
