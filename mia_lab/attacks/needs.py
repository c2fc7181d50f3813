"""What an attacker has to have besides the query pair and the victim's answer to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeVar, cast

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
        answers: of the victim to each image.
        denoiser: whether the victim is a diffusion model whose network can be looked into.
    """

    references: int = 0
    unseen: int = 0
    seen: int = 0
    auxiliaries: int = 0
    shortest_side: int = 0
    answers: int = 1
    denoiser: bool = False

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
                "answers": "answers to each image",
            }.get(key, key)
            raise UserError(f"{what}: takes {wanted} {kind}, and there are {found}; {remedy}")


@dataclass(frozen=True)
class Setting:
    """A requirement that an argument of the attack decides.

    Attributes:
        name: of the argument.
    """

    name: str

    def of(self, function: object, arguments: Mapping[str, Any]) -> Any:
        """Its value, or that of the function's default."""
        default = inspect.signature(cast(Any, function)).parameters[self.name].default
        return arguments.get(self.name, default)


@dataclass(frozen=True)
class Needs:
    """Requirements of an attack; a plain one has none.

    A requirement may be a :class:`Setting`, which an argument of the attack decides.

    Attributes:
        auxiliaries: known non-members.
        references: victims that the attacker trains.
        turns: whether each of these is attacked in turn, as a victim whose members are known.
        altered: names of altered queries, see :func:`mia_lab.data.transforms.altered`.
        features: pooled features of a network.
        difficulty: a difficulty of each image.
        answers: least number of answers of the victim to each image, of which it is given all
            ``query.repeats``; 0: it is given the first alone.
        denoiser: the network inside a diffusion model: the attacker holds the model itself.
        averaged: answers that the altered query :data:`~mia_lab.types.ADAPTIVE` averages.
        costly: its scores take seconds, so they are kept in the store.
        check: ``check(given, **settings)`` raises a :class:`UserError` where it cannot work.
    """

    auxiliaries: bool = False
    references: bool = False
    turns: bool = False
    altered: tuple[str, ...] = ()
    features: bool = False
    difficulty: bool = False
    answers: int = 0
    averaged: int = 1
    denoiser: bool = False
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
            max(self.answers, other.answers),
            max(self.averaged, other.averaged),
            self.denoiser or other.denoiser,
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


def needs_of(function: object, arguments: Mapping[str, Any] | None = None) -> Needs:
    """What an attack needs with some arguments; without them, of its defaults."""
    while isinstance(function, partial):
        arguments = {**function.keywords, **(arguments or {})}
        function = function.func
    found = getattr(function, "needs", Needs())
    assert isinstance(found, Needs)
    values = {requirement.name: getattr(found, requirement.name) for requirement in fields(found)}
    decided = {
        name: type(getattr(Needs(), name))(value.of(function, arguments or {}))
        for name, value in values.items()
        if isinstance(value, Setting)
    }
    return replace(found, **decided)
