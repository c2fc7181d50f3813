"""``task=collect`` through the real command, on a sweep that really ran."""

from __future__ import annotations

import csv
import gc
import json
from pathlib import Path

import pytest

from support import Command
from sweeps import add
from wandb_files import identity, media_table, summary


# wandb leaves temporary folders to the garbage collector.
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
@pytest.mark.slow
def test_a_real_sweep(command: Command) -> None:
    ran = command("-m", "+experiment=tiny", "difficulty.layers=[1],[2]", "hydra.sweep.dir=mine")
    assert ran.code == 0, ran.err
    asked = ("task=collect", "collect.dir=mine", "tracking.mode=offline")
    ran = command(*asked)
    assert ran.code == 0, ran.err
    assert "2 of 2 points are done." in ran.out
    assert ran.out.splitlines()[-1] == "report: mine/report.html"
    sweep = command.folder / "mine"
    with (sweep / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        found = json.loads((command.folder / row["folder"] / "metrics.json").read_text())
        places = found["blind"]["baselines"] if row["blind"] == "True" else found["attacks"]
        assert float(row["auc"]) == places[row["attack"]]["auc"]
    assert {(row["point"], row["layers"]) for row in rows} == {("0", "1"), ("1", "2")}
    assert not list((command.folder / "outputs").glob("runs/*"))

    logged = summary(sweep)["summary"]
    assert logged["points/done"] == 2
    assert logged["auc_best/membership"] == max(
        float(row["auc"]) for row in rows if row["attack"] == "membership"
    )
    run = identity(sweep)
    assert (run["run_group"], run["job_type"]) == ("mine", "collect")
    columns = media_table(sweep, "results")
    assert columns["auc"] == [float(row["auc"]) for row in rows]
    gc.collect()


def test_nothing_is_loaded_that_is_not_needed(command: Command) -> None:
    for number in range(3):
        add(command.folder / "mine", number, seed=number)
    asked = ("task=collect", "collect.dir=mine", "tracking.mode=disabled")
    imported, _ = command.imports(*asked)
    assert "numpy" in imported
    assert not imported & {"torch", "pytorch_lightning", "timm"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "collect.dir: which sweep?"),
        (("collect.dir=nowhere",), "collect.dir=nowhere: no such folder"),
        (("collect.dir=empty",), "collect.dir=empty: holds no points of a sweep"),
        (("collect.dir=begun",), "collect.dir=begun: none of its 1 points is a finished audit"),
        (("collect.dir=begun", "until=split"), "until=split stops an audit"),
        (("collect.dir=begun", "fail_if=auc/membership > 1"), "which task=collect does not run"),
    ],
)
def test_what_cannot_be_collected(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    (command.folder / "empty").mkdir()
    (command.folder / "begun" / "0").mkdir(parents=True)
    asked = ("task=collect", "tracking.mode=disabled", *arguments)
    assert message in command(*asked).error
    assert not list(Path(command.folder).glob("outputs/runs/*/*"))
