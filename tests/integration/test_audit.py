"""The real command on tiny configurations, end to end."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from mia_lab.data.procedural import render
from support import Command, Ran

TINY = ("+experiment=tiny",)
FILES = {
    "metrics.json",
    "scores.csv",
    "split.csv",
    "roc.png",
    "scatter.png",
    "dossiers-1.png",
    "scores.parquet",
    "report.html",
}


def latest(ran: Ran) -> Path:
    assert ran.code == 0, ran.err
    return ran.folder / "outputs" / "latest"


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def stored(folder: Path, stage: str) -> list[Path]:
    return sorted((folder / "outputs" / "store" / stage).glob("*"))


def without_timings(metrics: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in metrics.items() if k not in ("timing_s", "command")}


def test_audit_end_to_end_and_again_from_the_store(command: Command) -> None:
    """In a process, a folder and an environment of its own, then here."""
    whole = (*TINY, "report.images=true")
    command.environment["PYTHONHASHSEED"] = "7"
    first = command.alone(*whole)
    folder = latest(first)
    assert {p.name for p in folder.iterdir()} >= FILES
    resolved = (folder / "config.yaml").read_text()
    assert "image_size: 32" in resolved
    assert "${" not in resolved
    assert "reconstruction" in first.out
    assert "report: " in first.out

    metrics, rows = first.metrics, table(folder / "scores.csv")
    assert (metrics["n_members"], metrics["n_nonmembers"]) == (6, 5)
    assert list(rows[0])[:5] == [
        "id",
        "is_member",
        "reconstruction_error",
        "difficulty",
        "membership_error",
    ]
    number = {k: np.array([float(r[k]) for r in rows]) for k in rows[0] if k != "id"}
    np.testing.assert_allclose(
        number["membership_error"], number["reconstruction_error"] - number["difficulty"]
    )
    for attack in ("reconstruction", "membership"):
        area = roc_auc_score(number["is_member"], -number[f"{attack}_error"])
        assert metrics["attacks"][attack]["auc"] == pytest.approx(area, abs=1e-12)
        low, high = metrics["attacks"][attack]["auc_ci95"]
        assert low <= area <= high
    blind = roc_auc_score(number["is_member"], number["difficulty"])
    assert metrics["blind"]["baselines"]["difficulty"]["auc"] == pytest.approx(blind, abs=1e-12)
    roles = {r["id"]: r["role"] for r in table(folder / "split.csv")}
    assert {r["id"]: r["is_member"] == "1" for r in rows} == {
        i: role == "member" for i, role in roles.items() if role != "auxiliary"
    }
    assert sum(role == "auxiliary" for role in roles.values()) == 2

    elsewhere = Command(command.folder / "elsewhere")
    elsewhere.folder.mkdir()
    assert without_timings(elsewhere(*TINY).metrics) == without_timings(metrics)

    again = command(*whole)
    read = {line.split()[0] for line in again.err.splitlines() if line.endswith("from the store")}
    # The report shows images, answers and error maps; the numbers are those of the verdict.
    assert read == {"verdict", "split", "reconstructions", "difficulty", "maps", "overfitting"}
    assert "computing" not in again.err
    assert without_timings(again.metrics) == without_timings(metrics)
    assert [mean["epoch"] for mean in metrics["overfitting"]["means"]] == [1, 2]
    assert "all runs" not in first.out
    assert again.out.rstrip().endswith("all runs: outputs/index.html)")
    listed = (again.folder / "outputs" / "index.html").read_text()
    reports = re.findall('<a href="(.*?)">facades_pix2pix', listed)
    assert len(reports) == 2
    assert all((again.folder / "outputs" / path).is_file() for path in reports)
    assert (latest(again) / "scores.csv").read_text() == (folder / "scores.csv").read_text()


def test_each_stage_is_repeated_only_for_its_own_inputs(command: Command) -> None:
    def computed(*overrides: str) -> set[str]:
        ran = command(*TINY, "until=attacks", *overrides)
        assert ran.code == 0, ran.err
        return {line.split()[0] for line in ran.err.splitlines() if line.endswith("computing")}

    everything = {"split", "victim", "reconstructions", "features", "difficulty", "pooled"}
    everything |= {"correspondence", "blind", "verdict", "overfitting"}
    assert computed() == everything
    assert computed("attack.alpha=0.5") == {"verdict"}
    assert computed("query.batch_size=3", "difficulty.batch_size=2") == set()
    assert computed("difficulty.layers=[2]") == {"difficulty", "verdict"}
    answers = {"reconstructions", "correspondence", "verdict"}
    assert computed("query.mode=train") == answers
    assert computed("victim.epochs=1") == {"victim", "overfitting", *answers}
    assert computed("seed=1") == everything


def test_until_stops_after_a_stage(command: Command) -> None:
    expected = set()
    for stage in ("split", "victim", "reconstructions", "difficulty"):
        ran = command(*TINY, f"until={stage}")
        assert ran.code == 0, ran.err
        expected |= {stage, "overfitting"} if stage != "split" else {stage}
        beside = {"features", ".sessions", "log.jsonl", "mia_lab-store.json"}
        assert {p.name for p in (ran.folder / "outputs/store").iterdir()} - beside == expected


@pytest.mark.slow
def test_two_processes_share_the_work(command: Command) -> None:
    """The second, this one, comes while the first is at work."""
    process = command.popen(*TINY, "until=attacks")
    while not list(command.folder.glob("outputs/store/*/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    here = command(*TINY, "until=attacks")
    _, err = process.communicate(timeout=300)
    assert (process.returncode, here.code) == (0, 0), err + here.err
    lines = [line for line in f"{err}{here.err}".splitlines() if line.endswith(": computing")]
    assert len([line for line in lines if not line.startswith("overfitting")]) == 9
    assert err.count(": computing") > 0


@pytest.mark.parametrize("victim", ["killed", pytest.param("terminated", marks=pytest.mark.slow)])
def test_interrupted_training_resumes_to_the_same_weights(command: Command, victim: str) -> None:
    training = (*TINY, "until=victim", "demo_epochs=12")
    store = command.folder / "outputs" / "store" / "victim"
    process = command.popen(*training)
    while not list(store.glob("*.partial/resume/last.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL if victim == "killed" else signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not [p for p in store.iterdir() if not p.suffix]

    assert command(*training).code == 0
    (resumed,) = store.glob("*/victim.safetensors")
    fresh = command(*training, "paths.store=other")
    assert fresh.code == 0
    (whole,) = command.folder.glob("other/victim/*/victim.safetensors")
    a, b = load_file(resumed), load_file(whole)
    assert all((a[k] == b[k]).all() for k in a | b)
    assert resumed.read_bytes() == whole.read_bytes()
    losses = [(p.parent / "losses.csv").read_text() for p in (resumed, whole)]
    assert losses[0] == losses[1]


def write_pairs(root: Path, n: int = 12) -> None:
    for part, start in (("train", 0), ("test", n)):
        (root / part).mkdir(parents=True)
        for i in range(n):
            scene = render("maps", 0, start + i)
            both = np.concatenate([scene.target, scene.input], axis=1)
            Image.fromarray(both).save(root / part / f"{i}.png")


def test_your_own_data_and_your_own_model(command: Command) -> None:
    """Train on a folder, export, then audit the exported file as somebody else's model."""
    write_pairs(command.folder / "pairs")
    data = ("data=custom", "data.root=pairs", "data.direction=BtoA")
    ours = command(*TINY, *data, "data.protocol=official")
    (exported,) = command.folder.glob("outputs/store/victim/*/victim.safetensors")
    theirs = command(
        *data,
        "data.image_size=32",
        "trainer.threads=1",
        "tracking.mode=disabled",
        "report.pictures=false",
        "victim=pretrained",
        f"victim.checkpoint={exported}",
        "data.protocol=manifest",
        f"data.manifest={latest(ours) / 'split.csv'}",
    )
    assert theirs.code == 0, theirs.err
    assert theirs.metrics["attacks"] == ours.metrics["attacks"]


