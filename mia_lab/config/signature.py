"""The parameters of a component, read from its signature: the schema of its settings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Any, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from mia_lab.config.messages import wrong_value
from mia_lab.parameters import FILE, RUNTIME, Marker

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
"""No value is converted, except what JSON has no word for: a list to a tuple, a text to a path."""

Kind = Callable[..., Any]
"""A class or a function."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a class or function.

    Attributes:
        annotation: its type; Any where there is none.
        default: :data:`inspect.Parameter.empty` where there is none.
    """

    annotation: Any
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    @property
    def is_runtime(self) -> bool:
        """Whether it is marked as no part of an identity."""
        return RUNTIME in _markers(self.annotation)

    @property
    def is_file(self) -> bool:
        """Whether it is marked as the name of a file or folder."""
        return FILE in _markers(self.annotation)

    def checked(self, key: str, value: Any) -> Any:
        """A JSON value as the annotation has it.

        Raises:
            UserError: it has another type, or is out of range.
        """
        try:
            return self._adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise wrong_value(key, value, error.errors()) from None

    def normal_default(self) -> Any:
        """The default as a configured value would be; as it is where JSON has no word for it."""
        try:
            return self._adapter.validate_json(json.dumps(self.default), strict=True)
        except (TypeError, ValueError):
            return self.default

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(self.annotation, config=STRICT)
        except PydanticUserError:  # a pydantic model or dataclass has a configuration of its own
            return TypeAdapter(self.annotation)


@dataclass(frozen=True)
class Signature:
    """The parameters of a class or function.

    Attributes:
        parameters: by name, in order.
        takes_more: whether it takes keywords that it does not name.
    """

    parameters: Mapping[str, Parameter]
    takes_more: bool


@cache
def signature_of(kind: Kind) -> Signature:
    """The parameters of a class, by its constructor, or of a function.

    Raises:
        TypeError, ValueError: it is not callable, or has no signature that Python can read.
    """
    parameters, takes_more = {}, False
    function = _defining(kind)
    for name, found in inspect.signature(kind).parameters.items():
        if found.kind is inspect.Parameter.VAR_KEYWORD:
            takes_more = True
        elif found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY):
            parameters[name] = Parameter(_annotation(function, found.annotation), found.default)
    return Signature(parameters, takes_more)


def _defining(kind: Kind) -> Any:
    """The function whose module the annotations refer to."""
    return inspect.unwrap(kind.__init__ if inspect.isclass(kind) else kind)


def _annotation(function: Any, annotation: Any) -> Any:
    """An annotation as an object; Any where its names exist for type checkers alone."""
    if annotation is inspect.Parameter.empty:
        return Any
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))
        except Exception:
            return Any
    try:
        TypeAdapter(annotation, config=STRICT)
    except PydanticUndefinedAnnotation:
        return Any
    except PydanticUserError:
        pass
    return annotation


def _markers(annotation: Any) -> tuple[Marker, ...]:
    """Markers of an annotation, and of the members of a union such as ``File | None``."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        own = tuple(a for a in arguments[1:] if isinstance(a, Marker))
        return own + _markers(arguments[0])
    return tuple(marker for argument in arguments for marker in _markers(argument))
