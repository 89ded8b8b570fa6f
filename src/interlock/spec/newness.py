"""How new an event is, for `if_newer_than=`: what a payload says of it, as a value that can be compared.

Numbers, text and moments are never compared with each other; `kind` tells them apart in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, cast, get_type_hints, is_typeddict

from interlock.core import limits
from interlock.core.errors import SpecError
from interlock.spec.jsontext import PayloadError
from interlock.spec.span import instant

NewnessFunction = Callable[[Any], int | str | datetime]
Kind = Literal["number", "text", "moment"]

USABLE: Final = (int, str, datetime)
"""Types that a field may have that says how new an event is."""


class Newness(NamedTuple):
    """How new: a number, a text, or a moment in µs since the epoch."""

    kind: Kind
    value: int | str


def newness_of(said: str | NewnessFunction) -> Callable[[Any], Newness]:
    """What tells how new a payload is: a field of it, or a function.

    The result raises `PayloadError` where the payload does not say it.
    """
    read = read_field(said) if isinstance(said, str) else said

    def newness(payload: Any) -> Newness:
        try:
            return _comparable(read(payload))
        except PayloadError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _unusable(f"raised {type(error).__name__}") from error

    return newness


def fields_of(model: Any) -> Mapping[str, Any] | None:  # Any: a model is whatever `spec.model` takes.
    """The fields of a payload model with their types; None where they cannot be told."""
    try:
        hints = get_type_hints(model)
    except (NameError, TypeError):
        return None
    return {name: hints[name] for name in _names(model) if name in hints}


def _names(model: Any) -> Iterator[str]:
    if is_typeddict(model):
        yield from model.__annotations__
    elif is_dataclass(model):
        yield from (field.name for field in fields(model))
    else:
        # Those of a Struct, or of a pydantic model.
        yield from getattr(model, "__struct_fields__", ()) or getattr(model, "model_fields", ())


def read_field(name: str) -> Callable[[Any], Any]:
    """What gives a field of a payload, whatever its model is."""

    def read(payload: Any) -> Any:
        return cast("dict[str, Any]", payload)[name] if isinstance(payload, dict) else getattr(payload, name)

    return read


def _comparable(found: object) -> Newness:
    if isinstance(found, datetime):
        try:
            return Newness("moment", instant(found))
        except SpecError:
            raise _unusable("is a moment without a time zone") from None
    if isinstance(found, int) and not isinstance(found, bool) and -(1 << 63) <= found < 1 << 63:
        return Newness("number", found)
    if isinstance(found, str) and len(found) <= limits.NEWNESS_CHARS_MAX:
        return Newness("text", found)
    raise _unusable(f"is {type(found).__name__}")


def _unusable(found: str) -> PayloadError:
    return PayloadError(
        "payload.newness-unusable",
        "How new an event is, is an integer of 64 bits, a moment with its time zone, or a text of at most "
        f"{limits.NEWNESS_CHARS_MAX} characters; what if_newer_than= gives {found}",
        "Send such a value, or correct if_newer_than=.",
    )
