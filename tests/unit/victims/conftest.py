from __future__ import annotations

from collections.abc import Callable

import pytest

from mia_lab.data.dataset import PairDataset
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.victims.diffusion import DiffusionVictim
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.pix2pixhd import Pix2PixHD


@pytest.fixture(scope="session")
def members() -> PairDataset:
    source = ProceduralPairs("facades", "BtoA", seed=0, n_train=6, n_test=0)
    return PairDataset(source, source.ids("train"), image_size=32)


@pytest.fixture
def tiny() -> Callable[..., Pix2Pix]:
    """A pix2pix small enough to train in a test."""

    def build(**changes: object) -> Pix2Pix:
        arguments: dict[str, object] = {
            "image_size": 32,
            "in_channels": 3,
            "out_channels": 3,
            "width": 4,
            "discriminator_width": 4,
            "dropout": 0.5,
            "lambda_l1": 100.0,
            "learning_rate": 2e-4,
            "beta1": 0.5,
            "epochs": 4,
            "decay_fraction": 0.5,
            "batch_size": 2,
            "load_scale": 1.125,
            "flip": True,
            "seed": 0,
        }
        return Pix2Pix(**{**arguments, **changes})  # type: ignore[arg-type]

    return build


@pytest.fixture
def tiny_hd() -> Callable[..., Pix2PixHD]:
    """A pix2pixHD small enough to train in a test."""

    def build(**changes: object) -> Pix2PixHD:
        arguments: dict[str, object] = {
            "image_size": 32,
            "in_channels": 3,
            "out_channels": 3,
            "width": 4,
            "discriminator_width": 4,
            "n_downsamplings": 2,
            "n_blocks": 1,
            "n_discriminators": 2,
            "perceptual": "none",
            "lambda_feature": 10.0,
            "lambda_perceptual": 10.0,
            "learning_rate": 2e-4,
            "beta1": 0.5,
            "epochs": 1,
            "decay_fraction": 0.5,
            "batch_size": 6,
            "load_scale": 1.0,
            "flip": False,
            "seed": 0,
        }
        return Pix2PixHD(**{**arguments, **changes})  # type: ignore[arg-type]

    return build


@pytest.fixture
def tiny_diffusion() -> Callable[..., DiffusionVictim]:
    """A diffusion victim small enough to train in a test."""

    def build(**changes: object) -> DiffusionVictim:
        arguments: dict[str, object] = {
            "image_size": 32,
            "in_channels": 3,
            "out_channels": 3,
            "width": 8,
            "multipliers": [1, 2],
            "layers": 1,
            "attention": False,
            "dropout": 0.1,
            "variant": "diffusion",
            "prediction": "sample",
            "schedule": "squaredcos_cap_v2",
            "sampling": "ddim",
            "noise_bias": 1.0,
            "loss": "l2",
            "steps": 4,
            "ema": 0.9,
            "learning_rate": 1e-3,
            "decay_fraction": 0.5,
            "epochs": 3,
            "batch_size": 2,
            "load_scale": 1.125,
            "flip": True,
            "seed": 0,
        }
        return DiffusionVictim(**{**arguments, **changes})  # type: ignore[arg-type]

    return build
