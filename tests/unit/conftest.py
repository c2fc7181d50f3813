"""What the tests of several modules need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mia_lab.backbones.backbone import Backbone


@pytest.fixture(scope="session")
def lite0() -> Backbone:
    from mia_lab.backbones.backbone import Backbone

    return Backbone("tf_efficientnet_lite0", "packaged")
