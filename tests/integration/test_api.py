"""The Python API: the command's numbers from objects, and one line for wrong arguments."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import mia_lab
from mia_lab import UserError, audit, compare, difficulty_scores, score
from mia_lab.config.compose import composed
from support import Command

FEW = ("evaluation.permutations=20", "trainer.accelerator=cpu", "trainer.threads=1")
"""Overrides of a short audit."""

N = 10
"""Members, and as many non-members."""

ERRORS: dict[str, Any] = {"attacks": ["reconstruction"], "difficulty": "none"}
"""Of an audit that measures errors alone."""


class Brighter(nn.Module):
    """Answers with a brighter picture of what it is given, more so in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x + (1 - x) * (1.0 if self.training else self.weight)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs in two folders, side by side, of different content."""
    root = tmp_path_factory.mktemp("api")
    rng = np.random.default_rng(0)
    for part in ("seen", "unseen"):
        (root / "pairs" / part).mkdir(parents=True)
        for i in range(N):
            pixels = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
            if part == "seen":
                pixels[:, 32:] = 255 - (255 - pixels[:, :32]) // 2
            Image.fromarray(pixels).save(root / "pairs" / part / f"{i}.png")
    model = torch.export.export(
        Brighter().eval(), (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(model, root / "model.pt2")
    return root


def arrays(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a folder as uint8 (N, 3, 32, 32), twice."""
    pixels = [np.asarray(Image.open(path)) for path in sorted((folder / "pairs" / part).iterdir())]
    both = np.stack(pixels).transpose(0, 3, 1, 2)
    return both[..., :32], both[..., 32:]


def pillow(planes: np.ndarray) -> Image.Image:
    return Image.fromarray(planes.transpose(1, 2, 0))


def images(folder: Path) -> dict[str, Any]:
    return {"members": arrays(folder, "seen"), "nonmembers": arrays(folder, "unseen")}


@pytest.fixture(scope="module")
def found(folder: Path) -> mia_lab.Audit:
    return audit(Brighter(), **images(folder), overrides=FEW)


def test_an_audit_of_folders_is_the_commands(folder: Path) -> None:
    """Every score and every number of metrics.json, whichever way the model is given."""
    command = Command(folder)
    ran = command(
        *("data=custom", "data.root=pairs", "data.train=seen", "data.test=unseen", *FEW),
        *("data.protocol=official", "victim=exported", "victim.checkpoint=model.pt2"),
        *("data.image_size=32", "tracking.mode=disabled", "report.pictures=false"),
    )
    expected = ran.metrics
    # These folders were not drawn at random; but ten images cannot be adjusted for anything.
    assert expected["adjustment"]["effective_size"] == N
    nothing = {"adjusted": None, "matched": None}
    assert expected["adjustment"]["attacks"]["membership"] == nothing
    assert "Not adjustable, too few images" in ran.out
    scores = pd.read_csv(folder / "outputs/latest/scores.csv").set_index("id")
    parts = {"members": folder / "pairs/seen", "nonmembers": str(folder / "pairs/unseen")}
    few = (*FEW, "report.pictures=false")
    for victim in (folder / "model.pt2", Brighter().eval().forward):
        ours = audit(victim, **parts, image_size=32, overrides=few)
        for name, attack in expected["attacks"].items():
            assert ours.table().loc[name, "auc"] == pytest.approx(attack["auc"], abs=1e-12)
        pd.testing.assert_frame_equal(ours.scores, scores, atol=1e-9, rtol=0)
        assert ours.verdict == expected["blind"]["verdict"]
        assert not ours.missing_baselines
    path = ours.report(folder / "ours")
    assert path == folder / "ours/report.html"
    written = json.loads((folder / "ours/metrics.json").read_text())
    same = set(expected) - {"name", "timing_s", "record", "command"}
    assert {k: written[k] for k in same} == {k: expected[k] for k in same}


