"""What may leave in a log line: decided by type first; names and shapes of secrets are `core.redact`'s.

Payload models, bytes and objects never appear with their content: only their type's name does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from typing import Final, cast

from interlock.core.errors import InterlockError
from interlock.core.redact import REDACTED, is_secret_name, redacted_text

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

TEXT_CHARS_MAX: Final = 2_048
ITEMS_MAX: Final = 50
DEPTH_MAX: Final = 4

_INT64 = 1 << 63
_is_secret = lru_cache(1_024)(is_secret_name)


def redacted(name: str, value: object, depth: int = 0) -> Plain:
    """`value` as it may be logged under `name`: plain JSON values only, bounded in length, count and depth."""
    if value is not None and _is_secret(name):
        return REDACTED
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if -_INT64 <= value < _INT64 else "<int>"
        case str():
            return _text(value)
        case InterlockError():
            return _text(f"{value.code}: {value.message}")
        case _ if depth >= DEPTH_MAX:
            return _type_name(value)
        case Mapping():
            items = list(cast("Mapping[object, object]", value).items())[:ITEMS_MAX]
            return {_name(key): redacted(_name(key), item, depth + 1) for key, item in items}
        case list() | tuple() | Set():
            # A tuple of (name, value) is how headers are kept: its first half names its second.
            return [_element(name, item, depth + 1) for item in list(cast("Iterable[object]", value))[:ITEMS_MAX]]
        case _:
            return _type_name(value)


def _text(text: str) -> str:
    """Valid Unicode without what looks like a credential, cut at 2,048 characters."""
    text = text[:TEXT_CHARS_MAX]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return redacted_text(text)


def _element(name: str, item: object, depth: int) -> Plain:
    match item:
        case (str() as key, str() as value):
            return [_text(key), redacted(key, value, depth + 1)]
        case _:
            return redacted(name, item, depth)


def _name(key: object) -> str:
    return _text(key) if isinstance(key, str) else _type_name(key)


def _type_name(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(cast('bytes', value))} bytes>"
    return f"<{type(value).__name__}>"
