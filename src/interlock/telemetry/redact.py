"""What may leave in a log line: decided by type first, by the field's name second, by known shapes of secrets third.

Payload models, bytes and objects never appear with their content: only their type's name does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Final, cast

from interlock.core.errors import InterlockError

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

REDACTED: Final = "[redacted]"
TEXT_CHARS_MAX: Final = 2_048
ITEMS_MAX: Final = 50
DEPTH_MAX: Final = 4

_SECRET_NAME = re.compile(
    r"authori[sz]ation|cookie|secret|token|passw|passphrase|signature|credential|api[-_]?key|private[-_]?key",
    re.IGNORECASE,
)
_SECRET_TEXT = (
    (re.compile(r"\b(Bearer|Basic)\s+[^\s,;\"']+", re.IGNORECASE), r"\1 " + REDACTED),
    (re.compile(r"\b(?:whsec|whsk|ilt)_[A-Za-z0-9+/=_-]+"), REDACTED),
    (re.compile(r"(://)[^/\s@]+@"), r"\1" + REDACTED + "@"),
    (
        re.compile(r"((?:token|secret|passw(?:or)?d|signature|api_?key|code)=)[^&\s\"']+", re.IGNORECASE),
        r"\1" + REDACTED,
    ),
)
_INT64 = 1 << 63


def redacted(name: str, value: object, depth: int = 0) -> Plain:
    """`value` as it may be logged under `name`: plain JSON values only, bounded in length, count and depth."""
    if _SECRET_NAME.search(name) and value is not None:
        return REDACTED
    match value:
        case None | bool() | float():
            return value
        case int():
            return (
                value
                if -_INT64 <= value < _INT64
                else str(value)[:TEXT_CHARS_MAX]
                if value.bit_length() < 4_096
                else "<int>"
            )
        case str():
            return redacted_text(value)
        case InterlockError():
            return redacted_text(f"{value.code}: {value.message}")
        case _ if depth >= DEPTH_MAX:
            return _type_name(value)
        case Mapping():
            items = list(cast("Mapping[object, object]", value).items())[:ITEMS_MAX]
            return {_text(key): redacted(_text(key), item, depth + 1) for key, item in items}
        case list() | tuple() | Set():
            # A tuple of (name, value) is how headers are kept: its first half names its second.
            return [_element(name, item, depth + 1) for item in list(cast("Iterable[object]", value))[:ITEMS_MAX]]
        case _:
            return _type_name(value)


def redacted_text(text: str) -> str:
    """`text` without what looks like a credential, in valid Unicode, cut at 2,048 characters."""
    text = text[:TEXT_CHARS_MAX]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    for pattern, instead in _SECRET_TEXT:
        text = pattern.sub(instead, text)
    return text


def _element(name: str, item: object, depth: int) -> Plain:
    match item:
        case (str() as key, str() as value):
            return [_text(key), redacted(key, value, depth + 1)]
        case _:
            return redacted(name, item, depth)


def _text(key: object) -> str:
    return redacted_text(key) if isinstance(key, str) else _type_name(key)


def _type_name(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(cast('bytes', value))} bytes>"
    return f"<{type(value).__name__}>"
