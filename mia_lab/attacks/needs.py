"""What an attacker has to have besides the query pair and the victim's answer to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Needs:
    """Requirements of an attack; a plain one has none.

    Attributes:
        auxiliaries: known non-members.
        references: victims that the attacker trains.
        turns: whether each of these is attacked in turn, as a victim whose members are known.
        altered: names of altered queries, see :func:`mia_lab.data.transforms.altered`.
        features: pooled features of a network.
        costly: whether its scores take so long that they are kept in the store.
    """

    auxiliaries: bool = False
    references: bool = False
    turns: bool = False
    altered: tuple[str, ...] = ()
    features: bool = False
    costly: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.auxiliaries or other.auxiliaries,
            self.references or other.references,
            self.turns or other.turns,
            tuple(dict.fromkeys([*self.altered, *other.altered])),
            self.features or other.features,
            self.costly or other.costly,
        )


def needs(**requirements: object) -> Callable[[Function], Function]:
    """Say what an attack needs: ``@needs(references=True)``; see :class:`Needs`."""

    def mark(attack: Function) -> Function:
        attack.needs = Needs(**requirements)  # type: ignore[attr-defined, arg-type]
        return attack

    return mark


def needs_of(attack: object) -> Needs:
    """What an attack, or a partial of one, needs."""
    while isinstance(attack, partial):
        attack = attack.func
    found = getattr(attack, "needs", Needs())
    assert isinstance(found, Needs)
    return found
