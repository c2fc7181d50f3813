"""Numbers that stages and components computed when their versions were last raised.

A failure here means that stored results are no longer what the code would compute. If that is
intended, raise the version of the stage or of the component, and then write the new numbers here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mia_lab.backbones.backbone import Backbone
from mia_lab.backbones.pooling import pool
from mia_lab.data.dataset import PairDataset
from mia_lab.data.picture import Picture
from mia_lab.data.procedural import render
from mia_lab.data.procedural import source as generated
from mia_lab.data.source import Pair
from mia_lab.data.splits import Counts, assign_official, assign_resplit
from mia_lab.data.traces import traces
from mia_lab.difficulty import difficulty_score
from mia_lab.evaluation.blind import fit_baselines
from mia_lab.stages.blind import BlindStage
from mia_lab.stages.difficulty import DifficultyStage
from mia_lab.stages.features import FeaturesStage
from mia_lab.stages.pooled import PooledStage
from mia_lab.stages.split import SplitStage
from mia_lab.stages.victim import VictimStage
from mia_lab.types import Role
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.settings import TrainingSettings
from mia_lab.victims.training import train


def test_split_version() -> None:
    pool = [f"{i:02d}" for i in range(12)]
    rows = assign_resplit(pool, Counts(4, 3, 1), seed=5)
    official = assign_official(pool[:6], pool[6:], Counts(3, 2, 0), seed=5)
    found = [
        "".join(i for i in pool if split.get(i, {}).get("role") == role)
        for split in (rows, official)
        for role in (Role.MEMBER, Role.NONMEMBER)
    ]
    assert (SplitStage.version, found) == (3, SPLIT)


def test_difficulty_version() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(6, 16, 16)), rng.normal(size=(40, 4, 4))]
    target = 0.5 + 0.1 * blocks[0][:3] + 0.01 * rng.normal(size=(3, 16, 16))
    score = difficulty_score(blocks, target, ridge=2.0, seed=1, image_id="golden")
    assert (FeaturesStage.version, DifficultyStage.version) == (2, 2)
    assert score == pytest.approx(DIFFICULTY, rel=1e-9)


def test_blind_features_version() -> None:
    """Traces are part of the split, pooled features of a stage of their own."""
    scene = render("facades", 0, 0)
    pair = Pair(Picture.of(scene.input), Picture.of(scene.target))
    found = traces(pair, ())
    assert [found[column] for column in TRACES] == pytest.approx(list(TRACES.values()), rel=1e-4)
    photo = torch.from_numpy(scene.target.copy()).permute(2, 0, 1)[None].float() / 255
    pooled = pool(Backbone("tf_efficientnet_lite0", "packaged"), photo)[0]
    assert PooledStage.version == 2
    assert len(pooled) == 496
    np.testing.assert_allclose(pooled[[0, 100, 495]], POOLED, atol=1e-4)


def test_blind_version() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(40) < 20
    features = {"pixels": rng.normal(size=(40, 6)) + truth[:, None]}
    fits = fit_baselines(features, truth, seed=3, permutations=40)
    assert BlindStage.version == 2
    assert fits.name.tolist() == ["pixels"]
    np.testing.assert_allclose(fits.score[0, :3], BLIND_SCORES, atol=1e-5)
    np.testing.assert_allclose(fits.null.mean(axis=0), BLIND_NULL, atol=1e-5)


@pytest.mark.parametrize("style", ["facades", "maps", "streets"])
def test_generated_data_version(style: str) -> None:
    scenes = [render(style, 0, i) for i in range(2)]
    assert generated.ProceduralPairs.version == 1
    found = [s.target.mean(axis=(0, 1)).round(1).tolist() for s in scenes]
    # Libraries may round a pixel differently; another scene is far away.
    np.testing.assert_allclose(found, SCENES[style], atol=0.5)


def test_victim_version(tmp_path: Path) -> None:
    source = generated.ProceduralPairs("facades", "BtoA", seed=0, n_train=4, n_test=0)
    module = Pix2Pix(
        image_size=32,
        in_channels=3,
        out_channels=3,
        width=4,
        discriminator_width=4,
        dropout=0.5,
        lambda_l1=100.0,
        learning_rate=2e-4,
        beta1=0.5,
        epochs=2,
        decay_fraction=0.5,
        batch_size=2,
        load_scale=1.125,
        flip=True,
        seed=0,
    )
    losses: list[float] = []
    train(
        module,
        PairDataset(source, source.ids("train"), 32),
        tmp_path,
        TrainingSettings("cpu"),
        on_epoch=lambda _epoch, found, _module: losses.append(found["l1"]),
    )
    assert VictimStage.version == 2
    np.testing.assert_allclose(losses, L1, rtol=2e-3)


def test_torch_generators_are_stable() -> None:
    """Initial weights and dropout hang on PyTorch's CPU generator."""
    drawn = torch.rand(3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(drawn.numpy(), [0.4962566, 0.7682218, 0.08847743], rtol=1e-6)


SPLIT = ["02030811", "000107", "000305", "0608"]
DIFFICULTY = 0.008553714346997648
SCENES = {
    "facades": [[181.7, 160.7, 136.1], [196.5, 194.6, 196.9]],
    "maps": [[150.9, 139.0, 136.9], [85.2, 70.6, 61.8]],
    "streets": [[77.2, 71.5, 68.0], [109.9, 108.9, 105.0]],
}
L1 = [0.190089, 0.186998]
TRACES = {
    ("statistics", "y red mean"): 181.71451,
    ("statistics", "y log laplacian variance"): 5.570995,
    ("jpeg", "y grid down 3"): -0.00440404,
}
POOLED = [1.58477, -4.51812, 0.92518]
BLIND_SCORES = [0.888889, 0.666667, 0.444444]
BLIND_NULL = [0.506875]
