"""``task=check``, and a gate that asks whether the answers belong to the targets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mia_lab.cli import GATE_FAILED
from support import Command

MEMORY = '''
from pathlib import Path

import numpy as np
import torch


class Memory:
    """Answers with the target whose input is the nearest to what it is given: it leaks all."""

    trainable = False

    def __init__(self, folder: str, noise: float = 0.0) -> None:
        self.x, self.y = (torch.from_numpy(np.load(Path(folder, f"{n}.npy"))) for n in "xy")
        self.noise = noise

    def translate(self, x: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        answer = self.y[nearest]
        return (answer + self.noise * torch.randn_like(answer)).clamp(0, 1)
'''


PALE = '''
class Pale:
    """Answers with a paler picture of what it is given."""

    trainable = False

    def translate(self, x):
        return 0.6 * x + 0.4
'''


def texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Pairs in folders, and a model that remembers the first half of them."""
    command = Command(tmp_path_factory.mktemp("leaking"))
    rng = np.random.default_rng(0)
    rows, pairs = ["id,role"], []
    for i in range(24):
        pair = [texture(rng), texture(rng)]
        for side, picture in zip("AB", pair, strict=True):
            path = command.folder / f"data/train{side}/{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        rows.append(f"train/{i:02},{'member' if i < 12 else 'nonmember'}")
        pairs += [pair] if i < 12 else []
    for name, side in zip("xy", np.array(pairs).swapaxes(0, 1), strict=True):
        np.save(command.folder / f"{name}.npy", side.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    (command.folder / "roles.csv").write_text("\n".join(rows))
    (command.folder / "memory.py").write_text(MEMORY)
    command.environment["PYTHONPATH"] = str(command.folder)
    return command


@pytest.fixture(autouse=True)
def importable(leaking: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(leaking.folder))


DATA = ("+experiment=tiny", "data=custom", "data.root=data", "data.layout=two_folders")
ROLES = ("data.protocol=manifest", "data.manifest=roles.csv")
VICTIM = ("victim=custom", "victim._target_=memory.Memory", "+victim.folder=.", "~victim.width",
          "~victim.discriminator_width", *ROLES)  # fmt: skip


def found(command: Command) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((command.folder / "outputs/latest/check.json").read_text())
    return content


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_reversed_direction_is_seen_before_and_after(leaking: Command, direction: str) -> None:
    """The model leaks, and reversed nothing shows it: its answers are about other pictures."""
    holds = direction == "AtoB"
    ran = leaking("task=check", *DATA, *VICTIM, f"data.direction={direction}", "report.images=true")
    assert ran.code == 0, ran.err
    victim = found(leaking)["victim"]
    assert victim["correspondence"]["holds"] is holds
    assert victim["determinism"].startswith("repeated queries are answered alike")
    assert ("do not belong to their targets" in ran.out) is not holds
    assert {*victim["costs"]} == {"queries", "difficulty"}
    pictures = leaking.folder / "outputs/latest"
    for name, size in (("contact_sheet", (900, 2000)), ("answers", (600, 600))):
        with Image.open(pictures / f"{name}.png") as picture:
            assert picture.width > size[0] or picture.height > size[1]
    limit = "fail_if='auc/membership > 0.9'" if not holds else "fail_if='auc/membership > 1'"
    gated = leaking(*DATA, *VICTIM, f"data.direction={direction}", limit)
    metrics = json.loads((leaking.folder / "outputs/latest/metrics.json").read_text())
    if holds:
        assert gated.code == 0, gated.err
        assert metrics["attacks"]["membership"]["auc"] == 1
    else:
        assert gated.code == GATE_FAILED, gated.err
        assert "were not found to belong to their targets" in gated.err
        assert metrics["gate"]["outcomes"][0]["unrelated"]
    assert metrics["correspondence"]["share"] == pytest.approx(victim["correspondence"]["share"])
    assert "determinism" in metrics["record"]


def test_random_answers_are_noticed(leaking: Command) -> None:
    ran = leaking("task=check", *DATA, *VICTIM, "+victim.noise=0.1")
    assert ran.code == 0, ran.err
    assert found(leaking)["victim"]["determinism"].startswith(
        "repeated queries are answered differently"
    )


def test_all_problems_in_one_pass(leaking: Command, tmp_path: Path) -> None:
    command = Command(tmp_path)
    rng = np.random.default_rng(1)
    for i in range(12):
        for side in "AB":
            path = tmp_path / f"data/train{side}/{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(texture(rng)).save(path)
    for name in ("trainA/.ipynb_checkpoints/00.png", "trainA/notes.pdf", "Thumbs.db"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    (tmp_path / "data/trainA/03.png").write_bytes(b"junk")
    (tmp_path / "data/trainB/04.png").write_bytes(b"junk")
    Image.new("RGBA", (32, 32), (1, 2, 3, 4)).save(tmp_path / "data/trainA/05.png")
    Image.new("L", (32, 32)).save(tmp_path / "data/trainB/06.png")
    (tmp_path / "data/trainA/07.png").rename(tmp_path / "data/trainA/alone.png")
    ran = command("task=check", *DATA, "data.n_members=6", "data.n_nonmembers=3")
    assert ran.code == 2
    assert ran.err == (
        "error: 6 problems keep an audit from running; the report lists what to mend\n"
    )
    assert (ran.out + ran.err).count("data/trainA/alone.png") == 1
    assert ran.out.count("(and 1 other likewise)") == 1
    checked = found(command)
    assert [problem.partition(": ")[0] for problem in checked["problems"]] == [
        "data/trainA/alone.png",
        "data/trainB/07.png",
        "data/trainA/03.png",
        "data/trainB/04.png",
        "data/trainA/05.png",
        "train/06",
    ]
    assert checked["roles"] == {"member": 6, "nonmember": 3, "auxiliary": 2}
    passed_over = {reason: len(paths) for reason, paths in checked["passed_over"].items()}
    assert passed_over == {"hidden": 1, "no picture (.pdf)": 1, "no picture (.db)": 1}
    assert checked["skipped"] == [
        "Time and disk space are not estimated before the problems are mended."
    ]
    assert checked["skipped"][0] in ran.out
    assert checked["victim"] == {
        "name": "pix2pix", "correspondence": None, "determinism": None, "levels": None, "costs": {}
    }  # fmt: skip


def test_problems_of_the_data_do_not_hide_those_of_the_victim(
    leaking: Command, tmp_path: Path
) -> None:
    """Rows of a manifest, pairs and the victim: all are told of in one pass."""
    command = Command(tmp_path)
    shutil.copytree(leaking.folder / "data", tmp_path / "data")
    (tmp_path / "data/trainB/03.png").write_bytes(b"junk")
    (tmp_path / "data/trainB/04.png").unlink()
    roles = (leaking.folder / "roles.csv").read_text().splitlines()
    wrong = ["train/99,member", "train/00,trained"]
    (tmp_path / "roles.csv").write_text("\n".join([*roles, *wrong[:1]]).replace(roles[1], wrong[1]))
    given = ("task=check", *DATA, *(v for v in VICTIM if v != "+victim.folder=."))
    data = (
        "data/trainA/04.png: has no partner",
        "roles.csv:2: unknown role 'trained'",
        "roles.csv:6: id 'train/04' is not in the dataset",
        "roles.csv:26: id 'train/99' is not in the dataset",
        "data/trainB/03.png: ",
    )
    ran = command(*given, f"+victim.folder={leaking.folder}", "data.direction=BtoA")
    assert ran.code == 2, ran.err
    checked = found(command)
    assert len(checked["problems"]) == len(data)
    for told, expected in zip(checked["problems"], data, strict=True):
        assert told.startswith(expected)
    assert checked["roles"] == {"member": 10, "nonmember": 12}
    assert not checked["victim"]["correspondence"]["holds"]
    assert checked["victim"]["costs"] == {}
    without = [v for v in given if v not in ROLES]
    ran = command(*without, "+victim.folder=nowhere", "data.n_members=100")
    assert ran.code == 2, ran.err
    assert found(command)["skipped"] == [
        "Copies in several roles are not looked for, as the roles are not known.",
        "The victim is not queried: a problem prevents it.",
        "Time and disk space are not estimated before the problems are mended.",
    ]
    told = " ".join(found(command)["problems"])
    for expected in (data[0], data[4], "nowhere", "data.n_members=100"):
        assert expected in told


def test_a_missing_folder_is_told_with_the_nearest_name(leaking: Command) -> None:
    for given, said in (
        (("data.root=dat",), 'data.root=dat: no such folder; did you mean "data"?'),
        (("data.train=trian",), 'itself); did you mean "trainA"?'),
    ):
        ran = leaking("task=check", *DATA, *given)
        assert ran.code == 2
        assert ran.err.endswith(f"{said}\n")


def test_costs_of_a_victim_that_is_trained(leaking: Command) -> None:
    before = leaking.computed
    ran = leaking("task=check", *DATA, "data.n_members=6", "data.n_nonmembers=6")
    assert ran.code == 0, ran.err
    assert leaking.computed == before
    costs = found(leaking)["victim"]["costs"]
    assert {*costs} == {"training", "queries", "difficulty"}
    assert costs["queries"]["bytes"] == 4 * 3 * 32 * 32 * 14
    assert 0 <= costs["training"]["s"] < 60


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_reversed_direction_of_pictures_that_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    """An answer in the wrong direction is nearer to its own target, but a right one still more."""
    command, rng, rows = Command(tmp_path), np.random.default_rng(0), ["id,role"]
    for i in range(24):
        picture = texture(rng)
        for side, shown in (("A", picture), ("B", (0.6 * picture + 102).astype(np.uint8))):
            path = tmp_path / f"data/train{side}/{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(path)
        rows.append(f"train/{i:02},{'member' if i % 2 else 'nonmember'}")
    (tmp_path / "roles.csv").write_text("\n".join(rows))
    (tmp_path / "pale.py").write_text(PALE)
    command.environment["PYTHONPATH"] = str(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    victim = [v for v in VICTIM if not v.startswith(("victim._target_", "+victim.folder"))]
    ran = command(
        "task=check", *DATA, *victim, "victim._target_=pale.Pale", f"data.direction={direction}"
    )
    assert ran.code == 0, ran.err
    related = found(command)["victim"]["correspondence"]
    assert related["share"] > 0.6
    assert related["asked_reversed"] == 16
    assert related["holds"] is (direction == "AtoB")
    assert ("The direction may be reversed" in ran.out) is (direction == "BtoA")


def test_distorted_pictures_are_told(leaking: Command) -> None:
    counts = ("data.n_members=6", "data.n_nonmembers=6")
    ran = leaking("task=check", *DATA, *counts, "data.image_size=[64,32]")
    assert "pictures are distorted from 32 x 32 to 64 x 32 px" in ran.out
