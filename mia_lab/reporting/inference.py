"""Tested collections as pictures, files and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pydantic import TypeAdapter

from mia_lab.evaluation.blind import SIGNIFICANCE
from mia_lab.evaluation.metrics import estimate_columns
from mia_lab.evaluation.results import Answer, CollectionResult, Inference, Verdict
from mia_lab.reporting.audit.words import correspondence_sentence
from mia_lab.reporting.canvas import Picture, attack_colours, new_figure, png, tidy
from mia_lab.reporting.files import write_csv, write_json, write_pictures
from mia_lab.reporting.frames import frame
from mia_lab.reporting.html import write_page
from mia_lab.reporting.numbers import aligned, interval, p_text, p_value
from mia_lab.types import Role

SCHEMA = "mia_lab dataset inference 1"

_COLLECTIONS = TypeAdapter(tuple[CollectionResult, ...])


def draw(found: Inference) -> tuple[Picture, ...]:
    """The pictures ``scores`` and ``needed``."""
    means = "; ".join(
        f"{c.name}, difference of the means {c.scores.difference:.3g}"
        for c in found.result.collections
    )
    last = "; ".join(
        f"{c.name}, median p {c.needed.median_p[-1]:.2g} with {c.needed.size[-1]}"
        for c in found.result.collections
    )
    return (
        Picture(
            "scores",
            "Scores of the collections and of the comparison",
            f"Distributions of the {found.result.attack} error, low is a likely member. {means}.",
            png(scores_figure(found)),
        ),
        Picture(
            "needed",
            f"How many images a test of the {found.result.attack} scores needs",
            f"Median p-value against the number of images of either kind. {last}.",
            png(needed_figure(found)),
        ),
    )


def _colours(found: Inference) -> dict[str, str]:
    names = [c.name for c in found.result.collections]
    colours = attack_colours(names)
    return {name: colours[name] for name in names}


def scores_figure(found: Inference) -> Figure:
    """The distribution function of the scores of each collection, the comparison, the members."""
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    table = next(t for t in found.result.scores if t.attack == found.result.attack)
    by_role = {
        role: [i for i, r in found.role_of.items() if r == role]
        for role in (Role.AUXILIARY, Role.MEMBER)
    }
    shown: list[tuple[str, list[str], dict[str, Any]]] = [
        ("comparison", by_role[Role.AUXILIARY], {"color": "#6E6E6E", "lw": 2})
    ]
    if by_role[Role.MEMBER]:
        shown.append(("known members", by_role[Role.MEMBER], {"color": "#222222", "ls": "--"}))
    for name, colour in _colours(found).items():
        ids = [i for i, c in found.collection_of.items() if c == name]
        shown.append((name, ids, {"color": colour, "lw": 1.6}))
    for name, ids, style in shown:
        axes.ecdf(-table.column(ids), label=_label(f"{name} ({len(ids)})"), **style)
    axes.set_xlabel(f"{found.result.attack} error (members to the left)")
    axes.set_ylabel("share of images below")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    tidy(axes)
    return figure


def needed_figure(found: Inference) -> Figure:
    """The median p-value against the number of images, with the level of 5 %."""
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    for c, colour in zip(found.result.collections, _colours(found).values(), strict=True):
        values = np.maximum(c.needed.median_p, 1e-12)
        axes.plot(c.needed.size, values, "-o", ms=3.5, color=colour, label=_label(c.name))
    axes.axhline(SIGNIFICANCE, color="#222222", lw=1, ls=":", label="p = 0.05")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"{_units(found)} of the collection, and as many of the comparison")
    axes.set_ylabel("median p-value")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return figure


def _label(name: str) -> str:
    """A name as a label: no formula, and not hidden as those with an underscore are."""
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _units(found: Inference) -> str:
    grouped = any(c.scores.n_collection < c.n_images for c in found.result.collections)
    return "groups of images" if grouped else "images"


def write_files(found: Inference, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``scores.csv``, ``metrics.json`` and the pictures.

    Args:
        found: the result.
        pictures: from :func:`draw`.
        folder: where to write; exists.
    """
    write_json(metrics(found), folder / "metrics.json")
    write_csv(score_frame(found), folder / "scores.csv")
    write_pictures(pictures, folder)


def metrics(found: Inference) -> dict[str, Any]:
    """The content of ``metrics.json``, of plain types only."""
    return {
        "schema": SCHEMA,
        "name": found.name,
        "attack": found.result.attack,
        "by": found.result.by,
        "collections": _COLLECTIONS.dump_python(found.result.collections, mode="json"),
        "correspondence": vars(found.result.correspondence),
        "timing_s": dict(found.timing_s),
        "record": dict(found.record),
    }


def score_frame(found: Inference) -> pd.DataFrame:
    """One row per image: ``id``, ``role``, ``collection``, and each attack's error."""
    ids = list(found.role_of)
    columns: dict[str, Any] = {
        "id": ids,
        "role": list(found.role_of.values()),
        "collection": [found.collection_of[i] for i in ids],
    }
    columns |= {f"{t.attack}_error": -t.column(ids) for t in found.result.scores}
    return pd.DataFrame(columns)


