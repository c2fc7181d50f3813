"""``task=compare``: compare finished audits, in pairs where they share their candidates."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import ArrowException, parquet

from mia_lab.config.load import as_yaml, read_yaml
from mia_lab.config.run_folders import run_folders
from mia_lab.config.schema import Config
from mia_lab.data.csv_text import restored
from mia_lab.errors import UserError
from mia_lab.evaluation.evaluate import compare_attacks
from mia_lab.evaluation.finished import FinishedRun, PairedTest, RunComparison
from mia_lab.evaluation.metrics_file import read_metrics
from mia_lab.evaluation.multiple import holm
from mia_lab.evaluation.results import Comparison
from mia_lab.evaluation.roc import auc
from mia_lab.evaluation.uncertainty import same_order
from mia_lab.reporting.comparison.figures import draw
from mia_lab.reporting.comparison.words import page, text, title, write_files
from mia_lab.reporting.html import write_page
from mia_lab.reporting.labels import run_labels
from mia_lab.store.disk import write_file
from mia_lab.store.software import software
from mia_lab.tasks.command import Clock, command_line
from mia_lab.tasks.ending import end_run
from mia_lab.types import VICTIM, Role, ScoreTable, Split, Strings

SAME_ORDER = "both runs rank all images in the same order"


def run(config: Config, folder: Path, group: str) -> None:
    """Compare the runs that ``compare.runs`` names, and leave the findings in a folder.

    Args:
        config: a validated configuration.
        folder: the comparison's output folder; exists.
        group: as for every task; unused.

    Raises:
        UserError: a run's folder is not what an audit of this version leaves behind.
    """
    folders = run_folders(config.compare.runs)
    labels, common = run_labels([_configuration(f) for f in folders], folders)
    named = dict(zip(labels, folders, strict=True))
    found = compared(config.name, named, common, command_line())
    write_file(folder / "config.yaml", as_yaml(config))
    pictures = draw(found)
    write_files(found, pictures, folder)
    path = write_page("compare", page(found, pictures), folder)
    print(text(found))
    end_run(config, path, title(found))


def compared(
    name: str, folders: Mapping[str, Path], common: str = "", command: str = ""
) -> RunComparison:
    """Read finished audits and test them in pairs.

    Args:
        name: of the comparison.
        folders: of the audits, by their labels; two or more.
        common: the settings that the labels leave out.
        command: what reproduces the comparison.

    Raises:
        UserError: a folder is not what an audit of this version leaves behind.
    """
    clock = Clock()
    with clock("reading"):
        runs = tuple(read_run(folder, label) for label, folder in folders.items())
    with clock("paired tests"):
        paired = paired_tests(runs)
    return RunComparison(
        name=name,
        runs=runs,
        common=common,
        paired=paired,
        timing_s=clock.seconds,
        record=software(),
        command=command,
    )


def paired_tests(runs: Sequence[FinishedRun]) -> tuple[PairedTest, ...]:
    """Every pair of runs, attack by attack: tested, or the reason why not.

    Args:
        runs: at least two.

    Returns:
        In the order of the runs, with p-values adjusted for all tests that were made.
    """
    found = [pair for two in combinations(runs, 2) for pair in _pair(*two)]
    adjusted = iter(holm([p.found.p_value for p in found if p.found is not None]).tolist())
    return tuple(
        pair
        if pair.found is None
        else PairedTest(pair.attack, pair.first, pair.second, pair.found, next(adjusted), "")
        for pair in found
    )


def _pair(first: FinishedRun, second: FinishedRun) -> list[PairedTest]:
    others = {table.attack: table for table in second.scores}
    common = [(table, others[table.attack]) for table in first.scores if table.attack in others]
    if not common:
        return [PairedTest("", first.label, second.label, None, None, "no attack in common")]
    reason = split_difference(first.split, second.split)
    found = []
    for a, b in common:
        tested, why = None, reason
        if not reason and same_order(a.score, b.column(a.id.tolist())):
            why = SAME_ORDER
        elif not reason:
            tested = _test(a, b, first.split, second.split)
        found.append(PairedTest(a.attack, first.label, second.label, tested, None, why))
    return found


def _test(a: ScoreTable, b: ScoreTable, first: Split, second: Split) -> Comparison:
    ids = a.id.tolist()
    groups = first.groups(ids)
    groups = groups if np.any(groups != "") else second.groups(ids)
    return compare_attacks(a, b, first.is_member(ids), groups)


def split_difference(first: Split, second: Split) -> str:
    """Why two runs don't share their candidates, so that no test can pair them; "" if they do.

    Auxiliaries don't matter: no attack is judged by them.
    """
    ids, others = first.candidates(), set(second.candidates())
    common = [i for i in ids if i in others]
    if len(common) < len(others | set(ids)):
        return f"{len(common)} of {len(others | set(ids))} candidates are in both splits"
    differing = {
        "roles differ for": _differing(first, second, "role", common),
        "the images changed, content hashes differ for": _differing(
            first, second, "content", common
        ),
    }
    if all(np.any(split.groups(ids) != "") for split in (first, second)):
        differing["groups differ for"] = _differing(first, second, "group", common)
    return "; ".join(
        f"{what} {count} of {len(ids)} candidates" for what, count in differing.items() if count
    )


def _differing(first: Split, second: Split, column: str, ids: Sequence[str]) -> int:
    """Of how many images a column differs."""
    values = []
    for split in (first, second):
        rows = split.model == VICTIM
        known = dict(zip(split.id[rows], getattr(split, column)[rows], strict=True))
        values.append(np.array([known[i] for i in ids]))
    return int(np.count_nonzero(values[0] != values[1]))


def read_run(folder: Path, label: str) -> FinishedRun:
    """An audit as its folder tells it.

    Args:
        folder: with ``metrics.json``, ``split.csv``, and ``scores.csv`` or ``scores.parquet``.
        label: its short name.

    Raises:
        UserError: a file is malformed, of another version, or of another run.
    """
    metrics = read_metrics(folder / "metrics.json")
    split = _split(folder / "split.csv")
    path = folder / "scores.csv"
    columns = _csv(path) if path.is_file() else _parquet(path := folder / "scores.parquet")
    tables = []
    for attack, measured in metrics.attacks.items():
        table = _scores(attack, columns, split, path)
        area = _auc(table, split, path)
        if abs(area - measured.auc.value) > 1e-9:
            raise UserError(
                f"{path}: gives the {attack} attack an AUC of {area:.6g}, and metrics.json beside "
                f"it one of {measured.auc.value:.6g}; run the audit again, or restore its files"
            )
        tables.append(table)
    return FinishedRun(label, str(folder), metrics, split, tuple(tables))


def _auc(table: ScoreTable, split: Split, path: Path) -> float:
    try:
        return auc(table.score, split.is_member(table.id.tolist()))
    except ValueError as error:
        raise UserError(f"{path}: column {table.attack}_error: {error}") from error


def _configuration(folder: Path) -> Mapping[str, Any] | None:
    """What the run was configured with; None where nothing readable tells it."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    return read_yaml(path)


