"""One victim in all its forms: the same verdict from each, and a plain word where one cannot be."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mia_lab.store import Store
from mia_lab.victims.pretrained import Pretrained
from mia_lab.victims.server import Server
from serving import serving
from support import Command, Ran

SIZES = [
    "data.image_size=32",
    "data.n_members=20",
    "data.n_nonmembers=20",
    "victim.epochs=6",
    "victim.width=8",
]


def scores(ran: Ran) -> dict[str, np.ndarray]:
    assert ran.code == 0, ran.err
    with (ran.folder / "outputs/latest/scores.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["id"])
    columns = ("reconstruction_error", "difficulty", "membership_error")
    return {c: np.array([float(row[c]) for row in rows]) for c in columns}


def stored(folder: Path, stage: str) -> Path:
    (entry,) = [e.path for e in Store(folder / "outputs/store").entries() if e.stage == stage]
    return entry


@pytest.mark.slow
def test_one_victim_in_all_its_forms(command: Command) -> None:
    audit = command("+experiment=tiny", *SIZES)
    wanted, auc = scores(audit), audit.metrics["attacks"]
    stored_reconstructions = stored(command.folder, "reconstructions")
    victim = stored(command.folder, "victim")

    exported = command("+experiment=tiny", *SIZES, "task=export")
    assert exported.code == 0, exported.err
    files = (command.folder / "outputs/latest").resolve()
    assert {f"victim.{end}" for end in ("safetensors", "pt2", "onnx")} | {"split.csv"} <= {
        path.name for path in files.iterdir()
    }
    given = ("+experiment=tiny", "data.image_size=32", "data.protocol=manifest")
    given = (*given, f"data.manifest={files / 'split.csv'}")
    forms = {
        "Lightning checkpoint": ("pretrained", victim / "victim.ckpt"),
        "safetensors": ("pretrained", files / "victim.safetensors"),
        "torch.export": ("exported", files / "victim.pt2"),
        "ONNX": ("onnx", files / "victim.onnx"),
    }
    for form, (kind, path) in forms.items():
        # The tiny experiment sets keys of a victim that is trained: they fall to the new one.
        of = (f"victim={kind}", f"victim.checkpoint={path}", "until=attacks")
        ran = command(*_without_tiny(given), *of)
        found = scores(ran)
        for column, values in wanted.items():
            assert np.abs(found[column] - values).max() < 1e-5, (form, column)
        assert ran.metrics["record"]["answers travel as"] == "float32"

    # Over HTTP and as pictures, in 8 bits.
    ran = _over_http(command, files / "victim.safetensors", _without_tiny(given))
    assert ran.metrics["record"]["answers travel as"] == "8-bit PNG over HTTP"
    _assert_same_verdict(ran, auc)
    folder = command.folder / "answers"
    _save_answers(stored_reconstructions, folder)
    given = (*_without_tiny(given), "victim=outputs", f"victim.folder={folder}")
    ran = command(*given)
    assert ran.metrics["record"]["answers travel as"] == "pictures"
    _assert_same_verdict(ran, auc)
    next(folder.rglob("*.png")).unlink()
    assert "(1 of 42 are missing)" in command(*given).error


def _over_http(command: Command, checkpoint: Path, given: tuple[str, ...]) -> Ran:
    victim = Pretrained(str(checkpoint), 32, "cpu")
    with serving(Server(victim.translate, 0)) as server:
        return command(*given, "victim=http", f"victim.url={server.url}")


def _save_answers(reconstructions: Path, folder: Path) -> None:
    images, ids = np.load(reconstructions / "images.npy"), np.load(reconstructions / "id.npy")
    for image_id, image in zip(ids, images, strict=True):
        path = folder / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        Image.fromarray(levels).save(path)


def _assert_same_verdict(ran: Ran, auc: dict[str, dict[str, float]]) -> None:
    for attack, found in ran.metrics["attacks"].items():
        assert found["auc"] == pytest.approx(auc[attack]["auc"], abs=0.002)
    how = ran.metrics["record"]["answers travel as"]
    assert how in (ran.folder / "outputs/latest/report.html").read_text()


def _without_tiny(given: tuple[str, ...]) -> tuple[str, ...]:
    hardware = ("trainer.accelerator=cpu", "trainer.threads=1", "tracking.mode=disabled")
    quick = ("evaluation.permutations=20", "report.images=false")
    return (*(g for g in given if g != "+experiment=tiny"), *hardware, *quick)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("query.mode=train",), "query.mode=train: exported programs answer in evaluation mode"),
        (("until=split",), "until=split stops an audit"),
    ],
)
def test_what_export_refuses(command: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in command("+experiment=tiny", "task=export", *arguments).error


def test_a_service_cannot_be_exported(command: Command) -> None:
    arguments = ("victim=http", "victim.url=http://localhost:1/", "data.image_size=32")
    few = ("data.n_members=2", "data.n_nonmembers=2", "data.n_auxiliary=0")
    ran = command("task=export", *arguments, *few)
    assert "victim=http is no PyTorch module" in ran.error


def test_an_exported_pix2pixhd_takes_labels(command: Command) -> None:
    arguments = [
        "+experiment=cityscapes_pix2pixhd",
        "task=export",
        "data.image_size=32",
        "data.n_members=4",
        "data.n_nonmembers=2",
        "data.n_auxiliary=0",
        "victim.width=4",
        "victim.discriminator_width=4",
        "demo_epochs=1",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
        "tracking.mode=disabled",
    ]
    ran = command(*arguments)
    assert ran.code == 0, ran.err
    files = (command.folder / "outputs/latest").resolve()
    metadata = json.dumps(torch.export.load(files / "victim.pt2").example_inputs[0][0].shape)
    assert metadata == "[2, 36, 32, 32]"