def test_a_manifest_needs_no_test_part(command: Command) -> None:
    write_pairs(command.folder / "pairs")
    shutil.rmtree(command.folder / "pairs" / "test")
    rows = [f"train/{i},{'member' if i < 5 else 'nonmember'},city{i % 2}" for i in range(9)]
    (command.folder / "roles.csv").write_text("\n".join(["id,role,group", *rows]))
    manifest = ("data.protocol=manifest", "data.manifest=roles.csv")
    few = ("attack.names=[reconstruction]", "difficulty=none", *manifest)
    ran = command(*TINY, "data=custom", "data.root=pairs", "data.direction=BtoA", *few)
    assert (ran.metrics["n_members"], ran.metrics["n_nonmembers"]) == (5, 4)
    split = table(latest(ran) / "split.csv")
    assert {row["id"]: row["group"] for row in split} == {
        f"train/{i}": f"city{i % 2}" for i in range(9)
    }


def test_store_is_listed_and_pruned(command: Command) -> None:
    command(*TINY, "until=split")
    listed = command("task=store")
    assert listed.code == 0
    assert "split" in listed.out
    assert len(list(command.folder.glob("outputs/runs/*/*"))) == 1  # only the audit's
    assert "1 entries" in listed.out
    pruned = command("task=store", "store.action=prune", "store.older_than_days=0")
    assert "deleted 1 entries" in pruned.out
    assert not stored(command.folder, "split")
