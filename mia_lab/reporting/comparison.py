"""What ``task=compare`` found, as files and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mia_lab.evaluation.results import Estimate, FinishedRun, PairedTest, RunComparison, Verdict
from mia_lab.reporting.canvas import Picture, attack_colours
from mia_lab.reporting.files import write_csv, write_json, write_pictures
from mia_lab.reporting.tables import columns_of
from mia_lab.reporting.text import aligned, interval, p_text, percent, rate_interval

SCHEMA = "mia_lab comparison 1"

SIGNIFICANCE = 0.05

NAMED = 3
"""Tests or pairs that a sentence names; the tables have them all."""

PRINTED = 20
"""Tests listed in the terminal."""


def write_files(found: RunComparison, pictures: Iterable[Picture], folder: Path) -> None:
    """Write ``comparison.csv``, ``paired.csv``, ``metrics.json`` and the pictures.

    Args:
        found: the result.
        pictures: from :func:`mia_lab.reporting.comparison_figures.draw`.
        folder: where to write; exists.
    """
    write_csv(columns_of(run_rows(found)), folder / "comparison.csv")
    write_csv(columns_of([paired_row(pair) for pair in found.paired]), folder / "paired.csv")
    write_json(metrics(found), folder / "metrics.json")
    write_pictures(pictures, folder)


def metrics(found: RunComparison) -> dict[str, Any]:
    """The content of ``metrics.json``, of plain types only."""
    return {
        "schema": SCHEMA,
        "name": found.name,
        "common": found.common,
        "runs": run_rows(found),
        "paired": [paired_row(pair) for pair in found.paired],
        "timing_s": dict(found.timing_s),
        "record": dict(found.record),
        "command": found.command,
    }


def run_rows(found: RunComparison) -> list[dict[str, Any]]:
    """One row a run and attack; what could not be measured is None."""
    return [_row(run, attack) for run in found.runs for attack in run.metrics["attacks"]]


def _row(run: FinishedRun, attack: str) -> dict[str, Any]:
    measured, blind, record = run.metrics["attacks"][attack], run.metrics["blind"], run.metrics
    row = {"run": run.label, "attack": attack} | _limits("auc", auc_of(run, attack))
    for fpr in measured["tpr_at_fpr"]:
        row |= _limits(f"tpr_at_fpr_{fpr}", tpr_of(run, attack, fpr))
    return {
        **row,
        **_limits("excess", excess_of(run, attack)),
        "blind_best": blind["best"],
        "blind_max": blind["max"],
        "blind_verdict": blind["verdict"],
        "n_members": record["n_members"],
        "n_nonmembers": record["n_nonmembers"],
        **{key: record["record"].get(key) for key in ("victim", "data", "seed")},
        "folder": run.folder,
        "command": record["command"],
    }


def _limits(name: str, found: Estimate | None) -> dict[str, float | None]:
    if found is None:
        return dict.fromkeys([name, f"{name}_ci95_low", f"{name}_ci95_high"])
    low, high = found.ci95
    return {name: found.value, f"{name}_ci95_low": low, f"{name}_ci95_high": high}


def auc_of(run: FinishedRun, attack: str) -> Estimate:
    """AUC of an attack, as the run measured it."""
    measured = run.metrics["attacks"][attack]
    return Estimate(measured["auc"], tuple(measured["auc_ci95"]))


def tpr_of(run: FinishedRun, attack: str, fpr: str) -> Estimate | None:
    """True positive rate at a false positive rate; None where it could not be resolved."""
    rate = run.metrics["attacks"][attack]["tpr_at_fpr"][fpr]
    return None if rate is None else Estimate(rate["value"], tuple(rate["ci95"]))


def excess_of(run: FinishedRun, attack: str) -> Estimate | None:
    """AUC beyond that of the best blind baseline."""
    rows = [row for row in run.metrics["excess"] if row["first"] == attack]
    return Estimate(rows[0]["difference"], tuple(rows[0]["ci95"])) if rows else None


def attacks_of(found: RunComparison) -> list[str]:
    """All attacks of all runs, each once."""
    return list(dict.fromkeys(a for run in found.runs for a in run.metrics["attacks"]))


def paired_row(pair: PairedTest) -> dict[str, Any]:
    """One test, or the reason why there is none."""
    row: dict[str, Any] = {"attack": pair.attack, "first": pair.first, "second": pair.second}
    test = pair.found
    row |= _limits("difference", None if test is None else Estimate(test.difference, test.ci95))
    row["p_value"] = None if test is None else test.p_value
    row["holm_p_value"] = pair.holm_p_value
    bootstrap = (None, None) if test is None else test.bootstrap_ci95
    row["bootstrap_ci95_low"], row["bootstrap_ci95_high"] = bootstrap
    row["bootstrap_p_value"] = None if test is None else test.bootstrap_p_value
    return row | {"reason": pair.reason}


def contrast(pair: PairedTest) -> tuple[str, str, str]:
    """Both labels without what they have in common, and what that is."""
    first, second = (re.split(r" (?=[\w.]+=|\+|\()", label) for label in (pair.first, pair.second))
    shared = [part for part in first if part in second]
    rest = [" ".join(p for p in parts if p not in shared) for parts in (first, second)]
    if not all(rest):
        return pair.first, pair.second, ""
    return rest[0], rest[1], " ".join(shared)


def summary(found: RunComparison) -> list[str]:
    """The findings in sentences."""
    best = "; ".join(_best(found, attack) for attack in attacks_of(found))
    lines = [f"{len(found.runs)} runs. Highest AUC, chosen in hindsight: {best}."]
    lines.append(_tested(found))
    for reason, pairs in untested(found).items():
        wholly = [runs for runs, attacks in pairs if not attacks]
        lines += [f"Not tested ({reason}): {_some(wholly)}."] if wholly else []
    judged = {run.label: run.metrics["blind"]["verdict"] for run in found.runs}
    confounded = [label for label, verdict in judged.items() if verdict == Verdict.CONFOUNDED]
    if confounded:
        lines.append(
            "Confounded splits, where an attack's AUC is not about membership alone: "
            f"{_some(confounded)}."
        )
    return lines


def _some(items: Sequence[str]) -> str:
    more = f"; and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _best(found: RunComparison, attack: str) -> str:
    areas = {r.label: auc_of(r, attack) for r in found.runs if attack in r.metrics["attacks"]}
    label = max(areas, key=lambda name: areas[name].value)
    top = areas[label]
    equal = sum(area.value == top.value for area in areas.values()) - 1
    others = f" (and {equal} more)" if equal else ""
    return f"{attack} {interval(top.value, top.ci95)} with {label}{others}"


def _tested(found: RunComparison) -> str:
    tests = tests_of(found)
    if not tests:
        return "No two runs could be tested against each other."
    told = [sentence(p) for p in tests if holm_p(p) < SIGNIFICANCE]
    start = (
        f"Paired tests that find a difference, at Holm-adjusted p < {SIGNIFICANCE}: "
        f"{len(told)} of {len(tests)}"
    )
    return f"{start}: {_some(told)}." if told else f"{start}."


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
    rates = list(next(iter(found.runs[0].metrics["attacks"].values()))["tpr_at_fpr"])
    header = ["", "AUC [95 % interval]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    rows, starts = [[*header, "over best blind baseline"]], []
    for run in found.runs:
        starts.append((len(rows), f"{run.label}  (split: {run.metrics['blind']['verdict']})"))
        rows += [[f"  {attack}", *_cells(run, attack)] for attack in run.metrics["attacks"]]
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
    return f"Common settings, where a label does not say otherwise: {found.common}."


def _cells(run: FinishedRun, attack: str) -> list[str]:
    area, excess = auc_of(run, attack), excess_of(run, attack)
    rates = run.metrics["attacks"][attack]["tpr_at_fpr"]
    return [
        interval(area.value, area.ci95),
        *(rate_interval(tpr_of(run, attack, fpr), run.metrics["n_nonmembers"]) for fpr in rates),
        "" if excess is None else interval(excess.value, excess.ci95, "+"),
    ]


def page(found: RunComparison, pictures: Iterable[Picture]) -> dict[str, Any]:
    """What the template of ``report.html`` is filled with."""
    rates = list(next(iter(found.runs[0].metrics["attacks"].values()))["tpr_at_fpr"])
    heads = ["AUC [95 %]", *(f"TPR at {percent(r)} FPR" for r in rates)]
    return {
        "found": found,
        "summary": summary(found),
        "common": common_sentence(found) if found.common else "",
        "pictures": list(pictures),
        "colours": attack_colours(attacks_of(found)),
        "heads": [*heads, "Excess over best blind baseline"],
        "about": {run.label: _about(run) for run in found.runs},
        "cells": {
            run.label: {attack: _cells(run, attack) for attack in run.metrics["attacks"]}
            for run in found.runs
        },
        "tests": [(p, contrast(p), asdict(p.found)) for p in tests_of(found) if p.found],
        "untested": untested(found),
        "interval": interval,
    }


def _about(run: FinishedRun) -> str:
    m, record = run.metrics, run.metrics["record"]
    said = [str(record["data"])] if "data" in record else []
    said += [f"seed {record['seed']}"] if "seed" in record else []
    said.append(f"{m['n_members']} members, {m['n_nonmembers']} non-members")
    return "; ".join([*said, f"split {m['blind']['verdict']}"])
