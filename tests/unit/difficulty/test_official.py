"""``preprocess: official`` against the released algorithm, written with other libraries."""

from itertools import product

import numpy as np
import pytest
from PIL import Image

from mia_lab.difficulty.single_image import SingleImageDifficulty
from mia_lab.types import PairBatch
from plain import as_tensor
from released import NETWORKS, released_score


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(["lite0"], ["colours", "one channel", "not square", "small", "large"]),
        pytest.param("wide", "colours", marks=pytest.mark.slow),
    ],
)
def test_official_is_the_released_algorithm(name, kind, facade, request):
    backbone = request.getfixturevalue(name)
    x, y = facade.input, facade.target
    if kind == "one channel":
        x = facade.labels.astype(np.uint8) * 20
    if kind == "not square":
        x, y = (np.asarray(Image.fromarray(p).resize((420, 300))) for p in (x, y))
    if kind == "large":
        x, y = (np.asarray(Image.fromarray(p).resize((900, 700))) for p in (x, y))
    if kind == "small":
        x, y = (np.asarray(Image.fromarray(p).resize((64, 64))) for p in (x, y))
    pair = PairBatch(("facade",), as_tensor(x), as_tensor(y))
    scorer = SingleImageDifficulty(backbone, preprocess="official", ridge=0)
    found = scorer.score(scorer.factors([pair]), seed=0)
    wanted, rank = released_score(backbone.model, *NETWORKS[name], x, y, "facade")
    moved = found.score[0, 0, 0] - wanted
    print(f"{name}, {kind}: {wanted:.6f}, {moved:+.1e}, ranks {found.rank[0, 0, 0]} and {rank}")
    assert abs(moved) < 1e-4
