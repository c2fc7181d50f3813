"""What makes an audit's numbers believable, through the real command."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest
from scipy import stats

import mia_lab.reporting
from mia_lab.attacks import run_attack
from mia_lab.config import build
from mia_lab.evaluation import evaluate
from mia_lab.stages.graph import run_stages
from mia_lab.store import Store
from support import Command, composed

TINY = "+experiment=tiny"
SCHEMA = json.loads((Path(mia_lab.reporting.__file__).with_name("metrics.schema.json")).read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_follow_their_schema(command: Command) -> None:
    """With auxiliaries enough for one threshold, a grid, a gate and coins for epsilon."""
    ran = command(
        TINY,
        "until=attacks",
        "data.n_members=14",
        "data.n_nonmembers=14",
        "data.n_auxiliary=9",
        "data.assignment=bernoulli",
        "evaluation.guesses=10",
        "evaluation.fprs=[0.01,0.2]",
        "evaluation.priors=[0.3]",
        "difficulty.grid.ridge=[100]",
    )
    metrics = ran.metrics
    VALIDATOR.check_schema(SCHEMA)
    VALIDATOR.validate(metrics)
    assert metrics["n_members"] + metrics["n_nonmembers"] == 28
    for attack in metrics["attacks"].values():
        fixed = attack["fixed_threshold"]
        assert fixed["0.01"] is None
        assert fixed["0.2"]["n_auxiliary"] == 9
        assert [*fixed["0.2"]["precision_at_prior"]] == ["0.3"]
        rates = attack["tpr_at_fpr"]
        assert rates["0.01"] is None
        assert rates["0.2"]["false_positives"] <= 0.2 * metrics["n_nonmembers"]
        assert 0 <= attack["tpr_at_zero_fp"] <= rates["0.2"]["value"]
        for name, authors in (("approximate_dp", "Steinke"), ("gaussian_dp", "Mahloujifar")):
            epsilon = attack["epsilon"][name]
            assert (epsilon["guesses"], epsilon["delta"]) == (10, 1e-5)
            assert epsilon["chosen"] == "fixed beforehand"
            assert 0 <= epsilon["value"] < 5
            assert authors in epsilon["why"]
    assert metrics["command"].startswith("python -m mia_lab +experiment=tiny until=attacks")
    assert len(metrics["record"]["data fingerprint"]) == 64
    assert metrics["record"]["commit"]
    assert not list((ran.folder / "outputs/latest").glob("*.png"))

    columns = pyarrow.parquet.read_table(ran.folder / "outputs/latest/scores.parquet")
    written = rows(ran.folder / "outputs/latest/scores.csv")
    assert columns.column_names == list(written[0])
    assert columns["id"].to_pylist() == [row["id"] for row in written]
    assert columns["membership_error"].to_pylist() == [
        float(row["membership_error"]) for row in written
    ]
    assert {t.names[0] for t in [columns.schema] if t.field("is_member").type == "int64"}


def test_a_document_of_few_images_follows_it_and_a_broken_one_does_not(command: Command) -> None:
    good = command(TINY, "until=attacks").metrics
    VALIDATOR.validate(good)
    assert_no_bound(good, "a fixed number of members was drawn")
    for key, value in {
        "schema": "mia_lab metrics 0",
        "n_members": 0,
        "blind": {"verdict": "fine"},
        "extra": 1,
    }.items():
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(good | {key: value})


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("data.assignment=bernoulli", "seed=1"), "no number of guesses was asked for"),
        (("data.protocol=official",), "members were not drawn at random by this audit"),
    ],
)
def test_no_bound_of_epsilon_without_its_premises(
    command: Command, overrides: tuple[str, ...], why: str
) -> None:
    assert_no_bound(command(TINY, "until=attacks", *overrides).metrics, why)


def assert_no_bound(metrics: dict[str, Any], why: str) -> None:
    for epsilon in metrics["attacks"]["membership"]["epsilon"].values():
        assert epsilon["value"] is None
        assert why in epsilon["why"]


def test_groups_are_split_as_wholes_and_widen_intervals(command: Command) -> None:
    """Generated pictures in tens, as if of one city."""
    by = r"data.group_by='\d{5}(?=\d$)'"
    counts = ("data.n_members=20", "data.n_nonmembers=20", "data.n_auxiliary=0")
    counts += ("difficulty.grid_size=8", "demo_epochs=1")
    ran = command(TINY, "until=attacks", by, *counts)
    folder, metrics = ran.folder / "outputs/latest", ran.metrics
    VALIDATOR.validate(metrics)
    roles = defaultdict(set)
    for row in rows(folder / "split.csv"):
        assert row["group"] == row["id"].split("/")[1][:5]
        roles[row["group"]].add(row["role"])
    assert len(roles) == 4
    assert all(len(found) == 1 for found in roles.values())
    assert {row["group"] for row in rows(folder / "scores.csv")} == set(roles)
    # Nothing can be told apart within a group of one role.
    assert {s["by"] for s in metrics["slices"]} == {"difficulty"}
    alone = command(TINY, "until=attacks", *counts).metrics
    low, high = metrics["attacks"]["membership"]["auc_ci95"]
    a, b = alone["attacks"]["membership"]["auc_ci95"]
    assert high - low > b - a  # two clusters a class say little
    refused = command(TINY, r"data.group_by='city(\d)'")
    assert "data.group_by=city(\\d): finds no group in the id 'train/000000'" in refused.error


def test_private_images_stay_out_of_the_report(command: Command) -> None:
    ran = command(TINY, "report.images=false", "report.pictures=true")
    folder = ran.folder / "outputs/latest"
    assert ran.code == 0, ran.err
    names = {p.stem for p in folder.glob("*.png")}
    assert "roc" in names
    assert not [name for name in names if name.startswith(("dossiers", "samples", "gallery"))]
    shown = command(TINY, "report.images=true")
    assert shown.code == 0, shown.err
    with_images = {p.stem for p in folder.glob("*.png")}
    assert {name for name in with_images if name.startswith("dossiers")}
    assert with_images - names == {n for n in with_images if n.startswith("dossiers")}


@pytest.mark.slow
def test_attacks_on_a_victim_that_never_saw_the_candidates(tmp_path: Path) -> None:
    """200 draws of roles among images that no victim was trained on: 5 % reject AUC 0.5."""
    config = composed(
        "+experiment=facades_pix2pix",
        "data.image_size=32",
        "data.n_members=6",
        "data.n_nonmembers=5",
        "data.n_auxiliary=110",
        "victim.width=4",
        "victim.discriminator_width=4",
        "victim.epochs=2",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
        f"paths.store={tmp_path}",
    )
    run = run_stages(config)
    evidence = run.attack.evidence(Store(tmp_path))
    unseen = run.images.auxiliaries
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(unseen))[:80] for _ in range(200)]
    truth = np.arange(80) < 40
    bound = stats.binom.ppf([0.025, 0.975], 200, 0.05)
    for name, attack in build.attacks(config).items():
        table = run_attack(name, attack.build(), evidence, run.images.scored.ids)
        score: Any = table.column(unseen)
        p_values = np.array([evaluate(name, score[rows], truth).p_value for rows in chosen])
        rejected = np.count_nonzero(p_values < 0.05)
        assert bound[0] <= rejected <= bound[1], name
        assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_other_reports_leave_private_images_out_too(command: Command) -> None:
    few = ("data.sources.procedural.n_train=5", "data.sources.procedural.n_test=1")
    small = ("task=difficulty", "data.image_size=32", "tracking.mode=offline", "trainer.threads=1")
    ran = command(*small, *few, "report.images=false")
    folder = ran.folder / "outputs/latest"
    assert ran.code == 0, ran.err
    assert {p.name for p in folder.glob("*.png")} == {"histogram.png"}
    assert [p.name for p in folder.glob("wandb/**/*.png") if "gallery" in p.name] == []