def test_arrays_tensors_pictures_and_datasets_are_the_same(
    folder: Path, found: mia_lab.Audit
) -> None:
    x, y = arrays(folder, "seen")
    forms: list[Any] = [
        (torch.from_numpy(x.copy()), torch.from_numpy(y.copy())),
        (x / np.float32(255), torch.from_numpy(y / np.float32(255))),
        [(a / np.float32(255), b) for a, b in zip(x, y, strict=True)],
        [tuple(map(pillow, pair)) for pair in zip(x, y, strict=True)],
        torch.utils.data.StackDataset(torch.from_numpy(x.copy()), torch.from_numpy(y.copy())),
    ]  # fmt: skip
    for form in forms:
        same = audit(
            Brighter(), members=form, nonmembers=arrays(folder, "unseen"), overrides=FEW, **ERRORS
        )
        error = same.scores["reconstruction_error"]
        assert error.to_numpy() == pytest.approx(found.scores["reconstruction_error"], abs=1e-7)


def test_reconstruction_errors_are_those_of_a_direct_formula(
    folder: Path, found: mia_lab.Audit
) -> None:
    for part, name in (("seen", "members"), ("unseen", "nonmembers")):
        x, y = (side.astype(np.float64) / 255 for side in arrays(folder, part))
        answers = x + (1 - x) * float(np.float32(0.3))
        expected = np.abs(answers - y).mean((1, 2, 3))
        ours = found.scores.loc[[f"{name}/{i}" for i in range(N)], "reconstruction_error"]
        assert ours.to_numpy() == pytest.approx(expected, abs=1e-6)
    assert found.missing_baselines == ("file",)


def test_tables_of_an_audit(found: mia_lab.Audit) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    for name in ("reconstruction", "membership"):
        truth, guess = found.scores["is_member"], -found.scores[f"{name}_error"]
        assert found.table().loc[name, "auc"] == pytest.approx(roc_auc_score(truth, guess))
        ours = found.roc[found.roc["attack"] == name]
        rates = roc_curve(truth, guess, drop_intermediate=False)
        for column, expected in zip(("fpr", "tpr", "threshold"), rates, strict=True):
            assert ours[column].to_numpy() == pytest.approx(expected)
    assert "<table" in found._repr_html_()
    assert "features (blind)" in found._repr_html_()
    assert found.summary in repr(found).replace("\n", " ")


def test_a_perceptual_attack_on_a_module(folder: Path, found: mia_lab.Audit) -> None:
    both = audit(
        Brighter(), **images(folder), attacks=["perceptual", "reconstruction"], overrides=FEW,
        difficulty="none",
    )  # fmt: skip
    assert [*both.table().index[:2]] == ["perceptual", "reconstruction"]
    errors = both.scores["perceptual_error"]
    assert errors.between(0, 2).all()
    assert errors.nunique() == 2 * N
    wanted = found.scores["reconstruction_error"]
    pd.testing.assert_series_equal(both.scores["reconstruction_error"], wanted)


@pytest.mark.slow
def test_all_attacks_on_a_module(folder: Path) -> None:
    """Reference victims are trained, half of them with each auxiliary."""
    settings = (
        "+victim@reference.victim=pix2pix", "demo_epochs=1", "reference.victim.epochs=1",
        "reference.victim.width=4", "reference.victim.discriminator_width=4", "reference.count=4",
        "attack.available.shadow.epochs=1", "attack.available.adaptive.repeats=1",
    )  # fmt: skip
    names = composed("attack=all").attack.names
    all_found = audit(
        Brighter(), **images(folder), auxiliaries=(small(20, 3, 32, 32), small(20, 3, 32, 32)),
        attacks="all", overrides=[*FEW, *settings],
    )  # fmt: skip
    assert [*all_found.table().index[: len(names)]] == names
    assert all_found.table()["auc"][: len(names)].between(0, 1).all()
    assert np.isfinite(all_found.scores[[f"{name}_error" for name in names]]).all(axis=None)


def test_a_backbone_is_a_choice_or_a_network_of_timm(folder: Path) -> None:
    x, y = arrays(folder, "unseen")
    given: dict[str, Any] = {"x": x[:3], "y": y[:3]}
    plain = difficulty_scores(**given, overrides=FEW)
    chosen = difficulty_scores(**given, overrides=FEW, backbone="efficientnet_lite0")
    assert chosen.tolist() == plain.tolist()
    weights = [*FEW, "backbone.weights=random"]
    other = difficulty_scores(**given, overrides=weights, backbone="test_resnet")
    by_overrides = ["backbone=timm", "backbone.name=test_resnet", *weights]
    assert other.tolist() == difficulty_scores(**given, overrides=by_overrides).tolist()
    assert (other != plain).all()


