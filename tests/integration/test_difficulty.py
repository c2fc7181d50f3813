"""The difficulty engine through the real command: every protocol, the survey, the grid."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from mia_lab.backbones.backbone import Backbone
from mia_lab.data.procedural import render
from released import NETWORKS, released_score
from support import Command, Ran

SURVEY = (
    "task=difficulty",
    "+experiment=tiny",
    "data.sources.procedural.n_train=9",
    "data.sources.procedural.n_test=3",
    "difficulty.grid_size=16",
)
AUDIT = ("+experiment=tiny", "difficulty.grid_size=16")


def rows(ran: Ran, name: str) -> list[dict[str, str]]:
    assert ran.code == 0, ran.err
    with (ran.folder / "outputs/latest" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def scores(ran: Ran) -> dict[str, float]:
    return {row["id"]: float(row["difficulty"]) for row in rows(ran, "difficulty.csv")}


def stored(folder: Path, stage: str, file: str) -> list[Any]:
    return [np.load(p) for p in sorted((folder / f"outputs/store/{stage}").glob(f"*/{file}"))]


def computed(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [line.split()[0] for line in ran.err.splitlines() if line.endswith("computing")]


def stages(ran: Ran) -> set[str]:
    """Of which the store has results."""
    return {p.name for p in (ran.folder / "outputs/store").glob("[!.]*/")}


def test_survey_scores_a_folder_without_a_victim(command: Command) -> None:
    ran = command(*SURVEY, "report.images=true", "difficulty.repeats=3")
    folder = ran.folder / "outputs/latest"
    assert {p.name for p in folder.iterdir()} >= {
        "difficulty.csv", "metrics.json", "report.html", "histogram.png", "gallery.png",
        "config.yaml",
    }  # fmt: skip
    found = scores(ran)
    assert len(found) == 12
    assert list(found.values()) == sorted(found.values())
    assert folder.resolve().parent.name == "facades_difficulty"
    assert stages(ran) == {"features", "difficulty"}
    metrics = ran.metrics
    assert metrics["difficulty"]["mean"] == pytest.approx(np.mean(list(found.values())))
    (repeats,) = stored(ran.folder, "difficulty", "score.npy")
    f = stats.f_oneway(*repeats[:, 0]).statistic
    assert metrics["reliability"]["icc_single"] == pytest.approx((f - 1) / (f + 2))
    assert metrics["record"]["backbone licence"].startswith("Apache-2.0")
    assert metrics["record"]["backbone weights"] == "packaged"
    assert "12 images at 32 px: median difficulty" in ran.out
    assert re.search(r"^extracting features: 12 images in \d+\.\d s$", ran.err, re.MULTILINE)

    again = command(*SURVEY, "difficulty.repeats=3")
    assert computed(again) == []
    assert scores(again) == found


def test_survey_scores_what_the_manifest_names(command: Command) -> None:
    for i in range(6):
        scene = render("facades", 3, i)
        path = command.folder / f"pairs/train/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate([scene.input, scene.target], axis=1)).save(path)
    folder = ("task=difficulty", "+experiment=tiny", "data=custom", "data.root=pairs")
    (command.folder / "some.csv").write_text("id,role\ntrain/4,member\ntrain/2,nonmember\n")
    everything = scores(command(*folder))
    assert sorted(everything) == [f"train/{i}" for i in range(6)]
    named = scores(command(*folder, "data.protocol=manifest", "data.manifest=some.csv"))
    assert named == pytest.approx({i: everything[i] for i in ("train/4", "train/2")}, abs=1e-5)


def test_kfold_predicts_every_pixel_and_keeps_the_map(command: Command) -> None:
    ran = command(*SURVEY, "difficulty.protocol=kfold", "difficulty.maps=true")
    found = scores(ran)
    (drawn,) = stored(ran.folder, "difficulty", "map.npy")
    (ids,) = stored(ran.folder, "difficulty", "id.npy")
    assert drawn.shape == (12, 16, 16)
    for image_id, picture in zip(ids, drawn, strict=True):
        assert picture.mean() == pytest.approx(found[str(image_id)], rel=1e-5)
    assert (drawn > 0).all()


def test_maps_need_kfold(command: Command) -> None:
    ran = command(*SURVEY, "difficulty.maps=true")
    assert "difficulty.maps=true with difficulty.protocol=holdout" in ran.error
    assert "use difficulty.protocol=kfold" in ran.error


def test_penalty_auto_and_zero_report_what_they_came_to(command: Command) -> None:
    auto = command(*SURVEY, "difficulty.ridge=auto")
    penalties = [float(row["penalty"]) for row in rows(auto, "difficulty.csv")]
    assert min(penalties) > 0
    assert auto.metrics["record"]["difficulty penalty chosen"].startswith("median ")
    chosen = scores(auto)
    zero = command(*SURVEY, "difficulty.ridge=0")
    ranks = [int(float(row["rank"])) for row in rows(zero, "difficulty.csv")]
    assert 0 < max(ranks) < 179  # training pixels
    assert "difficulty rank" in zero.metrics["record"]
    # Chosen on the training pixels, it is no worse on the others than hardly any penalty.
    assert np.mean(list(chosen.values())) < np.mean(list(scores(zero).values()))


@pytest.mark.slow
def test_features_are_extracted_once(command: Command) -> None:
    assert computed(command(*SURVEY)) == ["difficulty", "features"]
    for changed in (
        "difficulty.layers=[2]",
        "difficulty.ridge=auto",
        "difficulty.protocol=kfold",
        "difficulty.repeats=2",
        "difficulty.error=l2",
        "difficulty.precision=float32",
        "difficulty.grid.layers=[[1],[2,3]]",
        "seed=1",
    ):
        assert computed(command(*SURVEY, changed)) == ["difficulty"], changed
    for changed in (
        "difficulty.features_from=target",
        "difficulty.preprocess=official",
        "backbone.weights=random",
    ):
        assert computed(command(*SURVEY, changed)) == ["difficulty", "features"], changed
    assert computed(command(*SURVEY, "difficulty.batch_size=5", "difficulty.keep_gb=0")) == []


def test_beyond_the_budget_only_scores_are_kept_and_equal(command: Command) -> None:
    kept = scores(command(*SURVEY))
    streamed = command(*SURVEY, "difficulty.keep_gb=0", "paths.store=other")
    assert computed(streamed) == ["difficulty"]
    assert "more than difficulty.keep_gb=0: only scores are stored" in streamed.err
    assert not (command.folder / "other/features").exists()
    assert scores(streamed) == kept


@pytest.mark.slow
def test_random_weights_come_from_the_seed(command: Command) -> None:
    network = ("backbone=timm", "backbone.name=resnet18", "backbone.weights=random")
    found, digests = [], []
    for number, seed in enumerate((0, 0, 1)):
        ran = command(*SURVEY, *network, f"seed={seed}", f"paths.store=store-{number}")
        record = ran.metrics["record"]
        assert record["backbone licence"] == "none (random numbers)"
        found.append(scores(ran))
        digests.append(record["backbone sha256"])
    assert found[0] == found[1] != found[2]
    assert digests[0] == digests[1] != digests[2]


def test_survey_compares_layers_penalties_sides_and_backbones(command: Command) -> None:
    ran = command(
        *SURVEY,
        "difficulty.grid.layers=[[1],[4]]",
        "difficulty.grid.ridge=[0,auto]",
        "difficulty.grid.features_from=[target]",
        "difficulty.grid.backbone=[{name: resnet18, weights: random}]",
    )
    found = rows(ran, "difficulty.csv")
    settings = [key for key in found[0] if " backbone " in key]
    assert len(settings) == 3 * 3 * 2 * 2 - 1
    pairs = rows(ran, "agreement.csv")
    assert len(pairs) == 36 * 35 / 2
    for pair in pairs[::97]:
        columns = [
            [float(r[n if n in settings else "difficulty"]) for r in found]
            for n in (pair["first"], pair["second"])
        ]
        wanted = stats.spearmanr(*columns)[0]
        assert float(pair["spearman"]) == pytest.approx(wanted, abs=1e-12)
    assert computed(ran).count("features") == 4
    assert (ran.folder / "outputs/latest/agreement-4.png").is_file()
    # The configured score does not depend on what it is compared with.
    compared = scores(ran)
    assert scores(command(*SURVEY)) == compared


def test_audit_evaluates_the_grid(command: Command) -> None:
    ran = command(
        *AUDIT,
        "difficulty.grid.layers=[[2],[1,4]]",
        "difficulty.grid.ridge=[0.01,100]",
        "difficulty.grid.alpha=[0.5]",
        "report.pictures=true",
    )
    grid = rows(ran, "grid.csv")
    assert len(grid) == 3 * 3 * 2
    assert grid[0]["note"].startswith("configured")
    assert sum("hindsight" in row["note"] for row in grid) == 1
    assert max(grid, key=lambda r: float(r["auc"]))["auc"] == next(
        row["auc"] for row in grid if "hindsight" in row["note"]
    )
    table = rows(ran, "scores.csv")
    truth = [int(row["is_member"]) for row in table]
    error = np.array([float(row["reconstruction_error"]) for row in table])
    # The configured setting has another entry, which the blind baselines read.
    score, layers, ridge, ids = (
        max(stored(ran.folder, "difficulty", f"{name}.npy"), key=np.size)
        for name in ("score", "layers", "ridge", "id")
    )
    order = [ids.tolist().index(row["id"]) for row in table]
    for point in grid:
        setting = np.flatnonzero((layers == point["layers"]) & (ridge == point["ridge"])).item()
        membership = error - float(point["alpha"]) * score[order, setting, 0]
        assert float(point["auc"]) == pytest.approx(roc_auc_score(truth, -membership), abs=1e-12)
    assert float(grid[0]["auc"]) == ran.metrics["attacks"]["membership"]["auc"]
    for name in ("grid.png", "grid-2.png"):
        assert (ran.folder / "outputs/latest" / name).is_file()

    # A point of the grid is what a run of its own says.
    alone = command(*AUDIT, "difficulty.layers=[1,4]", "difficulty.ridge=100", "attack.alpha=0.5")
    point = next(r for r in grid if (r["layers"], r["ridge"], r["alpha"]) == ("1,4", "100", "0.5"))
    assert alone.metrics["attacks"]["membership"]["auc"] == float(point["auc"])
    assert computed(alone) == ["verdict", "difficulty"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("difficulty.ridge=-1",), "difficulty.ridge=-1: must be at least 0 or auto"),
        (("difficulty.ridge=best",), "difficulty.ridge=best: must be a number or auto"),
        (("difficulty.grid.ridge=[1,x]",), "difficulty.grid.ridge=[1, x]: x must be a number"),
        (("difficulty.grid.layers=[1,2]",), "layers=[1, 2]: 1 must be a list, such as [1]"),
        (
            ("difficulty.grid.layers=[[7]]",),
            "difficulty.grid.layers=[7]: unknown layer; choose from 1",
        ),
        (("difficulty.layers=2",), "difficulty.layers=2: must be a list, such as [2]"),
        (("difficulty.grid=layers_x_ridge",), "prepared one by difficulty/grid=NAME"),
        (("difficulty.protocol=loo",), "difficulty.protocol=loo: must be one of holdout, kfold"),
        (("difficulty.protocol=kfold", "difficulty.folds=1"), "difficulty.folds=1: must be"),
        (("difficulty.error=l3",), "difficulty.error=l3: must be one of l1, l2"),
        (("difficulty.precision=half",), "difficulty.precision=half: must be one of float64"),
        (("difficulty.keep_gb=-1",), "difficulty.keep_gb=-1: must be"),
        (("difficulty.grid.alpha=[1]",), "difficulty.grid.alpha=[1.0] weighs the difficulty"),
        (("until=victim",), "until=victim stops an audit"),
        (("difficulty.grid.backbone=[resnet18]",), "resnet18 is no backbone; give [{name:"),
        (
            ("difficulty.grid.backbone=[{name: resnet18, weigths: random}]",),
            'there are name, seed, weights; did you mean "weights"?',
        ),
        (
            ("backbone.weights=missing.safetensors",),
            "backbone.weights=missing.safetensors: no such",
        ),
    ],
)
def test_wrong_settings_end_in_one_line(
    command: Command, overrides: tuple[str, ...], message: str
) -> None:
    ran = command(*SURVEY, *overrides)
    assert message in ran.error
    assert not stages(ran)


def test_a_grid_needs_the_attack_that_it_evaluates(command: Command) -> None:
    ran = command(*AUDIT, "attack.names=[reconstruction]", "difficulty.grid.ridge=[10]")
    assert "difficulty.grid evaluates the membership attack" in ran.error


OWN = """
from mia_lab.difficulty.single_image import SingleImageDifficulty


