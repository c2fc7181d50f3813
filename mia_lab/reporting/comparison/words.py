"""Several audits side by side: files, sentences, the page, and the table of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mia_lab.evaluation.finished import FinishedRun, PairedTest, RunComparison
from mia_lab.evaluation.gate import SWAPPED
from mia_lab.evaluation.results import Estimate, Verdict
from mia_lab.reporting.canvas import Picture, attack_colours
from mia_lab.reporting.counts import Counts
from mia_lab.reporting.files import write_csv, write_json, write_pictures
from mia_lab.reporting.frames import paired, paired_frame, records, run_frame
from mia_lab.reporting.numbers import aligned, interval, p_text, percent, rate_interval

SCHEMA = "mia_lab comparison 2"

SIGNIFICANCE = 0.05

NAMED = 3
"""Tests or pairs that a sentence names; the tables have them all."""

PRINTED = 20
"""Tests listed in the terminal."""


def write_files(found: RunComparison, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``comparison.csv``, ``paired.csv``, ``metrics.json`` and the pictures.

    Args:
        found: the result.
        pictures: from :func:`mia_lab.reporting.comparison.figures.draw`.
        folder: where to write; exists.
    """
    write_csv(run_frame(found), folder / "comparison.csv")
    write_csv(paired_frame(found), folder / "paired.csv")
    write_json(metrics(found), folder / "metrics.json")
    write_pictures(pictures, folder)


def metrics(found: RunComparison) -> dict[str, Any]:
    """The content of ``metrics.json``, of plain types only."""
    return {
        "schema": SCHEMA,
        "name": found.name,
        "common": found.common,
        "runs": records(run_frame(found)),
        "paired": records(paired_frame(found)),
        "timing_s": dict(found.timing_s),
        "record": dict(found.record),
        "command": found.command,
    }


def title(found: RunComparison) -> str:
    """How many audits are compared, and of which data."""
    data = f": {'; '.join(found.data)}" if found.data else ""
    return f"Comparison of {len(found.runs)} audits{data}"


def excess_of(run: FinishedRun, attack: str) -> Estimate | None:
    """AUC minus that of the best blind baseline."""
    return paired(run.metrics.excess, attack)


def attacks_of(found: RunComparison) -> list[str]:
    """All attacks of all runs, each once."""
    return list(dict.fromkeys(a for run in found.runs for a in run.metrics.attacks))


def contrast(pair: PairedTest) -> tuple[str, str, str]:
    """Both labels without their common part, and the common part."""
    first, second = (re.split(r" (?=[\w.]+=|\+|\()", label) for label in (pair.first, pair.second))
    shared = [part for part in first if part in second]
    rest = [" ".join(p for p in parts if p not in shared) for parts in (first, second)]
    if not all(rest):
        return pair.first, pair.second, ""
    return rest[0], rest[1], " ".join(shared)


def summary(found: RunComparison) -> list[str]:
    """The findings in sentences; confounded splits first, because they qualify every AUC."""
    confounded = [
        run.label for run in found.runs if run.metrics.blind.verdict is Verdict.CONFOUNDED
    ]
    lines = []
    if confounded:
        lines.append(
            "Runs with a confounded split, where the AUC of an attack does not measure membership "
            "alone: "
            f"{_some(confounded)}."
        )
    lines += _reversed(found)
    best = "; ".join(_best(found, attack) for attack in attacks_of(found))
    lines.append(f"Highest AUC of {len(found.runs)} runs, chosen in hindsight: {best}.")
    lines.append(_tested(found))
    for reason, pairs in untested(found).items():
        wholly = [runs for runs, attacks in pairs if not attacks]
        lines += [f"Not tested ({reason}): {_some(wholly)}."] if wholly else []
    return lines


def _some(items: Sequence[str]) -> str:
    more = f"; and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _reversed(found: RunComparison) -> list[str]:
    """The runs with an attack whose AUC is significantly below 0.5, if there are any."""
    runs = {
        run.label: [a for a, m in run.metrics.attacks.items() if m.auc.ci95[1] < 0.5]
        for run in found.runs
    }
    named = [f"{label} ({', '.join(attacks)})" for label, attacks in runs.items() if attacks]
    if not named:
        return []
    return [f"Runs with an AUC significantly below 0.5: {_some(named)}; {SWAPPED}"]


def _best(found: RunComparison, attack: str) -> str:
    areas = {
        r.label: r.metrics.attacks[attack].auc for r in found.runs if attack in r.metrics.attacks
    }
    label = max(areas, key=lambda name: areas[name].value)
    top = areas[label]
    equal = sum(area.value == top.value for area in areas.values()) - 1
    others = f" (and {equal} more)" if equal else ""
    return f"{attack} {interval(top.value, top.ci95)} with {label}{others}"


def _tested(found: RunComparison) -> str:
    tests = tests_of(found)
    if not tests:
        return "No two runs could be tested against each other."
    significant = [sentence(p) for p in tests if holm_p(p) < SIGNIFICANCE]
    start = (
        f"Paired tests with a significant difference (Holm-adjusted p < {SIGNIFICANCE}): "
        f"{len(significant)} of {len(tests)}"
    )
    return f"{start}: {_some(significant)}." if significant else f"{start}."


