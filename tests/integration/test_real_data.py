"""Real Facades, Maps and Cityscapes, where MIA_LAB_DATA says they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mia_lab.config import build
from support import Command, composed

SIZES = {"facades": (400, 106), "maps": (1096, 700), "cityscapes": (1500, 349)}


@pytest.mark.parametrize("name", SIZES)
def test_layouts_and_directions(real_data: Path, name: str) -> None:
    """Label maps have few colours and photos many: the input must be the label map."""
    config = composed(f"data={name}", "data.source=folder", f"paths.data={real_data}")
    source = build.source(config)
    assert (len(source.ids("train")), len(source.ids("test"))) == SIZES[name]
    for image_id in (*source.ids("train")[:5], *source.ids("test")[:5]):
        pair = source.load(image_id)
        assert pair.x.size == pair.y.size == (256, 256)
        assert coarse_colours(pair.x) < coarse_colours(pair.y)


def coarse_colours(picture: Image.Image) -> int:
    """How many of 4096 coarse colours cover at least one pixel in a thousand."""
    coarse = np.asarray(picture).astype(int) // 16
    codes = coarse[..., 0] * 256 + coarse[..., 1] * 16 + coarse[..., 2]
    return int((np.bincount(codes.ravel()) >= codes.size / 1000).sum())


@pytest.mark.parametrize("name", SIZES)
def test_a_tiny_audit_of_each(command: Command, real_data: Path, name: str) -> None:
    command.environment["MIA_LAB_DATA"] = str(real_data)
    ran = command(f"+experiment=[{name}_pix2pix,tiny]", "data.source=folder", "victim.epochs=1")
    assert ran.metrics["n_nonmembers"] == 5
    assert ran.metrics["record"]["data"].startswith(f"folder {name}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_effect_on_real_maps(command: Command, real_data: Path) -> None:
    """Reconstruction leaks, and difficulty sharpens it: paired interval above zero."""
    command.environment |= {"MIA_LAB_DATA": str(real_data), "OMP_NUM_THREADS": "2"}
    ran = command("+experiment=maps_pix2pix", "data.source=folder", timeout=1100)
    attacks = ran.metrics["attacks"]
    assert attacks["reconstruction"]["auc"] >= 0.85
    (comparison,) = ran.metrics["comparisons"]
    assert comparison["first"] == "membership"
    assert comparison["ci95"][0] > 0
