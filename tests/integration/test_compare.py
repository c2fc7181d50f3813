"""``task=compare`` on finished audits, through the real command."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mia_lab.evaluation import compare
from mia_lab.evaluation.multiple import holm
from mia_lab.reporting.labels import COMMON
from support import Command, Ran

TINY = ("+experiment=tiny", "until=attacks")
FILES = {"comparison.csv", "paired.csv", "metrics.json", "auc.png", "roc.png", "report.html"}


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs in a folder: two of one split, the third of another."""
    command = Command(tmp_path_factory.mktemp("audits"))
    for name, *overrides in (
        ("base",),
        ("other", "attack.alpha=0.5", "difficulty.layers=[2]"),
        ("seeded", "seed=1"),
    ):
        ran = command(*TINY, *overrides, f"hydra.run.dir=runs/{name}")
        assert ran.code == 0, ran.err
    return command.folder


@pytest.fixture
def command(audits: Path, tmp_path: Path) -> Command:
    """The command in a folder with copies of the audits, which a test may spoil."""
    shutil.copytree(audits / "runs", tmp_path / "runs")
    return Command(tmp_path)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def compared(ran: Ran) -> Path:
    assert ran.code == 0, ran.err
    return ran.folder / "outputs" / "latest"


def test_runs_side_by_side(command: Command) -> None:
    folder = compared(command("task=compare", "compare.runs=[runs/base,runs/other,runs/seeded]"))
    assert {p.name for p in folder.iterdir()} >= FILES
    rows = table(folder / "comparison.csv")
    labels = [COMMON, "difficulty.layers=[2] attack.alpha=0.5", "seed=1"]
    attacks = ["reconstruction", "membership"]
    assert [(r["run"], r["attack"]) for r in rows] == [(x, a) for x in labels for a in attacks]
    for row in rows:
        measured = json.loads((command.folder / row["folder"] / "metrics.json").read_text())
        scores = table(command.folder / row["folder"] / "scores.csv")
        area = roc_auc_score(
            [int(s["is_member"]) for s in scores],
            [-float(s[f"{row['attack']}_error"]) for s in scores],
        )
        assert float(row["auc"]) == measured["attacks"][row["attack"]]["auc"]
        assert float(row["auc"]) == pytest.approx(area, abs=1e-12)
        assert row["blind_verdict"] == measured["blind"]["verdict"]
        assert row["seed"] == ("1" if row["run"] == "seed=1" else "0")

    paired = table(folder / "paired.csv")
    assert len(paired) == 6
    tested = [pair for pair in paired if not pair["reason"]]
    assert [pair["attack"] for pair in tested] == ["membership"]
    errors = {
        name: {s["id"]: s for s in table(command.folder / "runs" / name / "scores.csv")}
        for name in ("base", "other")
    }
    ids = list(errors["base"])
    first, second = (
        [-float(found[i]["membership_error"]) for i in ids] for found in errors.values()
    )
    truth = [errors["base"][i]["is_member"] == "1" for i in ids]
    difference, _, p_value = compare(*map(numbers, (first, second)), numbers(truth).astype(bool))
    assert float(tested[0]["difference"]) == pytest.approx(difference)
    assert float(tested[0]["p_value"]) == pytest.approx(p_value)
    assert float(tested[0]["holm_p_value"]) == pytest.approx(holm([p_value])[0])
    reasons = {(p["first"], p["second"]): p["reason"] for p in paired if p["reason"]}
    assert "in the same order" in reasons[labels[0], labels[1]]
    assert re.fullmatch(r"\d+ of \d+ candidates are in both splits", reasons[labels[0], labels[2]])
    page = (folder / "report.html").read_text()
    assert "attack.alpha=0.5" in page
    assert "candidates are in both splits" in page
    assert "compare.runs=[runs/base,runs/other,runs/seeded]" in page
    assert folder.resolve().parent.name == "compare"
    assert "<h1>Comparison of 3 audits: procedural facades, 32 px</h1>" in page


def numbers(values: list[float] | list[bool]) -> np.ndarray:
    return np.array(values, dtype=float)