def test_a_changed_table_does_not_change_the_audit(found: mia_lab.Audit) -> None:
    for table in (lambda: found.table(), lambda: found.scores, lambda: found.roc):
        before = table().copy()
        changed = table()
        changed.iloc[:, -1] = changed.iloc[0, -1]
        del changed[changed.columns[0]]
        pd.testing.assert_frame_equal(table(), before)


def test_a_page_alone(found: mia_lab.Audit, tmp_path: Path) -> None:
    path = found.report(tmp_path / "pages/audit.html")
    assert path == tmp_path / "pages/audit.html"
    assert [*path.parent.iterdir()] == [path]
    page = path.read_text()
    assert "Most exposed members" in page
    assert "beside this page" not in page
    assert "beside this page" in found.report(tmp_path / "all").read_text()


def test_the_model_and_the_threads_are_left_as_they_were(folder: Path) -> None:
    model, threads = Brighter().train(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        trained = audit(model, **images(folder), overrides=FEW, **ERRORS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert model.training
    assert trained.scores["reconstruction_error"].iloc[0] < 0.2  # evaluation mode


def test_a_value_range(folder: Path, found: mia_lab.Audit) -> None:
    def signed(x: Tensor) -> Tensor:
        return 2 * Brighter().eval()((x + 1) / 2) - 1

    again = audit(signed, **images(folder), overrides=FEW, value_range=(-1, 1), **ERRORS)
    ours, expected = (a.scores["reconstruction_error"].to_numpy() for a in (again, found))
    assert ours == pytest.approx(expected, abs=1e-6)


def test_candidates_are_scored(folder: Path) -> None:
    x, y = arrays(folder, "seen")
    scored = score(Brighter(), (x, y), arrays(folder, "unseen"), fpr=0.1, overrides=FEW, **ERRORS)
    table = scored.table()
    assert set(table["reconstruction_decision"]) == {"member"}
    assert table["reconstruction_p_value"].to_numpy() == pytest.approx(1 / (N + 1))
    assert "scores.csv beside" in scored.report(folder / "scored").read_text()
    assert "scores.csv beside" not in scored.report(folder / "scored.html").read_text()
    assert "<table" in scored._repr_html_()
    for change, said in (
        ({"fpr": 0.01}, "^fpr=0.01: .* at least 99 auxiliaries, or a higher fpr$"),
        ({"victim": "pix2pix"}, r"score\(\) needs a victim that exists, such as the path of its"),
        ({"candidates": None, "auxiliaries": None}, "^candidates: give the images"),
    ):
        given: dict[str, Any] = {"victim": Brighter(), "candidates": (x, y), "auxiliaries": (x, y)}
        with pytest.raises(UserError, match=said):
            score(**given | change)


def test_difficulty_is_the_commands(folder: Path) -> None:
    command = Command(folder)
    ran = command(
        *("task=difficulty", "data=custom", "data.root=pairs", "data.image_size=32", *FEW),
        *("data.train=unseen", "tracking.mode=disabled", "difficulty.ridge=10"),
    )
    assert ran.code == 0, ran.err
    x, y = arrays(folder, "unseen")
    ours = difficulty_scores(x, y, overrides=[*FEW, "difficulty.ridge=10"])
    table = pd.read_csv(folder / "outputs/latest/difficulty.csv").set_index("id")
    expected = table["difficulty"][[f"unseen/{i}" for i in range(N)]]
    # Another id draws other pixels to hold out.
    assert ours == pytest.approx(expected.to_numpy(), rel=0.1)
    assert difficulty_scores(x, y, overrides=[*FEW, "difficulty.ridge=10"]).tolist() == [*ours]
    with pytest.raises(UserError, match=r"^x, y: has 10 inputs and 2 targets"):
        difficulty_scores(x, y[:2])


def test_audits_are_compared(folder: Path, found: mia_lab.Audit, tmp_path: Path) -> None:
    plain = audit(lambda x: x, **images(folder), overrides=[*FEW, "report.pictures=false"])
    plain.report(tmp_path / "plain")
    together = compare({"brighter": found, "plain": tmp_path / "plain"})
    table = together.table().set_index(["run", "attack"])
    for name, one in (("brighter", found), ("plain", plain)):
        assert table.loc[(name, "membership"), "auc"] == one.table().loc["membership", "auc"]
    assert together.tests()["p_value"].notna().any()
    assert together.report(tmp_path / "page").is_file()
    assert "paired.csv beside this page" in (tmp_path / "page/report.html").read_text()
    both = compare({"brighter": found, "plain": plain}).report(tmp_path / "alone.html").read_text()
    assert both.count("arrays, 32 px") == 2  # title and heading
    assert "beside this page" not in both
    assert ">Runs<" not in both
    wrong: dict[str, Any] = {
        "takes two at least, not 1": {"one": found},
        "give names": [found, plain],
        "two is a int; give an audit": {"one": found, "two": 2},
        "^audits=/nowhere: no such folder": {"one": found, "two": "/nowhere"},
    }
    for said, given in wrong.items():
        with pytest.raises(UserError, match=said):
            compare(given)


def test_results_are_kept_only_in_the_folder_given(folder: Path, tmp_path: Path) -> None:
    given = images(folder)
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "cwd").mkdir()
        patch.chdir(tmp_path / "cwd")
        for _ in range(2):
            audit(Brighter(), **given, overrides=FEW, folder=tmp_path / "kept")
        assert not [*Path.cwd().iterdir()]
    log = (tmp_path / "kept/store/log.jsonl").read_text().splitlines()
    computed = [e["stage"] for e in map(json.loads, log) if e["event"] == "computed"]
    assert computed.count("features") == 1
    assert computed.count("reconstructions") == 2  # what a function answers is not known before
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"store"}


