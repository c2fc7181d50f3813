"""Real Facades, Maps and Cityscapes, where MIA_LAB_DATA says they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia_lab.config import build
from mia_lab.data.picture import Picture
from support import Command, composed

SIZES = {"facades": (400, 106), "maps": (1096, 700), "cityscapes": (1500, 349)}


@pytest.mark.parametrize("name", SIZES)
def test_layouts_and_directions(real_data: Path, name: str) -> None:
    """Label maps are flat and photos are not: the input must be the label map."""
    config = composed(f"data={name}", "data.source=folder", f"paths.data={real_data}")
    source = build.source(config.data)
    assert (len(source.ids("train")), len(source.ids("test"))) == SIZES[name]
    for image_id in (*source.ids("train")[:5], *source.ids("test")[:5]):
        pair = source.load(image_id)
        assert pair.x.pixels.shape == pair.y.pixels.shape == (256, 256, 3)
        assert flatness(pair.x) > flatness(pair.y)


def flatness(picture: Picture) -> float:
    """Share of neighbouring pixels that hardly differ: large in drawings, small in photos."""
    grey = np.asarray(picture.image().convert("L")).astype(int)
    return float((np.abs(np.diff(grey, axis=1)) <= 2).mean())


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
    ran = command.alone("+experiment=maps_pix2pix", "data.source=folder", timeout=1100)
    attacks = ran.metrics["attacks"]
    assert attacks["reconstruction"]["auc"] >= 0.85
    (comparison,) = ran.metrics["comparisons"]
    assert comparison["first"] == "membership"
    assert comparison["ci95"][0] > 0
