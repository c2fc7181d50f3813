"""Composition and cross-field checks, without running anything."""

from __future__ import annotations

import pytest
from omegaconf.errors import OmegaConfBaseException

from mia_lab.config import build
from mia_lab.config.explain import CONFIGURATION_ERRORS, explain
from mia_lab.config.validate import validate
from mia_lab.errors import UserError
from support import composed

EXPERIMENTS = ("facades_pix2pix", "maps_pix2pix", "cityscapes_pix2pix")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_experiments_compose_at_both_scales(experiment: str, scale: str) -> None:
    config = composed(f"+experiment={experiment}", f"scale={scale}", "paths.data=/")
    assert config.name == experiment
    if scale == "paper":
        published = {
            "image_size": 256,
            "width": 64,
            "discriminator_width": 64,
            "epochs": 200,
            "batch_size": 1,
            "lambda_l1": 100,
            "learning_rate": 2e-4,
            "beta1": 0.5,
            "dropout": 0.5,
            "decay_fraction": 0.5,
            "flip": True,
        }
        assert {k: config.victim[k] for k in published} == published
        assert round(config.victim["load_scale"] * 256) == 286
        assert config.backbone.name.startswith("wide_resnet50_2")
        assert config.data.source == "folder"
    else:
        assert config.backbone.name == "tf_efficientnet_lite0"
        assert config.data.source == "procedural"
        validate(config)


def test_the_command_line_wins_over_scale_and_experiment() -> None:
    config = composed(
        "+experiment=maps_pix2pix", "scale=paper", "backbone=efficientnet_lite0", "victim.epochs=3"
    )
    assert config.backbone.name == "tf_efficientnet_lite0"
    assert config.victim["epochs"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("victim.epochss=3", "victim.epochss: unknown key; did you mean epochs"),
        ("victim.epochs=many", "victim.epochs: Value 'many' .* could not be converted to Integer"),
        ("data.assignment=coin", "data.assignment: Invalid value 'coin', expected one of .fixed"),
        ("data.protocol=fair", "data.protocol: Invalid value 'fair', expected one of .resplit"),
        ("+experiment=nothing", "Could not find 'experiment/nothing' Available options .*facades_"),
        ("data=nothing", "Could not find 'data/nothing' .*: _base, cityscapes, custom, facades"),
        ("seed=", "seed"),
    ],
)
def test_composition_errors_are_one_line(override: str, message: str) -> None:
    with pytest.raises(CONFIGURATION_ERRORS) as caught:
        composed(override)
    text = explain(caught.value)
    assert "\n" not in text
    assert "search path" not in text
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(text)