def tests_of(found: RunComparison) -> list[PairedTest]:
    """The tests that were made, the clearest first."""
    return sorted((p for p in found.paired if p.found), key=holm_p)


def sentence(pair: PairedTest) -> str:
    """One test, or the reason why there is none, in words."""
    first, second, shared = contrast(pair)
    at = f" (both {shared})" if shared else ""
    return f"{pair.attack}, {first} minus {second}{at}: {_outcome(pair)}"


def _outcome(pair: PairedTest) -> str:
    if pair.found is None:
        return pair.reason
    test = pair.found
    difference = interval(test.difference, test.ci95, "+")
    return f"AUC difference {difference}, {p_text(test.p_value)}, Holm {p_text(holm_p(pair))}"


def holm_p(pair: PairedTest) -> float:
    """The adjusted p-value; 1 where nothing was tested."""
    return 1.0 if pair.holm_p_value is None else pair.holm_p_value


def untested(found: RunComparison) -> dict[str, list[tuple[str, str]]]:
    """Pairs of runs that were not tested, by the reason, each with its attacks ("" for all)."""
    pairs: dict[tuple[str, str], list[PairedTest]] = {}
    for pair in found.paired:
        pairs.setdefault((pair.first, pair.second), []).append(pair)
    rows: dict[str, list[tuple[str, str]]] = {}
    for group in pairs.values():
        first, second, _ = contrast(group[0])
        for reason in dict.fromkeys(p.reason for p in group if not p.found):
            attacks = [p.attack for p in group if p.reason == reason]
            named = "" if len(attacks) == len(group) else " and ".join(attacks)
            rows.setdefault(reason, []).append((f"{first} and {second}", named))
    return rows


def text(found: RunComparison) -> str:
    """The table, the tests and the findings, for the terminal."""
    rates = _rates(found)
    header = ["", "AUC [95 % interval]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    rows, starts = [[*header, "over best blind baseline"]], []
    for run in found.runs:
        starts.append((len(rows), f"{run.label}  (split: {run.metrics.blind.verdict})"))
        rows += [[f"  {attack}", *_cells(run, attack, rates)] for attack in run.metrics.attacks]
    lines = aligned(rows)
    for row, label in reversed(starts):
        lines.insert(row, label)
    tests = tests_of(found)
    if tests:
        lines += ["", "Paired tests on the same images", *map(sentence, tests[:PRINTED])]
    if len(tests) > PRINTED:
        lines.append(f"and {len(tests) - PRINTED} more in paired.csv")
    common = [common_sentence(found), ""] if found.common else []
    return "\n".join([*common, *lines, "", *summary(found)])


def common_sentence(found: RunComparison) -> str:
    """What the labels don't repeat."""
    return f"Settings of a run, unless its label says otherwise: {found.common}."


def _rates(found: RunComparison) -> list[str]:
    """The false positive rates at which any of the runs reports true positive rates."""
    first = (next(iter(run.metrics.attacks.values())) for run in found.runs)
    return sorted({fpr for attack in first for fpr in attack.tpr_at_fpr}, key=float)


def _cells(run: FinishedRun, attack: str, rates: Sequence[str]) -> list[str]:
    measured, excess = run.metrics.attacks[attack], excess_of(run, attack)
    found, n_nonmembers = measured.tpr_at_fpr, run.metrics.n_nonmembers
    return [
        interval(measured.auc.value, measured.auc.ci95),
        *(rate_interval(found[r], n_nonmembers) if r in found else "not measured" for r in rates),
        "" if excess is None else interval(excess.value, excess.ci95, "+"),
    ]


def page(found: RunComparison, pictures: Iterable[Picture]) -> dict[str, Any]:
    """What the template of ``report.html`` is filled with."""
    rates = _rates(found)
    heads = ["AUC [95 %]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    return {
        "found": found,
        "title": title(found),
        "summary": summary(found),
        "common": common_sentence(found) if found.common else "",
        "pictures": list(pictures),
        "colours": attack_colours(attacks_of(found)),
        "heads": [*heads, "Excess over best blind baseline"],
        "about": {run.label: _about(run, len(found.data) > 1) for run in found.runs},
        "cells": {
            run.label: {attack: _cells(run, attack, rates) for attack in run.metrics.attacks}
            for run in found.runs
        },
        "tests": [(p, contrast(p), asdict(p.found)) for p in tests_of(found) if p.found],
        "untested": untested(found),
        "interval": interval,
    }


def _about(run: FinishedRun, has_data: bool) -> str:
    metrics, record = run.metrics, run.metrics.record
    parts = [record["data"]] if has_data and "data" in record else []
    parts += [f"seed {record['seed']}"] if "seed" in record else []
    counts = Counts.of(run.split)
    parts.append(f"{counts.members}, {counts.nonmembers}")
    return "; ".join([*parts, f"split {metrics.blind.verdict}"])