def small(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


PAIRS = (small(4, 3, 32, 32), small(4, 3, 32, 32, seed=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: {"members": (small(4, 32, 32, 3), small(4, 32, 32, 3))}, "channels come last"),
        (lambda: {"members": (PAIRS[0] * 2 - 1, PAIRS[1])}, r"values from -\S+ to \S+; scale"),
        (lambda: {"members": (PAIRS[0], PAIRS[1][:3])}, "4 inputs and 3 targets"),
        (lambda: {"members": (PAIRS[0].astype(int), PAIRS[1])}, "of type int64; give uint8"),
        (lambda: {"members": []}, "members: has no images"),
        (lambda: {"members": [PAIRS[0][0]]}, "members/0: is no pair"),
        (lambda: {"members": 3}, "members: is a int; give a folder"),
        (lambda: {"members": "/nowhere/a", "nonmembers": "/b"}, "members=/nowhere/a: /nowhere: no"),
        (lambda: {"nonmembers": Path("/tmp")}, "nonmembers: is a folder, the others are not"),
        (lambda: {"nonmembers": (small(4, 3, 32, 48), small(4, 3, 32, 48))}, "give image_size"),
        (lambda: {"nonmembers": None}, "nonmembers: an audit compares"),
        (lambda: {"members": ([*PAIRS[0]], [*PAIRS[1]][:3])}, "4 inputs and 3 targets"),
        (lambda: {"members": ((PAIRS[0][0], PAIRS[1][0]), (PAIRS[0][1], PAIRS[1][1]))}, "a tuple"),
        (lambda: {"members": {0: PAIRS}}, "members: is a dict"),
        (lambda: {"members": torch.utils.data.DataLoader([PAIRS])}, "give its dataset"),
        (lambda: {"members": [(Image.new("P", (32, 32)),) * 2] * 2}, "mode P; give picture.conv"),
        (lambda: {"members": [(small(3, 32, 32), small(3, 32, 48))]}, "32 x 32 .* 48 x 32"),
        (lambda: {"victim": ""}, "victim=: is no file"),
        (lambda: {"attacks": "membership"}, r"give a list, \['membership'\]"),
        (lambda: {"overrides": ["seed=3"]}, "give the argument seed instead"),
        (lambda: {"overrides": ["until=split"]}, "until=split: a function of the API"),
        (lambda: {"overrides": ["data.manifest=x"]}, "the images are arguments"),
        (lambda: {"overrides": ["data=facades"]}, "data.direction=BtoA: says how files are read"),
        (lambda: {"victim": "pix2pixx"}, 'victim=pix2pixx: .* did you mean "pix2pix"'),
        (lambda: {"victim": 7}, "victim: is a int; give a function"),
        (lambda: {"victim": lambda x: [x]}, "victim: answers with a list"),
        (lambda: {"victim": lambda x: 2 * x - 1}, r"value_range=\(-1, 1\)"),
        (lambda: {"victim": lambda x: 255 * x}, r"to 255, outside \[0,1\]; .*value_range="),
        (lambda: {"victim": lambda x: x[:, :1]}, "size and channels for each .* 3 channels$"),
        (lambda: {"victim": "model.onnx"}, "^victim=model.onnx: no such file"),
        (lambda: {"attacks": ["membershp"]}, "^attacks=membershp: must be"),
        (lambda: {"attacks": ["recon"]}, 'did you mean "reconstruction"'),
        (lambda: {"attacks": ["quantile"]}, "there are 0; give more auxiliaries$"),
        (lambda: {"members": [*PAIRS]}, r"list of two arrays .* give a tuple \(x, y\)"),
        (lambda: {"members": (3, 4)}, "members: is a int; give arrays"),
        (lambda: {"nonmembers": PAIRS}, "add the override data.duplicates=drop"),
        (lambda: {"auxiliaries": (PAIRS[0][:, :1], PAIRS[1])}, "has 1; convert them, or of fo"),
        (lambda: {"backbone": "resnet1888"}, "^backbone=resnet1888: timm"),
        (lambda: {"folder": "/proc/x"}, "^folder=/proc/x: cannot be written"),
        (lambda: {"victim": "pix2pix", "image_size": 48}, "image_size=48; set image_size=64$"),
        (lambda: {"difficulty": "single"}, "single"),
        (lambda: {"value_range": (1, 0)}, r"^value_range=\[1, 0\]: must be \[low, high\]"),
        (lambda: {"value_range": 1}, r"^value_range=1: must be \[low, high\], .*\[0, 255\]"),
        (lambda: {"overrides": ["data.layot=two_folders"]}, "data.layot"),
        (lambda: {"overrides": ["data.direction=BtoA"]}, "BtoA: says how files are read"),
        (lambda: {"image_size": 7}, "^image_size=7: must be"),
        (lambda: {"seed": "x"}, "seed"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_told_in_one_line(
    change: Callable[[], dict[str, Any]], said: str
) -> None:
    given = {"victim": lambda x: x, "members": PAIRS, "nonmembers": PAIRS[::-1]} | change()
    overrides = [*FEW, *given.pop("overrides", ())]
    with pytest.raises(UserError, match=said) as raised:
        audit(**given, overrides=overrides)
    assert "\n" not in str(raised.value)


def test_numbers_of_numpy_are_numbers(folder: Path, found: mia_lab.Audit) -> None:
    same = audit(
        Brighter(), **images(folder), overrides=FEW, image_size=np.int64(32),
        value_range=np.array([0.0, 1.0]), **ERRORS,
    )  # fmt: skip
    error = "reconstruction_error"
    pd.testing.assert_series_equal(same.scores[error], found.scores[error])


def test_lists_of_inputs_and_targets_are_pairs_row_by_row() -> None:
    x, y = PAIRS
    once, again = difficulty_scores(x, y), difficulty_scores([*x], [*y])
    np.testing.assert_array_equal(once, again)


def test_folders_of_the_same_name(folder: Path, tmp_path: Path) -> None:
    """Ids begin with the role; the pictures and the numbers are the same."""
    for part, parent in (("seen", "a"), ("unseen", "b")):
        shutil.copytree(folder / "pairs" / part, tmp_path / parent / "images")
    given: dict[str, Any] = {"image_size": 32, "overrides": FEW, **ERRORS}
    plain = audit(Brighter(), folder / "pairs/seen", folder / "pairs/unseen", **given).scores
    same = audit(Brighter(), tmp_path / "a/images", tmp_path / "b/images", **given).scores
    assert {name.rpartition("/")[0] for name in same.index} == {
        "member/images", "nonmember/images"
    }  # fmt: skip
    renamed = same.rename(lambda name: name.replace("nonmember/images", "unseen"))
    renamed = renamed.rename(lambda name: name.replace("member/images", "seen"))
    pd.testing.assert_frame_equal(renamed.sort_index(), plain.sort_index())
    with pytest.raises(UserError, match="are the same pair"):
        audit(Brighter(), tmp_path / "a/images", tmp_path / "a/images", **given)


def test_a_choice_of_data_says_how_folders_are_read(folder: Path) -> None:
    """Facades are read from B to A."""
    parts = {"members": folder / "pairs/seen", "nonmembers": folder / "pairs/unseen"}
    few = {"image_size": 32, **ERRORS}
    ways = (["data=facades"], ["data.direction=BtoA"], ["data.direction=AtoB"])
    errors = [
        audit(Brighter(), **parts, **few, overrides=[*FEW, *way]).scores["reconstruction_error"]
        for way in ways
    ]
    assert errors[0].tolist() == errors[1].tolist() != errors[2].tolist()


def test_it_runs_inside_an_application_of_hydra_and_in_threads(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from hydra import compose, initialize_config_dir

    from mia_lab.config.compose import CONF, composed

    with initialize_config_dir(str(CONF), version_base="1.3"):
        with ThreadPoolExecutor(4) as pool:
            seeds = [*pool.map(lambda seed: composed(f"seed={seed}").seed, range(8))]
        assert seeds == [*range(8)]
        assert compose("config", ["seed=9"]).seed == 9


def test_a_victim_may_use_gradients(folder: Path, found: mia_lab.Audit) -> None:
    def guided(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            loss = x.square().sum()
            (gradient,) = torch.autograd.grad(loss, x)
        return (x + (1 - x) * 0.3 + 0 * gradient).detach()

    same = audit(guided, **images(folder), overrides=FEW, **ERRORS)
    ours, expected = (a.scores["reconstruction_error"].to_numpy() for a in (same, found))
    assert ours == pytest.approx(expected, abs=1e-6)


def test_a_kind_of_victim_is_trained_once(folder: Path, tmp_path: Path) -> None:
    """A second call, after the training was pruned, reads the verdict."""
    small_network = ("victim.width=4", "victim.discriminator_width=4", "victim.epochs=2")
    arguments = {**images(folder), "overrides": [*FEW, *small_network], **ERRORS}
    arguments["folder"] = tmp_path
    first = audit("pix2pix", **arguments)
    shutil.rmtree(tmp_path / "store/victim")
    second = audit("pix2pix", **arguments)
    pd.testing.assert_frame_equal(first.scores, second.scores)
    assert not (tmp_path / "store/victim").exists()


def test_pixels_that_change_are_noticed() -> None:
    class Augmented:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray]:
            return np.random.default_rng().random((2, 3, 32, 32)).astype(np.float32)[0], PAIRS[1][0]

    with pytest.raises(UserError, match="switch off augmentation"):
        audit(lambda x: x, Augmented(), PAIRS, overrides=FEW)


def test_an_import_costs_nothing_before_it_is_used() -> None:
    heavy = {"torch", "numpy", "hydra", "pytorch_lightning", "wandb", "pandas"}
    code = (
        "import sys, mia_lab; assert not sys.modules.keys() & " + repr(heavy) + "\n"
        "assert 'audit' in dir(mia_lab)\n"
        "import numpy as np\n"
        "x, y = np.random.default_rng(0).random((2, 16, 3, 32, 32)).astype('float32')\n"
        f"mia_lab.audit(lambda b: b, (x[:8], y[:8]), (x[8:], y[8:]), overrides={[*FEW]!r})\n"
        "assert not sys.modules.keys() & {'pytorch_lightning', 'submitit', 'mia_lab.cli'}"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]


@pytest.mark.parametrize(
    "module", sorted({getattr(mia_lab, n).__module__ for n in mia_lab.__all__})
)
def test_examples_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 1
    assert found.failed == 0


def test_every_public_name_has_an_example() -> None:
    for name in mia_lab.__all__:
        example = inspect.getdoc(getattr(mia_lab, name)) or ""
        returned = {
            "Audit": "audit",
            "CanaryTest": "check_canary",
            "Collections": "dataset_inference",
            "Comparison": "compare",
            "Scores": "score",
        }
        if name in returned:  # the example is that of the function which returns it
            assert f"mia_lab.{returned[name]}" in example
        else:
            assert ">>>" in example, name
