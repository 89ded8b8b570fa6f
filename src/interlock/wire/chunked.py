"""The chunked coding (RFC 9112 7.1), decoded strictly, for both sides. Trailers are checked and dropped."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from interlock.core.limits import CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX
from interlock.wire.exchange import Refusal
from interlock.wire.fields import CRLF, Names, head_lines, parsed_fields
from interlock.wire.refusals import CHUNK, TRAILER_TOO_LARGE

# Fifteen digits keep the size below 2^63; more are an attempt to overflow somebody.
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]*)?")


class Fed(NamedTuple):
    """What a piece of input gave: parts of the body, what is left over, and whether the body has ended."""

    parts: list[bytes]
    rest: bytes
    over: bool


class Chunked:
    """One body's decoder. What `feed` could not use yet is in `rest` and must be given again with more behind it."""

    __slots__ = ("_extensions", "_names", "_phase", "_remaining")

    def __init__(self, names: Names) -> None:
        self._names = names
        self._remaining = 0
        self._extensions = 0
        self._phase = _SIZE

    def feed(self, buffer: bytes) -> Fed | Refusal:
        parts: list[bytes] = []
        at, end = 0, len(buffer)
        while at < end:
            if self._phase is _DATA:
                part = buffer[at : at + self._remaining]
                parts.append(part)
                at += len(part)
                self._remaining -= len(part)
                self._phase = _DATA if self._remaining else _DATA_END
                continue
            if self._phase is _TRAILER:
                return self._trailer(parts, buffer[at:])
            used = self._data_end(buffer, at) if self._phase is _DATA_END else self._size(buffer, at)
            if isinstance(used, Refusal):
                return used
            if used == 0:
                break
            at += used
        return Fed(parts, buffer[at:], over=False)

    def _data_end(self, buffer: bytes, at: int) -> int | Refusal:
        """Bytes used: 2, or 0 if the CRLF behind a chunk's data is not all here."""
        found = buffer[at : at + 2]
        if found == CRLF:
            self._phase = _SIZE
            return 2
        return 0 if found == b"\r" else CHUNK

    def _size(self, buffer: bytes, at: int) -> int | Refusal:
        """Bytes used by the line of a chunk's size, or 0 if it is not all here."""
        end = buffer.find(b"\n", at, at + CHUNK_LINE_BYTES_MAX)
        if end < 0:
            return CHUNK if len(buffer) - at >= CHUNK_LINE_BYTES_MAX else 0
        found = _LINE.fullmatch(buffer, at, end - 1) if buffer[end - 1 : end] == b"\r" and end > at else None
        if found is None:
            return CHUNK
        extension: bytes = found[2] or b""
        self._extensions += len(extension)
        if self._extensions > CHUNK_EXTENSION_BYTES_MAX:
            return CHUNK
        self._remaining = int(found[1], 16)
        self._phase = _DATA if self._remaining else _TRAILER
        return end + 1 - at

    def _trailer(self, parts: list[bytes], rest: bytes) -> Fed | Refusal:
        if rest.startswith(CRLF):
            return Fed(parts, rest[2:], over=True)
        end = rest.find(b"\r\n\r\n", 0, TRAILER_BYTES_MAX)
        if end < 0:
            return TRAILER_TOO_LARGE if len(rest) >= TRAILER_BYTES_MAX else Fed(parts, rest, over=False)
        lines = head_lines(rest[:end])
        parsed = None if lines is None else parsed_fields(lines, self._names)
        # A field that frames has no business behind the body (RFC 9110 6.5.1): somebody may believe it.
        if parsed is None or parsed[1]:
            return CHUNK
        return Fed(parts, rest[end + 4 :], over=True)


_SIZE, _DATA, _DATA_END, _TRAILER = "size", "data", "data end", "trailer"