def test_errors_without_a_cause_are_explained_too() -> None:
    assert explain(OmegaConfBaseException("first\nsecond")) == "first second"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("+dta=x", "dta: unknown key; did you mean data"),
        ("+data.rooot=x", "data.rooot: unknown key; did you mean root"),
        ("+victim.epochss=3", "victim.epochss: unknown key; did you mean epochs"),
        ("data.n_members=-1", "data.n_members=-1: must be at least 1"),
        ("data.n_auxiliary=-1", "data.n_auxiliary=-1: must be at least 0"),
        ("data.image_size=0", "data.image_size=0: must be at least 16"),
        ("data.image_size=100", "data.image_size=100: .*power of two"),
        ("data.source=web", "data.source=web: unknown; choose from procedural, folder"),
        ("data.root=/nowhere data.source=folder", "data.root=/nowhere: no such folder"),
        ("data.source=folder paths.data=null", "Set MIA_LAB_DATA to the folder that holds facades"),
        (
            "data=custom paths.data=null",
            "Set MIA_LAB_DATA to the folder that holds custom/, or give data.root=",
        ),
        ("data.protocol=manifest", "give both data.protocol=manifest and data.manifest=FILE.csv"),
        ("data.manifest=x.csv", "give both"),
        ("victim=pretrained", "victim.checkpoint: no value given"),
        (
            "victim=pretrained victim.checkpoint=x",
            "data.protocol=resplit draws new members, but victim=pretrained is trained already",
        ),
        ("victim=custom victim._target_=a.B", "victim=custom is trained already"),
        (
            "victim=custom victim._target_=a.B data.protocol=official query.mode=train",
            "query.mode=train: victim=custom has no such mode",
        ),
        (
            "victim=custom victim._target_=fractions.Fraction +victim.epochs=1",
            "victim._target_=fractions.Fraction: has epochs, .* is no LightningModule|cannot be b",
        ),
        ("victim.epochs=0", "victim.epochs=0: must be at least 1"),
        ("victim.epoch=3", r"victim.epoch=3: is not kept; add it to victim.keep_epochs=\[\]"),
        (
            "victim.keep_epochs=[0,9]",
            r"victim.keep_epochs=\[0, 9\]: the training has epochs 1 to 8",
        ),
        ("victim.generator=vit", "victim.generator=vit: must be one of unet, resnet_6, resnet_9"),
        ("victim=pix2pixhd victim.perceptual=vgg", "victim.perceptual=vgg: must be one of vgg19"),
        ("victim.in_channels=4", "victim.in_channels=4: the data has 3 channels"),
        ("trainer.devices=2", "trainer.devices=2: more than one needs trainer=ddp"),
        ("trainer=ddp trainer.devices=3", "cannot divide victim.batch_size=4 into equal parts"),
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp: unknown; choose from auto, ddp"),
        ("trainer.workers=-1", "trainer.workers=-1: must be at least 0"),
        ("victim.learning_rate=nan", "victim.learning_rate=nan: must be finite and above 0"),
        ("victim.dropout=1", "victim.dropout=1.0: must be in"),
        ("victim.load_scale=0.5", "victim.load_scale=0.5: must be between 1 and 4"),
        ("attack.alpha=nan", "attack.alpha=nan: must be a finite number"),
        ("attack.alpha=inf", "attack.alpha=inf: must be a finite number"),
        ("attack.names=[]", "name at least one attack"),
        ("attack.names=[gan]", "attack.names=gan: unknown; choose from reconstruction, l2, ssim"),
        ("reference.count=3", "reference.count=3: reference victims come in pairs"),
        ("reference.only=8 until=references", "reference.only=8: there are reference.count=8"),
        ("reference.only=1", "reference.only=1: .* add until=references"),
        ("query.repeats=0", "query.repeats=0: must be at least 1"),
        ("attack.names=[membership,membership]", "names an attack twice"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu: unknown; choose from auto, cpu, gpu"),
        (
            "trainer.precision=16-true",
            "trainer.precision=16-true: unknown; choose from auto, 32-true",
        ),
        ("trainer.threads=0", "trainer.threads=0: must be at least 1"),
        ("query.batch_size=0", "query.batch_size=0: must be at least 1"),
        ("evaluation.permutations=19", "evaluation.permutations=19: must be at least 20"),
        ("evaluation.delta=1", r"evaluation.delta=1.0: must lie in \[0, 1\)"),
        ("evaluation.guesses=50", "evaluation.guesses=50: .* set data.assignment=bernoulli"),
        (
            "evaluation.guesses=1 data.assignment=bernoulli",
            "evaluation.guesses=1: must be at least 2",
        ),
        (
            "data.assignment=bernoulli data.group_by=x",
            "data.assignment=bernoulli: flips a coin for each image",
        ),
        (
            "data.assignment=bernoulli data.protocol=official",
            "which takes data.protocol=resplit",
        ),
    ],
)
def test_impossible_values_are_refused(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(*overrides.split())


def check(*overrides: str) -> None:
    """All that a run checks before it looks at any data."""
    config = composed(*overrides)
    validate(config)
    build.trained_victim(build.resolved_victim(config, 3))