def _split(path: Path) -> Split:
    columns = _csv(path)
    names = [field.name for field in fields(Split)]
    _need(columns, names, path)
    for name, field in (("role", "|".join(Role)), ("content", "[0-9a-f]{64}")):
        wrong = [value for value in columns[name] if not re.fullmatch(field, value)]
        if wrong:
            raise UserError(
                f"{path}: column {name} holds {wrong[0]!r}; run the audit again, or restore it"
            )
    return Split(**{name: np.array(columns[name], dtype=np.str_) for name in names})


def _scores(
    attack: str, columns: Mapping[str, Sequence[Any]], split: Split, path: Path
) -> ScoreTable:
    """An attack's scores of the candidates, in the order of the split; score = -error."""
    _need(columns, ["id", f"{attack}_error"], path)
    ids: Strings = np.array(columns["id"], dtype=np.str_)
    candidates = split.candidates()
    if sorted(ids.tolist()) != sorted(candidates):
        raise UserError(
            f"{path}: has other images than the members and non-members of split.csv beside it; "
            "run the audit again, or restore its files"
        )
    try:
        score = -np.array(columns[f"{attack}_error"], dtype=np.float64)
        if not np.isfinite(score).all():
            raise ValueError("holds a value that is not finite")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: column {attack}_error: {error}") from error
    table = ScoreTable(attack, VICTIM, ids, score)
    return ScoreTable(attack, VICTIM, np.array(candidates), table.column(candidates))


def _csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            read = [[restored(field) for field in row] for row in csv.reader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    header, *rows = read or [[]]
    if any(len(row) != len(header) for row in rows):
        raise UserError(f"{path}: its rows differ in length; run the audit again, or restore it")
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    except (OSError, ValueError, ArrowException) as error:
        raise _unreadable(path, error) from error
    return columns


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: cannot be read ({reason}); run the audit again, or restore it")


def _need(columns: Mapping[str, object], names: Sequence[str], path: Path) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]}; run the audit again, or restore it")
