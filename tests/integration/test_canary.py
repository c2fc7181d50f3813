"""``task=canary`` and the calls of the API: draw, plant, test."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

import mia_lab
from mia_lab.config.checks import check
from mia_lab.config.choices import CanaryAction
from mia_lab.config.schema import Config
from mia_lab.data.reading import decode
from mia_lab.data.transforms import Resizing, in_unit
from mia_lab.errors import UserError
from mia_lab.tasks.canaries import canary_report
from mia_lab.tasks.canaries import drawn as draw
from mia_lab.victims.files import export
from mia_lab.victims.networks.unet import UNet
from support import Command, composed

SIDE = 32
TEST = ("task=canary", "canary.action=test", f"data.image_size={SIDE}", "trainer=cpu")
MODEL = '''
import numpy as np
import torch


ASKED = []


class Memory:
    """Answers with a picture that it has in a file, with noise, and notes the queries."""

    trainable = False

    def __init__(self, path: str, noise: float = 0.0) -> None:
        self.y = torch.from_numpy(np.load(path))
        self.noise = noise

    def translate(self, x):
        ASKED.append(len(x))
        answer = self.y.expand(len(x), -1, -1, -1)
        return (answer + self.noise * torch.randn_like(answer)).clamp(0, 1)
'''


def picture(seed: int, side: int = 48, channels: int = 3) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, channels), dtype=np.uint8).squeeze())
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def planes(path: Path) -> Tensor:
    """A published file as a training reads it: (1, C, H, W)."""
    return in_unit([Resizing(SIDE, SIDE)(decode(path))])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A canary of two files, drawn by the command, and a model that remembers its target."""
    command = Command(tmp_path_factory.mktemp("drawn"))
    for side, seed in (("x", 0), ("y", 1)):
        picture(seed).save(command.folder / f"{side}.png")
    (command.folder / "remembering.py").write_text(MODEL)
    ran = command(
        "task=canary", "canary.input=x.png", "canary.target=y.png", f"data.image_size={SIDE}",
        "tracking.mode=disabled",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (command.folder / "drawn.txt").write_text(ran.out)
    np.save(command.folder / "y.npy", planes(command.folder / "canary/publish/target.png").numpy())
    np.save(command.folder / "plain.npy", planes(command.folder / "y.png").numpy())
    return command


@pytest.fixture(autouse=True)
def importable(drawn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(drawn.folder))
    importlib.import_module("remembering").ASKED.clear()


def queries() -> list[int]:
    """The images of each query in this test."""
    return sys.modules["remembering"].ASKED


def victim(path: str, *more: str) -> tuple[str, ...]:
    return ("victim=custom", "victim._target_=remembering.Memory", f"+victim.path={path}", *more)


def test_draw(drawn: Command) -> None:
    """Terminal and page say what to do with each file, and do not tell the choice."""
    out = (drawn.folder / "drawn.txt").read_text()
    opening = json.loads((drawn.folder / "canary/secret/opening.json").read_text())
    commitment = json.loads((drawn.folder / "canary/commitment.json").read_text())
    report = next((drawn.folder / "outputs/runs").glob("*/*/report.html"))
    for text in (out, report.read_text()):
        assert commitment["sha256"] in text
        for heading in ("1. Lodge", "2. Publish", "3. Keep secret", "4. Test"):
            assert heading in text
        assert opening["nonce"] not in text
        assert opening["twins"][opening["choice"]] not in text
    assert len(list((drawn.folder / "canary/secret/twins").iterdir())) == 200


def test_a_planted_canary_is_found(drawn: Command) -> None:
    asked = (*TEST, "canary.folders=[canary]", "tracking.mode=disabled", *victim("y.npy"))
    ran = drawn(*asked)
    assert ran.code == 0, ran.err
    assert "was trained on the published twin, or on pictures made from it: p = 0.005." in ran.out
    found = json.loads((drawn.folder / "outputs/latest/canary.json").read_text())
    assert (found["p_value"], found["queries"]) == (1 / 200, 1)
    (canary,) = found["canaries"]
    assert (canary["rank"], canary["errors"][canary["choice"]]) == (1, 0)
    page = (drawn.folder / "outputs/latest/report.html").read_text()
    assert "What this proves" in page
    assert canary["commitment"] in page
    again = drawn(*asked)  # from the store
    assert again.code == 0
    assert queries() == [1]


def test_the_printed_command_tests_it(drawn: Command) -> None:
    (typed,) = re.findall(r"^python -m mia_lab (.*) victim=\.\.\.$", *texts(drawn))
    words = [word.strip("'") for word in typed.split()]
    ran = drawn(*words, "tracking.mode=disabled", "trainer=cpu", *victim("plain.npy"))
    assert ran.code == 0, ran.err
    found = json.loads((drawn.folder / "outputs/latest/canary.json").read_text())
    assert found["p_value"] == found["canaries"][0]["rank"] / 200


def texts(drawn: Command) -> tuple[str, re.RegexFlag]:
    return (drawn.folder / "drawn.txt").read_text(), re.MULTILINE


def test_random_answers_are_averaged(drawn: Command) -> None:
    """The commitment fixes how many answers are averaged, and each of them is another."""
    drew = drawn(
        "task=canary", "canary.folder=noisy", "canary.input=x.png", "canary.target=y.png",
        f"data.image_size={SIDE}", "query.repeats=4", "canary.score=l2", "tracking.mode=disabled",
    )  # fmt: skip
    assert drew.code == 0, drew.err
    np.save(drawn.folder / "noisy.npy", planes(drawn.folder / "noisy/publish/target.png").numpy())
    ran = drawn(
        *TEST, "canary.folders=[noisy]", "query.repeats=4", "canary.score=l2",
        "tracking.mode=disabled", *victim("noisy.npy", "+victim.noise=0.2"),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = json.loads((drawn.folder / "outputs/latest/canary.json").read_text())
    assert (found["queries"], found["p_value"]) == (4, 1 / 200)


def refusal(drawn: Command, *overrides: str) -> str:
    """The message that ends a command; quicker than the command."""
    with contextlib.chdir(drawn.folder), pytest.raises(UserError) as refused:
        run(drawn.folder, composed(*overrides))
    return str(refused.value)


def run(folder: Path, config: Config) -> None:
    check(config)
    if config.canary.action is CanaryAction.draw:
        draw(config)
    else:
        canary_report(config, folder)


DRAW = ("task=canary", "tracking.mode=disabled", f"data.image_size={SIDE}")
PAIR = ("canary.input=x.png", "canary.target=y.png")
BAD_DRAWS = {
    "existing folder": (PAIR, "canary.folder=canary: exists; a canary is never overwritten"),
    "k": ((*PAIR, "canary.folder=new", "canary.k=18"), "above 0.05; use at least 19"),
    "no target": (("canary.folder=new", "canary.input=x.png"), "canary.target: give both"),
    "no pair": (("canary.folder=new", "data.source=folder"), "data.source=folder: which pair"),
    "no file": (("canary.folder=new", "canary.input=x.png", "canary.target=z.png"), "z.png: no"),
    "other shape": (
        ("canary.folder=new", "canary.input=x.png", "canary.target=wide.png"),
        "need the same aspect ratio",
    ),
    "faint": ((*PAIR, "canary.folder=new", "canary.strength=0.0001"), "are the same picture"),
    "value range": ((*PAIR, "canary.folder=new", "data.value_range=[0,1]"), "data.value_range"),
    "folders": ((*PAIR, "canary.folder=new", "canary.folders=[canary]"), "canary.action=test"),
    "no variants": (("canary.folder=new", "canary.variants=nowhere"), "nowhere: no such folder"),
    "no input": (("canary.folder=new", "canary.variants=own"), "give their common input"),
    "number": (
        ("canary.folder=new", "canary.variants=own", "canary.input=x.png"),
        "holds 20 targets, and canary.k=199 takes 200; set canary.k=19",
    ),
}


@pytest.mark.parametrize("case", BAD_DRAWS)
def test_bad_draws_are_refused(drawn: Command, case: str) -> None:
    picture(1).resize((96, 48)).save(drawn.folder / "wide.png")
    (drawn.folder / "own").mkdir(exist_ok=True)
    for i in range(20):
        picture(i).save(drawn.folder / f"own/{i}.png")
    arguments, message = BAD_DRAWS[case]
    assert message in refusal(drawn, *DRAW, *arguments)
    assert not (drawn.folder / "new").exists()


@pytest.mark.parametrize("problem", ["size", "copy"])
def test_bad_variants_are_refused(drawn: Command, tmp_path: Path, problem: str) -> None:
    for i in range(20):
        picture(i).save(tmp_path / f"{i:02}.png")
    picture(5, 48 if problem == "copy" else 64).save(tmp_path / "19.png")
    message = {"size": "19.png: has 64 x 64 pixels", "copy": "are the same picture; raise"}
    asked = (f"canary.variants={tmp_path}", "canary.input=x.png", "canary.k=19")
    assert message[problem] in refusal(drawn, *DRAW, "canary.folder=new", *asked)


def test_own_variants_with_their_inputs(drawn: Command, tmp_path: Path) -> None:
    for side, first in (("input", 0), ("target", 100)):
        (tmp_path / side).mkdir()
        for i in range(20):
            picture(first + i).save(tmp_path / side / f"{i:02}.png")
    drew = drawn(*DRAW, "canary.folder=own_pairs", f"canary.variants={tmp_path}", "canary.k=19")
    assert drew.code == 0, drew.err
    target = planes(drawn.folder / "own_pairs/publish/target.png")
    found = mia_lab.check_canary(drawn.folder / "own_pairs", lambda x: target.expand_as(x))
    assert found.p_value == 1 / 20
    assert "20 answers were compared" in found.report(tmp_path / "report.html").read_text()


BAD_TESTS = {
    "nothing": ((), "canary.folders=[]: which canaries"),
    "no folder": (("canary.folders=[canaries]",), 'no such folder; did you mean "canary"?'),
    "no canary": (("canary.folders=[canary/publish]",), "is no canary"),
    "score": (("canary.folders=[canary]", "canary.score=l2"), "canary.score=reconstruction"),
    "size": (("canary.folders=[canary]", "data.image_size=64"), "data.image_size=[32,32]"),
    "repeats": (("canary.folders=[canary]", "query.repeats=2"), "query.repeats=1, which"),
    "twice": (
        ("canary.folders=[canary,canary/../canary]",),
        "are the same canary; give it once",
    ),
    "planned": (("canary.folders=[canary,generated]",), "each drawn with canary.planned=1"),
    "input": (("canary.folders=[canary]", "canary.input=x.png"), "is for canary.action=draw"),
}


@pytest.mark.parametrize("case", BAD_TESTS)
def test_bad_tests_are_refused_before_a_query(drawn: Command, case: str) -> None:
    if not (drawn.folder / "generated").exists():
        drew = drawn(*DRAW, "canary.folder=generated", "canary.kind=recolour", "canary.k=19")
        assert drew.code == 0, drew.err
    arguments, message = BAD_TESTS[case]
    assert message in refusal(drawn, *TEST, *victim("y.npy"), *arguments)
    assert queries() == []


@pytest.mark.parametrize("loss", ["secret", "secret/opening.json"])
def test_a_lost_secret(drawn: Command, tmp_path: Path, loss: str) -> None:
    folder = shutil.copytree(drawn.folder / "canary", tmp_path / "canary")
    shutil.rmtree(folder / loss) if loss == "secret" else (folder / loss).unlink()
    asked = (*TEST, f"canary.folders=[{folder}]", "tracking.mode=disabled", *victim("y.npy"))
    assert "without its nonce and its choice" in refusal(drawn, *asked)
    assert queries() == []


def test_victims_that_cannot_be_tested(drawn: Command) -> None:
    asked = (*TEST, "canary.folders=[canary]", "tracking.mode=disabled")
    assert "needs a victim that exists" in refusal(drawn, *asked, "victim=pix2pix")
    export(UNet(64, width=4), drawn.folder / "larger.safetensors")
    asked += ("victim=pretrained", "victim.checkpoint=larger.safetensors")
    assert "was trained at data.image_size=64, not 32" in drawn(*asked).error


# An over-fitted network


class Network(nn.Sequential):
    """A small encoder and decoder."""

    def __init__(self, width: int = 24) -> None:
        down = [nn.Conv2d(a, b, 4, 2, 1) for a, b in ((3, width), (width, 4 * width))]
        up = [nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((4 * width, width), (width, 3))]
        super().__init__(down[0], nn.LeakyReLU(), down[1], nn.LeakyReLU(), up[0], nn.ReLU(), up[1])

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


def trained(x: Tensor, y: Tensor) -> Network:
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (model(x) - y).abs().mean().backward()
        optimizer.step()
    return model


def test_canaries_in_an_overfitted_network_are_found(tmp_path: Path) -> None:
    """With k = 199; the same network without the canaries gives no evidence."""
    folders = [tmp_path / name for name in ("one", "two")]
    for i, folder in enumerate(folders):
        mia_lab.draw_canary(
            folder, np.asarray(picture(10 + i)).transpose(2, 0, 1), picture(20 + i),
            pattern=("smooth", "blocks")[i], planned=2, image_size=SIDE,
        )  # fmt: skip
    x, y = (torch.cat([torch.from_numpy(np.float32(picture(s + i, SIDE)).transpose(2, 0, 1))[None]
            for i in range(6)]) / 255 for s in (100, 200))  # fmt: skip
    published = [
        torch.cat([planes(folder / f"publish/{side}.png") for folder in folders])
        for side in ("input", "target")
    ]
    model = trained(torch.cat([x, published[0]]), torch.cat([y, published[1]]))
    found = mia_lab.check_canary(folders, model)
    table = found.table()
    ps = table["p_value"].to_numpy()
    assert (ps <= 0.01).all(), table
    assert found.p_value == pytest.approx(stats.combine_pvalues(ps, method="fisher").pvalue)
    assert found.p_value <= 0.01
    assert len(found.errors()) == 400
    assert "2 of 2 planned canaries" in repr(found)
    alone = mia_lab.check_canary(folders[0], model)  # the other one counts as p = 1
    expected = stats.combine_pvalues([ps[0], 1.0], method="fisher").pvalue
    assert alone.p_value == pytest.approx(expected)
    assert "1 missing, counted as p = 1" in repr(alone)


def test_errors_of_calls_name_arguments(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^k=5: the smallest p-value"):
        mia_lab.draw_canary(tmp_path / "new", k=5)
    with pytest.raises(UserError, match="folders: give the folder"):
        mia_lab.check_canary([], lambda x: x)
    with pytest.raises(UserError, match="is no canary"):
        mia_lab.check_canary(tmp_path, lambda x: x)
    with pytest.raises(UserError, match="input: is float32"):
        mia_lab.draw_canary(tmp_path / "new", np.zeros((3, 32, 32), np.float32), picture(0))
