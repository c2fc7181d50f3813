"""Victims that answer at random, through the command line."""

from __future__ import annotations

import json

import numpy as np

from support import Command

MODEL = "attack.names=[reconstruction,denoising_loss,secmi,pia]"


def test_further_answers_are_drawn_alone(command: Command) -> None:
    arguments = "+experiment=tiny", "query.mode=train", "victim.generator=resnet_6"
    ran = command(*arguments, "query.repeats=2")
    first = ran.metrics
    told = "query.repeats=2: 2 answers to each of 13 images, 0 of them stored; 26 queries"
    assert told in ran.err
    assert command.computed["reconstructions"] == 2
    assert command.computed["victim"] == 1
    ran = command(*arguments, "query.repeats=3")
    three = ran.metrics
    assert "3 answers to each of 13 images, 2 of them stored; 13 queries" in ran.err
    assert command.computed["reconstructions"] == 3
    assert command.computed["victim"] == 1
    assert [c["answers"] for c in three["answers"]] == [[1, 2, 3]] * 3
    for few, many in zip(first["answers"], three["answers"], strict=True):
        assert few["auc"] == many["auc"][:2]
    one = command(*arguments).metrics
    assert command.computed["reconstructions"] == 3
    assert one["answers"] == []
    assert one["attacks"]["reconstruction"] == three["attacks"]["reconstruction"]


def test_answers_that_do_not_vary_are_not_asked_for_again(command: Command) -> None:
    error = command("+experiment=tiny", "query.repeats=2").error
    assert error == (
        "error: query.repeats=2: victim=pix2pix answers a repeated query alike; set query.repeats=1"
    )
    assert not command.computed


def test_active_dropout_needs_a_layer_of_it(command: Command) -> None:
    error = command("+experiment=tiny", "query.mode=train", "query.repeats=2").error
    assert "victim=pix2pix answers a repeated query alike" in error


def test_a_diffusion_model_is_audited_attacked_and_exported(command: Command) -> None:
    arguments = "+experiment=tiny_diffusion", "query.repeats=2"
    metrics = command(*arguments, MODEL, "query.batch_size=3").metrics
    needs = {name: attack["knowledge"] for name, attack in metrics["attacks"].items()}
    assert {name: (n["queries"], n["model"]) for name, n in needs.items()} == {
        "reconstruction": (1, False),
        "denoising_loss": (0, True),
        "secmi": (0, True),
        "pia": (0, True),
    }
    text = (command.folder / "outputs/latest/report.html").read_text()
    assert "the model itself" in text
    stored = [*(command.folder / "outputs/store/reconstructions").iterdir()]
    answers = [np.load(folder / "images.npy") for folder in stored if folder.is_dir()]
    assert len(answers) == 2
    assert np.abs(answers[0] - answers[1]).max() > 0.01

    ran = command(*arguments, "task=export")
    assert ran.code == 0, ran.err
    assert "pipeline: " in ran.out
    assert "victim=diffusers" in ran.out
    pipeline = command.folder / "outputs/latest/pipeline"
    assert json.loads((pipeline / "model_index.json").read_text())["steps"] == 4
    found = command(
        *("victim=diffusers", f"victim.checkpoint={pipeline}", "trainer=cpu", "data.image_size=32"),
        *("data.protocol=manifest", f"data.manifest={pipeline.parent / 'split.csv'}"),
        *("tracking.mode=disabled", "evaluation.permutations=20", "report.pictures=false"),
        "query.batch_size=3",
    ).metrics
    names = "auc", "tpr_at_fpr"
    same = ({n: m["attacks"]["reconstruction"][n] for n in names} for m in (found, metrics))
    assert next(same) == next(same)


def test_models_are_looked_into_only_where_they_are_diffusion_models(command: Command) -> None:
    error = command("+experiment=tiny", MODEL).error
    assert "look into a diffusion model, and this victim gives answers alone" in error
    error = command("+experiment=tiny_diffusion", "victim.variant=bridge", MODEL).error
    assert "victim.variant=diffusion" in error
    assert not command.computed
