"""Audits of victims that are given labels instead of pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import Command

HD = [
    *("data.image_size=32", "data.n_members=4", "data.n_nonmembers=4", "demo_epochs=2"),
    *("data.n_auxiliary=0", "evaluation.permutations=20", "report.pictures=false"),
    *("victim.width=4", "victim.discriminator_width=4", "victim.n_blocks=1"),
    *("difficulty=none", "attack.names=[reconstruction]"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "tracking.mode=disabled"),
]


def test_generated_streets_have_boundaries(command: Command) -> None:
    ran = command("+experiment=cityscapes_pix2pixhd", *HD, "victim.keep_epochs=[1]")
    record = ran.metrics["record"]
    assert "in_channels=36" in record["victim"]
    assert record["labels"].startswith("one-hot, 35 classes, with boundaries of instances")
    errors = ran.metrics["attacks"]["reconstruction"]["auc"]
    earlier = command(
        "+experiment=cityscapes_pix2pixhd", *HD, "victim.keep_epochs=[1]", "victim.epoch=1"
    )
    assert "training" not in earlier.err  # both epochs come from one training
    assert earlier.metrics["record"]["stage victim"] == record["stage victim"]
    assert earlier.metrics["record"]["stage reconstructions"] != record["stage reconstructions"]
    assert isinstance(errors, float)


@pytest.mark.parametrize(
    ("experiment", "classes", "residual"), [("facades", 12, 1.5), ("cityscapes", 35, 1.8)]
)
def test_real_labels(
    command: Command, real_data: Path, experiment: str, classes: int, residual: float
) -> None:
    command.environment["MIA_LAB_DATA"] = str(real_data)
    ran = command(f"+experiment={experiment}_pix2pixhd", *HD, "data.source=folder")
    line = ran.metrics["record"]["labels"]
    assert line.startswith(f"one-hot, {classes} classes, without boundaries of instances; colours ")
    assert float(line.split("colours ")[1].split()[0]) == pytest.approx(residual, abs=1)


def test_pictures_that_are_no_label_maps_are_refused(command: Command, real_data: Path) -> None:
    folder = command.folder / "pairs"
    (folder / "train").mkdir(parents=True)
    for path in sorted((real_data / "facades/train").iterdir())[:8]:
        shutil.copy(path, folder / "train")
    given = ("data.source=folder", f"data.root={folder}", "data.direction=AtoB")
    ran = command("+experiment=facades_pix2pixhd", *HD, *given)
    assert "so it is not a label map of these classes" in ran.error
