"""Libraries whose versions are part of the keys of the stages that use them."""

from __future__ import annotations

from mia_lab.store.software import NUMERICAL

ATTACKING = (*NUMERICAL, "torchmetrics")
"""Libraries that the scores of attacks, and what follows from them, are computed with."""