def collection_frame(found: Inference) -> pd.DataFrame:
    """One row per collection."""
    return frame(
        {
            "collection": c.name,
            "answer": c.answer.value,
            "images": c.n_images,
            "comparison": c.n_comparison,
            "difference": c.scores.difference,
            "welch_p": c.scores.welch_p,
            "permutation_p": c.scores.permutation_p,
            "features_p": c.features.permutation_p,
            "holm_p": c.holm_p,
            "blind": c.blind.value,
            "blind_p": c.blind_p,
            "blind_max": c.blind_max,
            "blind_upper95": c.blind_upper95,
            **estimate_columns("excess", c.excess),
            "share": c.share.value,
            "share_ci95_low": c.share.ci95[0],
            "share_ci95_high": c.share.ci95[1],
            "share_is_bound": c.share.is_bound,
        }
        for c in found.result.collections
    )


def needed_frame(found: Inference) -> pd.DataFrame:
    """One row per collection and number of images."""
    return frame(
        {"collection": c.name, "images": size, "median_p": p, "detected": share}
        for c in found.result.collections
        for size, p, share in zip(
            c.needed.size.tolist(),
            c.needed.median_p.tolist(),
            c.needed.detected.tolist(),
            strict=True,
        )
    )


def summary(found: Inference) -> list[str]:
    """The findings in sentences, one for each collection first."""
    related = [correspondence_sentence(found.result.correspondence)]
    findings = [
        *map(sentence, found.result.collections),
        *(share_sentence(c) for c in found.result.collections),
    ]
    if found.result.correspondence.holds:
        return [*findings, *related]
    return [*related, *findings]


def sentence(c: CollectionResult) -> str:
    """Whether a collection was used, and what the answer rests on."""
    test = f"{p_text(c.holm_p)} after Holm's correction"
    twin = f"the best, {c.blind_best}, has AUC {c.blind_max:.3f}, {p_text(c.blind_p)}"
    if c.answer is Answer.USED:
        return (
            f"{c.name}: used. It scores significantly higher than images that were not used "
            f"({test}), and attacks that never see the victim do not tell it from them ({twin}; "
            f"95 % upper bound {c.blind_upper95:.3f})."
        )
    if c.blind is Verdict.CONFOUNDED:
        return (
            f"{c.name}: cannot tell, because the collection differs from the comparison by itself: "
            f"attacks that never see the victim tell them apart ({twin})."
        )
    if c.answer is Answer.NOT_SHOWN:
        return (
            f"{c.name}: not shown. It does not score significantly higher than images that were "
            f"not used ({test})."
        )
    start = f"{c.name}: cannot tell. It scores significantly higher than images that were not used"
    if c.blind is Verdict.UNDECIDABLE:
        return (
            f"{start} ({test}), but the images are too few to show that the collection does not "
            "differ by itself: attacks that never see the victim could reach AUC "
            f"{c.blind_upper95:.2f} ({twin})."
        )
    return (
        f"{start} ({test}), but the attack does not find significantly more than attacks that "
        f"never see the victim (AUC difference {interval(c.excess.value, c.excess.ci95, '+')}; "
        f"{twin})."
    )


def share_sentence(c: CollectionResult) -> str:
    """The share that was used, as far as it is known."""
    low, high = c.share.ci95
    units = "groups of images" if c.scores.n_collection < c.n_images else "images"
    if c.share.value is None:
        return f"{c.name}: the share that was used cannot be estimated, because {c.share.why}."
    if not c.share.is_bound:
        return (
            f"{c.name}: {100 * c.share.value:.0f} % of its {units} were used (95 % interval "
            f"{100 * low:.0f} to {100 * high:.0f} %), if used images score like the known members "
            "and unused ones like the comparison."
        )
    if not low:
        return f"{c.name}: there is no lower bound above 0 of the share that was used."
    return (
        f"{c.name}: at least {100 * low:.0f} % of its images were used (95 % confidence), if "
        "unused images score like the comparison."
    )


def text(found: Inference) -> str:
    """The table and the findings, for the terminal."""
    return "\n".join([*aligned(readable_rows(found)), "", *summary(found)])


def readable_rows(found: Inference) -> list[list[str]]:
    """A header, and one row per collection."""
    heads = ["collection", "answer", "images", "Welch p", "permutation p", "features p"]
    rows = [[*heads, "Holm p", "blind twin"]]
    for c in found.result.collections:
        features = p_value(c.features.permutation_p)
        rows.append(
            [
                *(c.name, c.answer.value, f"{c.n_images} + {c.n_comparison}"),
                *(p_value(c.scores.welch_p), p_value(c.scores.permutation_p), features),
                *(p_value(c.holm_p), c.blind.value),
            ]
        )
    return rows


def numbers(found: Inference) -> Mapping[str, float]:
    """The numbers of the W&B summary."""
    return {
        f"{key}/{c.name}": value
        for c in found.result.collections
        for key, value in {
            "p_value": c.p_value,
            "holm_p": c.holm_p,
            "blind_max": c.blind_max,
            "excess": c.excess.value,
            **({} if c.share.value is None or c.share.is_bound else {"share": c.share.value}),
        }.items()
    }


def write_html(
    found: Inference, pictures: Iterable[Picture], folder: Path, *, alone: bool = False
) -> Path:
    """Write the page into an existing folder; returns its path."""
    heads, *rows = readable_rows(found)
    filled = {
        "found": found,
        "sentences": [(c, sentence(c), share_sentence(c)) for c in found.result.collections],
        "correspondence": correspondence_sentence(found.result.correspondence),
        "pictures": list(pictures),
        "heads": heads,
        "rows": rows,
    }
    return write_page("inference", filled, folder, alone=alone)
