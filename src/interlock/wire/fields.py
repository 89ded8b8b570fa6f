"""Field lines of HTTP/1.1 (RFC 9112 5): one strict grammar for requests, answers and trailers, in both directions.

What no head may hold is refused, never repaired. It does not know which fields mean what, except those that frame.
"""

from __future__ import annotations

import re
from typing import Final

from interlock.core.errors import InterlockError
from interlock.core.limits import FIELD_NAMES_MAX, HEAD_LINES_MAX
from interlock.wire.exchange import Fields

CRLF: Final = b"\r\n"
NAME_CHARS_CACHED_MAX: Final = 64
LINE_BYTES_CACHED_MAX: Final = 256
FRAMING: Final = frozenset({"connection", "content-length", "expect", "host", "transfer-encoding"})

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# HTAB, SP, VCHAR and obs-text. What is left of a head without these must be its line ends and nothing else.
_TEXT: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_LENGTH_DIGITS_MAX: Final = 19


def is_token(text: str) -> bool:
    """Whether it is a `token` of RFC 9110 5.6.2: a method, a field name."""
    return _TOKEN.fullmatch(text) is not None


class Names(dict[str, str]):
    """Field names as they are spelt on the wire -> in lower case; `""` for what is no field name."""

    def __missing__(self, raw: str) -> str:
        if not is_token(raw):
            return ""
        name = raw.lower()
        if len(raw) <= NAME_CHARS_CACHED_MAX:
            if len(self) >= FIELD_NAMES_MAX:
                self.clear()
            self[raw] = name
        return name


def head_lines(block: bytes) -> list[str] | None:
    """The lines of a head (without its empty line); None if a bare CR or LF, a NUL or another control is in it."""
    lines = block.decode("latin-1").split("\r\n")
    if block.translate(None, _TEXT) != CRLF * (len(lines) - 1):
        return None
    return lines


class FieldLines(dict[bytes, tuple[str, str]]):
    """Lines of heads as they came -> name and value; `("", "")` for what is no field line or holds a control.

    A client that keeps its connection sends most lines again and again: those are read once.
    """

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, line: bytes) -> tuple[str, str]:
        field = None if line.translate(None, _TEXT) else parsed_field(line.decode("latin-1"), self._names)
        if field is None:
            return "", ""
        if len(line) <= LINE_BYTES_CACHED_MAX:
            if len(self) >= HEAD_LINES_MAX:
                self.clear()
            self[line] = field
        return field


def parsed_fields(lines: list[str], names: Names) -> tuple[list[tuple[str, str]], dict[str, str]] | None:
    """All fields in order, and those that frame (several of one name joined by a comma). None for a bad line."""
    fields: list[tuple[str, str]] = []
    framing: dict[str, str] = {}
    for line in lines:
        field = parsed_field(line, names)
        if field is None:
            return None
        name, value = field
        if name in FRAMING:
            framing[name] = f"{framing[name]},{value}" if name in framing else value
        fields.append(field)
    return fields, framing


def parsed_field(line: str, names: Names) -> tuple[str, str] | None:
    """The name and the value of one line; None for a bad one.

    A folded line, whitespace before the colon, a missing colon and an empty name all end as a name that is no token.
    """
    raw, colon, value = line.partition(":")
    name = names[raw]
    return (name, value.strip(" \t")) if name and colon else None


def rendered_fields(fields: Fields, names: Names, reserved: frozenset[str]) -> bytes:
    """Field lines to send. Those in `reserved` belong to the sender of the head and are left out.

    Raises:
        InterlockError: `wire.header-invalid` for a name that is no token or a value that would end its line.
    """
    lines: list[str] = []
    for name, value in fields:
        lowered = names[name]
        if lowered in reserved:
            continue
        if not lowered:
            raise _invalid(name)
        lines.append(f"{lowered}: {value}\r\n")
    try:
        block = "".join(lines).encode("latin-1")
    except UnicodeEncodeError as error:
        raise _invalid(_guilty(fields)) from error
    if block.translate(None, _TEXT) != CRLF * len(lines):
        raise _invalid(_guilty(fields))
    return block


def decimal(text: str) -> int | None:
    """`1*DIGIT` below 2^63. `int` alone also takes signs, spaces, underscores and the digits of other scripts."""
    if len(text) > _LENGTH_DIGITS_MAX or not (text.isascii() and text.isdigit()):
        return None
    value = int(text)
    return value if value < 1 << 63 else None


def _guilty(fields: Fields) -> str:
    for name, value in fields:
        if not value.isascii() or any(character < " " or character == "\x7f" for character in value):
            return name
    return "?"


def _invalid(name: str) -> InterlockError:
    return InterlockError(
        "wire.header-invalid",
        f"the field {name!r} cannot be sent: its name is no token, or its value holds a control or is not latin-1",
        "encode the value (percent or base64), or leave the field out",
    )
