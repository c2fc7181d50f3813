"""Two backbones, one generated pair and its features: what most tests here need."""

import pytest

from mia_lab.backbones.backbone import Backbone
from mia_lab.data.procedural import render
from plain import NetworkCase


@pytest.fixture(scope="session")
def wide():
    return Backbone("wide_resnet50_2", "random", seed=0)


@pytest.fixture(scope="session")
def facade():
    """A label map and a photo, 256 x 256."""
    return render("facades", 0, 0)


@pytest.fixture(scope="session")
def lite0_case(lite0, facade):
    return NetworkCase(lite0, facade)


@pytest.fixture(scope="session")
def wide_case(wide, facade):
    return NetworkCase(wide, facade)
