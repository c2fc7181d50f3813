"""What an attacker has to have besides the query pair and the victim's answer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from mia_lab.errors import UserError

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Given:
    """What an attacker of this configuration has, known before anything is computed.

    Attributes:
        references: victims that the attacker trains.
        unseen: how many of them never saw an image, at least.
        seen: how many of them saw an image, at least.
        auxiliaries: known non-members.
        shortest_side: of the images, in pixels.
    """

    references: int = 0
    unseen: int = 0
    seen: int = 0
    auxiliaries: int = 0
    shortest_side: int = 0

    def enough(self, what: str, key: str, wanted: int, remedy: str) -> None:
        """Refuse too little.

        Args:
            what: attack, or one of its settings.
            key: an attribute of this.
            wanted: its least value.
            remedy: what to set.

        Raises:
            UserError: there is less.
        """
        if (found := getattr(self, key)) < wanted:
            kind = {
                "unseen": "references that did not see an image",
                "seen": "references that saw an image",
            }.get(key, key)
            raise UserError(f"{what}: takes {wanted} {kind}, and there are {found}; {remedy}")


@dataclass(frozen=True)
class Needs:
    """Requirements of an attack; a plain one has none.

    Attributes:
        auxiliaries: known non-members.
        references: victims that the attacker trains.
        turns: whether each of these is attacked in turn, as a victim whose members are known.
        altered: names of altered queries, see :func:`mia_lab.data.transforms.altered`.
        features: pooled features of a network.
        difficulty: a difficulty of each image.
        costly: its scores take seconds, so they are kept in the store.
        check: ``check(given, **settings)`` raises a :class:`UserError` where it cannot work.
    """

    auxiliaries: bool = False
    references: bool = False
    turns: bool = False
    altered: tuple[str, ...] = ()
    features: bool = False
    difficulty: bool = False
    costly: bool = False
    check: Callable[..., None] | None = field(default=None, compare=False)

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.auxiliaries or other.auxiliaries,
            self.references or other.references,
            self.turns or other.turns,
            tuple(dict.fromkeys([*self.altered, *other.altered])),
            self.features or other.features,
            self.difficulty or other.difficulty,
            self.costly or other.costly,
        )


def attack(*, version: int = 1, **requirements: object) -> Callable[[Function], Function]:
    """Declare an attack: ``@attack(references=True)``.

    Args:
        version: raised by hand whenever its code gives other numbers.
        requirements: see :class:`Needs`.
    """

    def mark(function: Function) -> Function:
        function.version = version  # type: ignore[attr-defined]
        function.needs = Needs(**requirements)  # type: ignore[attr-defined, arg-type]
        return function

    return mark


def needs_of(function: object) -> Needs:
    """What an attack, or a partial of one, needs."""
    while isinstance(function, partial):
        function = function.func
    found = getattr(function, "needs", Needs())
    assert isinstance(found, Needs)
    return found
