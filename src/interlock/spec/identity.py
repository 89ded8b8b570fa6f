"""What an id and a key may be: text that the log, a header and a terminal can hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Final, Literal, TypeVar

from interlock.core import limits
from interlock.spec.jsontext import PayloadError

T = TypeVar("T")

# Surrogates have no UTF-8; controls break headers and terminals.
_UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


Label = Literal["key", "tenant"]


def checked_text(what: Literal["id"] | Label, text: object, chars_max: int) -> str:
    """An id, a key or a tenant that the log can hold.

    Raises:
        PayloadError: `event.id-invalid`, `event.key-invalid` or `event.tenant-invalid`.
    """
    if isinstance(text, str) and 0 < len(text) <= chars_max and _is_storable(text):
        return text
    found = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
    raise PayloadError(
        f"event.{what}-invalid",
        f"The {what} of an event is text of 1 to {chars_max} characters without controls; this is {found}",
        f"Give it such a {what}.",
    )


def checked_label(what: Label, label: Callable[[T], str]) -> Callable[[T], str]:
    """A user's function for key or tenant, whose failures and strange results are told as a `PayloadError`."""

    @wraps(label)
    def checked(payload: T) -> str:
        try:
            found: object = label(payload)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise PayloadError(
                f"event.{what}-invalid",
                f"The {what} cannot be told from this payload: {type(error).__name__}",
                f"Send what the {what} is made of, or declare a {what} that every payload has.",
            ) from error
        return checked_text(what, found, limits.KEY_CHARS_MAX)

    return checked


def _is_storable(text: str) -> bool:
    return text.isprintable() or _UNSTORABLE.search(text) is None