class Probe(SingleImageDifficulty):
    pass


class Other:
    def __init__(self, **settings):
        pass
"""


def test_a_score_of_your_own_is_not_mistaken_for_ours(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command.folder / "own_difficulty.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(command.folder))
    assert computed(command(*SURVEY)) == ["difficulty", "features"]
    own = command(*SURVEY, "difficulty._target_=own_difficulty.Probe")
    assert computed(own) == ["difficulty", "features"]
    other = command(*SURVEY, "difficulty._target_=own_difficulty.Other")
    assert "derive it from mia_lab.difficulty.single_image" in other.error


def test_constant_pictures_have_a_score(command: Command) -> None:
    for level in (0, 128, 255):
        path = command.folder / f"pairs/train/{level}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 64, 3), level, dtype=np.uint8)).save(path)
    ran = command(
        "task=difficulty", "+experiment=tiny", "data=custom", "data.root=pairs",
        "difficulty.grid_size=16", "difficulty.grid.ridge=[0,auto]", "difficulty.repeats=2",
    )  # fmt: skip
    found = scores(ran)
    assert len(found) == 3
    assert all(abs(score) < 1e-6 for score in found.values())
    assert all(np.isfinite(stored(ran.folder, "difficulty", "score.npy")[0].ravel()))


def test_official_scores_pictures_as_they_are_stored(command: Command) -> None:
    """Neither the size that a victim sees counts, nor that its pictures are squares."""
    data = command.folder / "data"
    (data / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    sides = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize((300, 420)))
        for _ in range(2)
    ]
    Image.fromarray(np.concatenate(sides, axis=1)).save(data / "train/1.png")
    settings = ("preprocess=official", "ridge=0", "layers=[1,2,3,4]", "grid_size=56")
    ran = command(
        "task=difficulty",
        "+experiment=tiny",
        "data=facades",
        "data.source=folder",
        "data.root=data",
        "data.layout=side_by_side",
        "data.direction=AtoB",
        *(f"difficulty.{setting}" for setting in settings),
    )
    backbone = Backbone("tf_efficientnet_lite0", "packaged")
    wanted, _ = released_score(backbone.model, *NETWORKS["lite0"], *sides, "train/1")
    assert scores(ran)["train/1"] == pytest.approx(wanted, abs=1e-4)
