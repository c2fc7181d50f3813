from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from mia_lab.data.dataset import PairDataset
from mia_lab.data.procedural.source import ProceduralPairs
from mia_lab.victims.diffusion import DiffusionVictim
from mia_lab.victims.pix2pix import Pix2Pix
from mia_lab.victims.pix2pixhd import Pix2PixHD

Victim = TypeVar("Victim")


@pytest.fixture(scope="session")
def members() -> PairDataset:
    source = ProceduralPairs("facades", "BtoA", seed=0, n_train=6, n_test=0)
    return PairDataset(source, source.ids("train"), image_size=32)


COMMON = {"image_size": 32, "in_channels": 3, "out_channels": 3, "decay_fraction": 0.5, "seed": 0}


def small(victim: Callable[..., Victim], **defaults: object) -> Callable[..., Victim]:
    """Builds a victim small enough to train in a test; a call may change its arguments."""
    return lambda **changes: victim(**{**COMMON, **defaults, **changes})


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Pix2Pix]:
    return small(
        Pix2Pix,
        width=4,
        discriminator_width=4,
        dropout=0.5,
        lambda_l1=100.0,
        learning_rate=2e-4,
        beta1=0.5,
        epochs=4,
        batch_size=2,
        load_scale=1.125,
        flip=True,
    )


@pytest.fixture
def tiny_hd() -> Callable[..., Pix2PixHD]:
    return small(
        Pix2PixHD,
        width=4,
        discriminator_width=4,
        n_downsamplings=2,
        n_blocks=1,
        n_discriminators=2,
        perceptual="none",
        lambda_feature=10.0,
        lambda_perceptual=10.0,
        learning_rate=2e-4,
        beta1=0.5,
        epochs=1,
        batch_size=6,
        load_scale=1.0,
        flip=False,
    )


@pytest.fixture
def tiny_diffusion() -> Callable[..., DiffusionVictim]:
    return small(
        DiffusionVictim,
        width=8,
        multipliers=[1, 2],
        layers=1,
        attention=False,
        dropout=0.1,
        variant="diffusion",
        prediction="sample",
        schedule="squaredcos_cap_v2",
        sampling="ddim",
        noise_bias=1.0,
        loss="l2",
        steps=4,
        ema=0.9,
        learning_rate=1e-3,
        epochs=3,
        batch_size=2,
        load_scale=1.125,
        flip=True,
    )
