"""Which settings of the package's components are part of what they are."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

import versions
from mia_lab.config import build
from mia_lab.config.signature import signature_of
from support import composed

RUNTIME = {
    "mia_lab.data.pairs.FolderPairs": {
        *("root", "input_dir", "target_dir", "manifest", "max_megapixels")
    },
    "mia_lab.difficulty.single_image.SingleImageDifficulty": {"batch_size", "keep_gb"},
    "mia_lab.difficulty.supervised.Supervised": {"max_megapixels"},
    "mia_lab.victims.external.Exported": {"accelerator"},
    "mia_lab.victims.external.Onnx": {"accelerator", "threads"},
    "mia_lab.victims.http.Http": {
        *("in_channels", "out_channels"),
        *("token_variable", "timeout_s", "retries", "requests_per_s"),
    },
    "mia_lab.victims.outputs.Outputs": {"folder", "out_channels", "max_megapixels"},
    "mia_lab.victims.pipelines.Pipeline": {"accelerator", "offload"},
    "mia_lab.victims.pretrained.Pretrained": {"accelerator"},
}
FILES = {
    "mia_lab.backbones.backbone.Backbone": {"weights"},
    "mia_lab.difficulty.supervised.Supervised": {"folder"},
    "mia_lab.victims.external.Exported": {"checkpoint"},
    "mia_lab.victims.external.Onnx": {"checkpoint"},
    "mia_lab.victims.pix2pixhd.Pix2PixHD": {"perceptual_weights"},
    "mia_lab.victims.pipelines.Pipeline": {"checkpoint", "lora"},
    "mia_lab.victims.pretrained.Pretrained": {"checkpoint"},
}


@pytest.mark.parametrize("target", versions.components())
def test_marked_parameters(target: str) -> None:
    parameters = signature_of(pkgutil.resolve_name(target)).parameters
    assert {n for n, p in parameters.items() if p.is_runtime} == RUNTIME.get(target, set())
    assert {n for n, p in parameters.items() if p.is_file} == FILES.get(target, set())


@pytest.mark.parametrize(
    "change",
    [
        "difficulty.layers=[1]",
        "difficulty.ridge=auto",
        "difficulty.features_from=target",
        "difficulty.preprocess=official",
        "difficulty.grid_size=28",
        "difficulty.protocol=kfold",
        "difficulty.repeats=2",
        "difficulty.error=l2",
        "difficulty.precision=float32",
        "difficulty.grid.ridge=[2]",
        "difficulty.grid.layers=[[1]]",
    ],
)
def test_what_decides_the_scores_of_a_difficulty(change: str) -> None:
    plain = build.difficulty(composed()).fingerprint()
    assert build.difficulty(composed(change)).fingerprint() != plain


def test_what_does_not() -> None:
    plain = build.difficulty(composed()).fingerprint()
    same = ("difficulty.batch_size=3", "difficulty.keep_gb=0", "difficulty.ridge=1")
    grid = ("difficulty.grid.alpha=[2]", "difficulty.grid.features_from=[target]")
    assert build.difficulty(composed(*same, *grid)).fingerprint() == plain


def test_backbones_of_random_weights_count_by_the_seed() -> None:
    def identity(*overrides: str) -> dict[str, object]:
        return build.backbone(composed(*overrides)).fingerprint()

    assert identity("seed=1") == identity("seed=2")
    random = "backbone.weights=random"
    assert identity(random, "seed=1") != identity(random, "seed=2")
    assert identity("backbone=timm", "backbone.name=resnet18") != identity()


def test_labels_count_by_content(tmp_path: Path) -> None:
    asked = ("difficulty=supervised", f"difficulty.folder={tmp_path}")
    (tmp_path / "labels.csv").write_text("file,difficulty\n")
    first = build.difficulty(composed(*asked)).fingerprint()
    (tmp_path / "labels.csv").write_text("file,difficulty\na.png,1\n")
    assert build.difficulty(composed(*asked)).fingerprint() != first
