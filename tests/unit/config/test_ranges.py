"""Signatures of the package's components refuse values that make no sense."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from typing import Any

import pytest

from mia_lab.config.component import Component
from mia_lab.config.compose import composed
from mia_lab.config.signature import signature_of
from mia_lab.errors import UserError
from support import CONF, Command

PIX2PIX = "mia_lab.victims.pix2pix.Pix2Pix"
PIX2PIXHD = "mia_lab.victims.pix2pixhd.Pix2PixHD"
PRIVATE = "mia_lab.victims.private.PrivateUNet"
PRETRAINED = "mia_lab.victims.pretrained.Pretrained"
HTTP = "mia_lab.victims.http.Http"
SINGLE = "mia_lab.difficulty.single_image.SingleImageDifficulty"
QUANTILE = "mia_lab.attacks.fitted.quantile"
SHADOW = "mia_lab.attacks.fitted.shadow"
NAN = float("nan")


@pytest.mark.parametrize(
    ("target", "key", "value", "wanted"),
    [
        (PIX2PIX, "generator", "resnet_7", "one of unet, resnet_6, resnet_9"),
        (PIX2PIX, "gan_loss", "wgan", "one of vanilla, lsgan, hinge"),
        (PIX2PIX, "norm", "layer", "one of batch, instance"),
        (PIX2PIX, "input_encoding", "bgr", "one of rgb, one_hot"),
        (PIX2PIX, "in_channels", 0, "at least 1"),
        (PIX2PIX, "width", 0, "at least 1"),
        (PIX2PIX, "discriminator_width", 0, "at least 1"),
        (PIX2PIX, "dropout", 1, "below 1"),
        (PIX2PIX, "lambda_l1", -1, "at least 0"),
        (PIX2PIX, "learning_rate", 0, "above 0"),
        (PIX2PIX, "beta1", 1, "below 1"),
        (PIX2PIX, "epochs", 0, "at least 1"),
        (PIX2PIX, "decay_fraction", 1.5, "at most 1"),
        (PIX2PIX, "batch_size", 0, "at least 1"),
        (PIX2PIX, "load_scale", 5, "at most 4"),
        (PIX2PIX, "flip", 1, "true or false"),
        (PIX2PIXHD, "perceptual", "vgg", "one of vgg19, lite0, none"),
        (PIX2PIXHD, "n_downsamplings", 0, "at least 1"),
        (PIX2PIXHD, "n_blocks", 0, "at least 1"),
        (PIX2PIXHD, "n_discriminators", 0, "at least 1"),
        (PIX2PIXHD, "lambda_feature", -1.0, "at least 0"),
        (PIX2PIXHD, "lambda_perceptual", -1.0, "at least 0"),
        (PRIVATE, "epsilon", 0.0, "above 0"),
        (PRIVATE, "delta", 1.0, "below 1"),
        (PRIVATE, "delta", 0, "above 0"),
        (PRIVATE, "max_grad_norm", -1.0, "above 0"),
        (PRETRAINED, "dropout", 1.5, "below 1"),
        (PRETRAINED, "format", "keras", "one of mia_lab, pix2pix, pix2pixhd"),
        (PRETRAINED, "mode", "test", "one of eval, train"),
        (HTTP, "encoding", "jpeg", "one of png, npy"),
        (HTTP, "timeout_s", 0, "above 0"),
        (HTTP, "timeout_s", 86_401, "at most 86400"),
        (HTTP, "timeout_s", float("inf"), "a finite number"),
        (HTTP, "retries", -1, "at least 0"),
        (HTTP, "requests_per_s", 0, "above 0"),
        ("mia_lab.victims.external.Onnx", "threads", 0, "at least 1"),
        ("mia_lab.victims.outputs.Outputs", "image_size", [16, 8193], "one side, or "),
        (SINGLE, "features_from", "output", "one of input, target"),
        (SINGLE, "preprocess", "crop", "one of aligned, official"),
        (SINGLE, "protocol", "loo", "one of holdout, kfold"),
        (SINGLE, "error", "l3", "one of l1, l2"),
        (SINGLE, "precision", "float16", "one of float64, float32"),
        (SINGLE, "grid_size", 4, "at least 8"),
        (SINGLE, "grid_size", 56.0, "a whole number"),
        (SINGLE, "folds", 1, "at least 2"),
        (SINGLE, "repeats", 0, "at least 1"),
        (SINGLE, "repeats", True, "a whole number"),
        (SINGLE, "batch_size", True, "a whole number"),
        (SINGLE, "keep_gb", NAN, "a finite number"),
        (SINGLE, "ridge", "cv", "a number or auto"),
        ("mia_lab.difficulty.statistics.ImageStatistics", "statistic", "hue", "one of compressed_"),
        ("mia_lab.difficulty.statistics.ImageStatistics", "of", "both", "one of input, target"),
        ("mia_lab.difficulty.supervised.Supervised", "of", "both", "one of input, target"),
        ("mia_lab.defenses.output_noise.OutputNoise", "sigma", -1.0, "at least 0"),
        ("mia_lab.defenses.quantisation.Quantisation", "levels", 1, "at least 2"),
        ("mia_lab.defenses.quantisation.Quantisation", "levels", 257, "at most 256"),
        ("mia_lab.defenses.jpeg.Jpeg", "quality", 100, "at most 95"),
        ("mia_lab.defenses.smoothing.Smoothing", "sigma", 0.0, "at least 0.1"),
        ("mia_lab.defenses.resizing.Resizing", "factor", 2.0, "at most 1"),
        ("mia_lab.attacks.membership.membership", "alpha", NAN, "a finite number"),
        ("mia_lab.attacks.distances.distance", "metric", "l3", "one of l2, ssim, perceptual"),
        ("mia_lab.attacks.calibrated.lira", "variance", "each", "one of pooled, per_image"),
        ("mia_lab.attacks.calibrated.rmia", "gamma", 0, "above 0"),
        (QUANTILE, "fpr", 1.0, "below 1"),
        (QUANTILE, "components", -1, "at least 0"),
        (QUANTILE, "penalty", -1, "at least 0"),
        (SHADOW, "patch", 3, "at least 4"),
        (SHADOW, "epochs", 0, "at least 1"),
        (SHADOW, "references", 0, "at least 1"),
        ("mia_lab.data.procedural.source.ProceduralPairs", "seed", -1, "at least 0"),
        ("mia_lab.data.pairs.FolderPairs", "layout", "flat", "one of side_by_side, two_folders"),
    ],
)
def test_values_out_of_range_are_refused(target: str, key: str, value: Any, wanted: str) -> None:
    others = signature_of(pkgutil.resolve_name(target)).parameters
    with pytest.raises(UserError, match=rf"^x\.{key}=.*: must be {wanted}"):
        Component.of("x", {"_target_": target, key: value}, provided=others)


def test_signatures_state_the_types_of_all_settings() -> None:
    """What they leave open is passed by the program."""
    lines = "\n".join(file.read_text() for file in CONF.rglob("*.yaml"))
    targets = {*re.findall(r"_target_: (mia_lab\S+)", lines)}
    assert len(targets) > 25
    passed = {"evidence", "ids", "model", "backbone", "device"}
    for target in targets:
        parameters = signature_of(pkgutil.resolve_name(target)).parameters
        assert {name for name, p in parameters.items() if p.annotation is Any} <= passed, target


@pytest.mark.parametrize(
    "override",
    [
        "difficulty.ridge=-1", "victim.width=-4", "victim.load_scale=9", "defense.sigma=-1",
        "attack.available.membership.alpha=a", "reference.victim.width=-4",
    ],
)  # fmt: skip
def test_ranges_of_components_are_checked_before_a_run(override: str) -> None:
    choices = "defense=output_noise", "+victim@reference.victim=pix2pix"
    with pytest.raises(UserError, match=rf"^{re.escape(override)}: must be "):
        composed(*choices, override)


@pytest.mark.parametrize(
    "override",
    [
        "data.image_size=-4", "reference.count=3", "evaluation.permutations=-1",
        "attack.names=[membershp]",
    ],
)  # fmt: skip
def test_sections_are_checked_before_torch_is_imported(command: Command, override: str) -> None:
    key = override.partition("=")[0]
    watched = [sys.executable, "-X", "importtime", "-m", "mia_lab"]
    ran = subprocess.run([*watched, override], cwd=command.folder, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith(f"error: {key}=")
    assert "| torch" not in re.sub(" +", " ", ran.stderr)
