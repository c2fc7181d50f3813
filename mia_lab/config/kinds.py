"""What kind of component one is, as its class states; a class that states nothing is a plain one.

Classes state a kind in attributes of these names. Functions that make an object state nothing.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from mia_lab.config.component import Component

if TYPE_CHECKING:
    from mia_lab.types import PrivacyClaim


def is_trainable(victim: Component) -> bool:
    """Whether the victim is trained here, on the members; others were trained before.

    A LightningModule that states nothing is.
    """
    stated = getattr(victim.kind, "trainable", None)
    if stated is not None:
        return bool(stated)
    bases = getattr(victim.kind, "__mro__", ())
    return any(base.__name__ == "LightningModule" for base in bases)


def has_train_mode(victim: Component) -> bool:
    """Whether the victim answers in ``query.mode=train``; one that is trained here does."""
    return bool(getattr(victim.kind, "has_train_mode", is_trainable(victim)))


def is_stochastic(victim: Component) -> bool:
    """Whether answers in ``query.mode=eval`` may be random; one that is trained here states it."""
    return bool(getattr(victim.kind, "stochastic", not is_trainable(victim)))


def is_random_defense(defense: Component) -> bool:
    """Whether a defence shows different pictures for the same answer; one that is silent may."""
    return bool(getattr(defense.kind, "stochastic", True))


def is_sampler(victim: Component) -> bool:
    """Whether the victim draws each answer from a seed: by ``sample(x, seeds, ...)``."""
    sample = getattr(victim.kind, "sample", None)
    return callable(sample) and "seeds" in inspect.signature(sample).parameters


def has_denoiser(victim: Component) -> bool:
    """Whether the victim is a diffusion model whose network can be looked into."""
    stated = getattr(victim.kind, "has_denoiser", None)
    return stated is not None and bool(stated(victim.arguments))


def takes_prompts(victim: Component) -> bool:
    """Whether the victim is given the prompts of a manifest; one that is trained here is not."""
    return is_sampler(victim) and not is_trainable(victim)


def is_recorded(victim: Component) -> bool:
    """Whether the victim's answers were recorded before, so that it answers nothing else."""
    return hasattr(victim.kind, "recall")


def privacy_claim(victim: Component, n_members: int) -> PrivacyClaim | None:
    """What the victim's training promises its members; None: nothing.

    Raises:
        UserError: no noise keeps the promise.
    """
    if not getattr(victim.kind, "private", False):
        return None
    claim: PrivacyClaim = victim.kind.privacy_claim(victim.arguments, n_members)
    return claim


def needs_references(difficulty: Component) -> bool:
    """Whether the difficulty is computed from answers of reference victims."""
    return bool(getattr(difficulty.kind, "needs_references", False))


def needs_backbone(difficulty: Component) -> bool:
    """Whether the difficulty is built with a backbone."""
    return bool(getattr(difficulty.kind, "needs_backbone", False))


def scores_images(difficulty: Component) -> bool:
    """Whether the difficulty is one number an image, without layers or penalties."""
    return hasattr(difficulty.kind, "score_images")