def test_patterns_parquet_and_no_torch(command: Command) -> None:
    """A run may have lost its CSV and its configuration; nothing is learned or loaded."""
    other = command.folder / "runs" / "other"
    (other / "scores.csv").unlink()
    (other / "config.yaml").unlink()
    (command.folder / "runs" / "jobs").mkdir()  # of a sweep; no audit, and no obstacle
    imported, out = command.imports("task=compare", "compare.runs=[runs/*]")
    assert "numpy" in imported
    assert not imported & {"torch", "pytorch_lightning", "timm"}
    lines = out.splitlines()
    heads = [line for line in lines if line.endswith("(split: undecidable)")]
    assert [head.split()[0] for head in heads] == ["seed=0", "other", "seed=1"]
    assert lines[-1].startswith("report: ")
    assert Path(lines[-1].split()[1]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare.runs=[runs/base]", "name at least two folders"),
        ("compare.runs=[]", "name at least two folders"),
        ("compare.runs=[runs/base,runs/nothing]", "runs/nothing: no such folder"),
        ("compare.runs=[runs/base,none/*]", "none/*: matches no folder"),
        ("compare.runs=[runs/base,runs/other,runs/base]", "names runs/base twice"),
        ("compare.runs=[runs/base,runs/../runs/base]", "twice, also as runs/base"),
        ("compare.runs=[runs,runs/base]", "runs: holds no metrics.json, which an audit writes"),
        ("compare.runs=[runs/*] until=split", "until=split stops an audit"),
        ("compare.runs=[runs/*] fail_if='auc/membership > 1'", "which task=compare does not run"),
    ],
)
def test_what_cannot_be_compared(command: Command, arguments: str, message: str) -> None:
    asked = re.split(r" (?=until|fail_if)", arguments.replace("'", ""))
    assert message in command("task=compare", *asked).error
    assert not (command.folder / "outputs").exists() or not list(
        command.folder.glob("outputs/runs/*/*")
    )


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("metrics.json", "mia_lab metrics", "mia_lab numbers", "has the schema 'mia_lab numbers"),
        ("metrics.json", '"schema"', "schema", "damaged"),
        ("scores.csv", "membership_error", "mistake", "has no column membership_error"),
        ("scores.csv", "\ntrain/", "\nelse/", "has other images than the members"),
        ("scores.csv", ",0.", ",-0.", "gives the reconstruction attack an AUC of"),
        ("scores.csv", ",0.", ",nought.", "column reconstruction_error: could not convert"),
        ("scores.csv", ",1,", ",1,2,", "rows differ in length"),
        ("split.csv", "content", "hash", "has no column content"),
    ],
)
def test_a_folder_that_does_not_hold_together(
    command: Command, file: str, old: str, new: str, message: str
) -> None:
    spoil(command.folder / "runs" / "other" / file, old, new)
    error = command("task=compare", "compare.runs=[runs/base,runs/other]").error
    assert f"runs/other/{file}: " in error
    assert message in error
    assert not list(command.folder.glob("outputs/runs/*/*"))


def without(content: bytes, key: str, value: object) -> bytes:
    """A metrics.json in which an attack has another value."""
    metrics = json.loads(content)
    metrics["attacks"]["membership"][key] = value
    return json.dumps(metrics).encode()


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}{f', *a{n - 1}' * 9}]\n" for n in range(1, 12)
)
DAMAGE = {
    "metrics.json": {
        "an AUC of null": lambda content: without(content, "auc", None),
        "an AUC in words": lambda content: without(content, "auc", "high"),
        "an interval of three": lambda content: without(content, "auc_ci95", [0.1, 0.2, 0.3]),
        "not UTF-8": lambda content: content + b"\xff",
        "cut": lambda content: content[: len(content) // 2],
        "empty": lambda _: b"",
        "deep": lambda _: b"[" * 100_000,
        "another mapping": lambda _: b'{"schema": "mia_lab metrics 3", "attacks": []}',
    },
    "config.yaml": {
        "an alias bomb": lambda _: BOMB.encode(),
        "no YAML": lambda _: b"a: [1\nb: {",
        "a list": lambda _: b"- 1\n",
        "not UTF-8": lambda _: b"a: \xff",
        "deep": lambda _: b"[" * 100_000,
        "an object": lambda _: b"!!python/object/apply:os.system ['touch called']",
    },
    "scores.csv": {
        "not UTF-8": lambda content: content + b"\xff",
        "empty": lambda _: b"",
        "no number": lambda content: content.replace(b",0.", b",nan"),
        "NUL": lambda content: content.replace(b",0.", b",\0"),
    },
    "split.csv": {"empty": lambda _: b"", "cut": lambda content: content[:-20]},
    "scores.parquet": {"cut": lambda content: content[:-40], "empty": lambda _: b""},
}


def test_damaged_runs_are_named_in_one_line(command: Command) -> None:
    """One by one in comparisons, and all together in a sweep."""
    shutil.copytree(command.folder / "runs/base", command.folder / "sweep/0")
    kinds = [(file, change) for file, kinds in DAMAGE.items() for change in kinds.values()]
    for number, (file, change) in enumerate(kinds, start=1):
        damaged = command.folder / f"sweep/{number}"
        shutil.copytree(command.folder / "runs/other", damaged)
        if file == "scores.parquet":  # read where there is no CSV
            (damaged / "scores.csv").unlink()
        (damaged / file).write_bytes(change((damaged / file).read_bytes()))
        start = time.process_time()
        asked = f"compare.runs=[runs/base,sweep/{number}]"
        assert f"sweep/{number}/{file}: " in command("task=compare", asked).error
        assert time.process_time() - start < 20
    ran = command("task=collect", "collect.dir=sweep", "tracking.mode=disabled")
    assert (ran.code, "Traceback" in ran.err) == (0, False), ran.err
    page = (command.folder / "sweep/report.html").read_text()
    assert page.count("/metrics.json: damaged") == len(DAMAGE["metrics.json"])
    assert page.count("config.yaml: missing or damaged") == len(DAMAGE["config.yaml"])
    assert not (command.folder / "called").exists()
