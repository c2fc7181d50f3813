"""Audit image-translation models for membership leakage.

:func:`audit` measures whether a model reveals its training images. :func:`score` finds the images
of a list that a model was probably trained on. :func:`dataset_inference` tests whether whole
collections were used. :func:`draw_canary` makes a canary for publication, and :func:`check_canary`
tests whether a model was trained on it. :func:`difficulty_scores` gives the difficulty of images.
:func:`compare` compares audits. ``python -m mia_lab`` does the same on the command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mia_lab.api.auditing import Audit, audit
    from mia_lab.api.canary import CanaryTest, check_canary, draw_canary
    from mia_lab.api.comparing import Comparison, compare
    from mia_lab.api.difficulty import difficulty_scores
    from mia_lab.api.inference import Collections, dataset_inference
    from mia_lab.api.scoring import Scores, score
    from mia_lab.errors import UserError

__all__ = [
    "Audit",
    "CanaryTest",
    "Collections",
    "Comparison",
    "Scores",
    "UserError",
    "audit",
    "check_canary",
    "compare",
    "dataset_inference",
    "difficulty_scores",
    "draw_canary",
    "score",
]

_MODULES = {
    "Audit": "mia_lab.api.auditing",
    "CanaryTest": "mia_lab.api.canary",
    "Collections": "mia_lab.api.inference",
    "Comparison": "mia_lab.api.comparing",
    "Scores": "mia_lab.api.scoring",
    "UserError": "mia_lab.errors",
    "audit": "mia_lab.api.auditing",
    "check_canary": "mia_lab.api.canary",
    "compare": "mia_lab.api.comparing",
    "dataset_inference": "mia_lab.api.inference",
    "difficulty_scores": "mia_lab.api.difficulty",
    "draw_canary": "mia_lab.api.canary",
    "score": "mia_lab.api.scoring",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, because importing PyTorch takes seconds."""
    if name == "__version__":
        return import_module("importlib.metadata").version("mia_lab")
    if name not in _MODULES:
        raise AttributeError(f"module 'mia_lab' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
