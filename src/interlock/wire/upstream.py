"""One connection to an origin: one request at a time, its answer read strictly (RFC 9112 6.3) and whole.

Whatever is not exactly one answer to what was asked ends the connection; nothing is guessed.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final, cast

from interlock.core.limits import INTERIM_ANSWERS_MAX, US_PER_SECOND
from interlock.core.outcome import Answer
from interlock.wire.answers import has_body
from interlock.wire.chunked import Chunked
from interlock.wire.deadlines import NEVER
from interlock.wire.exchange import Refusal
from interlock.wire.fields import Names, decimal, head_lines, parsed_fields
from interlock.wire.outgoing import FailureKind, PoolLimits, WireFailure

_STATUS_LINE: Final = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
_OPENING: Final = b"HTTP/1."
_KEEP_ALIVE: Final = re.compile(r"(?:^|[,; ])timeout=([0-9]{1,6})(?:$|[,; ])")


class Upstream(asyncio.Protocol):
    """The client's side of a connection.

    Attributes:
        due: monotonic µs: of the request under way, or of the connection if it is idle.
        heard: a byte of the answer has come.
        reusable: the last answer ended cleanly and the origin keeps the connection.
        keeps_us: how long the origin says it keeps an idle connection (`Keep-Alive: timeout=`).
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_fields",
        "_future",
        "_interim",
        "_keep",
        "_limits",
        "_method",
        "_names",
        "_parts",
        "_remaining",
        "_size",
        "_status",
        "_transport",
        "due",
        "heard",
        "keeps_us",
        "reusable",
    )

    def __init__(self, limits: PoolLimits, names: Names) -> None:
        self._limits = limits
        self._names = names
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Answer] | None = None
        self.due = NEVER
        self.heard = False
        self.reusable = False
        self.keeps_us = NEVER

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, content: bytes, method: str, due: int) -> asyncio.Future[Answer]:
        """Send a request on an open connection without another one under way."""
        transport = self._transport
        assert transport is not None
        assert self._future is None
        self._method = method
        self.due = due
        self._buffer = b""
        self._status = 0
        self._interim = 0
        self.heard = self.reusable = False
        future = self._future = asyncio.get_running_loop().create_future()
        transport.write(content)
        return future

    def fail(self, kind: FailureKind, detail: str) -> None:
        """End the request under way, if one is, and the connection."""
        future, self._future = self._future, None
        self.abort()
        if future is not None and not future.done():
            future.set_exception(WireFailure(kind, sent=True, detail=detail))

    def abort(self) -> None:
        self.reusable = False
        self._future = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # asyncio.Protocol is only given stream transports

    def data_received(self, data: bytes) -> None:
        if self._future is None or self._future.done():
            # Nobody asked: an answer without a request would be taken for the next one's.
            self.abort()
            return
        self.heard = True
        self._buffer = self._buffer + data if self._buffer else data
        while self._status == 0:
            if not self._read_head():
                return
        self._read_body()

    def eof_received(self) -> bool:
        if self._status and self._remaining is None and self._chunks is None:
            self._finish(b"", keep=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("reset", "the connection was closed before the answer was whole")

    # The answer.

    def _read_head(self) -> bool:
        """Whether a head was there, an interim one or the final."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > self._limits.header_bytes_max:
            if len(buffer) > self._limits.header_bytes_max:
                self.fail("too-large", "the head of the answer is too large")
            elif not buffer.startswith(_OPENING) and not _OPENING.startswith(buffer):
                self.fail("malformed", "what came is not an HTTP/1.1 answer")
            return False
        self._buffer = buffer[end + 4 :]
        lines = head_lines(buffer[:end])
        found = None if lines is None else _STATUS_LINE.fullmatch(lines.pop(0))
        parsed = None if lines is None or found is None else parsed_fields(lines, self._names)
        if found is None or parsed is None:
            self.fail("malformed", "the head of the answer is malformed")
            return False
        fields, framing = parsed
        if len(fields) > self._limits.header_count_max:
            self.fail("too-large", "the answer has too many headers")
            return False
        status = decimal(found[2]) or 0
        if status < 200:
            return self._skip(status)
        problem = self._frame(found[1], status, framing)
        if problem:
            self.fail("malformed", problem)
            return False
        self._status = status
        self._fields = fields
        return True

    def _skip(self, status: int) -> bool:
        self._interim += 1
        # Nobody asks for an upgrade here, so 101 answers something else.
        if status == 101 or self._interim > INTERIM_ANSWERS_MAX:
            self.fail("malformed", f"unexpected interim answers (the last was {status})")
            return False
        return self._buffer != b""

    def _frame(self, version: str, status: int, framing: dict[str, str]) -> str:
        """Set how the body is framed; what is wrong with it, or nothing."""
        coding, given = framing.get("transfer-encoding"), framing.get("content-length")
        options = {option.strip(" \t") for option in framing.get("connection", "").lower().split(",")}
        self._keep = "close" not in options and (version == "1" or "keep-alive" in options)
        self._parts: list[bytes] = []
        self._size = 0
        self._remaining: int | None = None
        self._chunks: Chunked | None = None
        if coding is not None:
            if given is not None:
                return "the answer has both Content-Length and Transfer-Encoding"
            if version != "1" or coding.lower() != "chunked":
                return "the answer's Transfer-Encoding is not chunked"
            self._chunks = Chunked(self._names)
        elif given is not None:
            self._remaining = decimal(given)
            if self._remaining is None:
                return "the answer's Content-Length is not a number"
        if not has_body(self._method, status):
            self._remaining = 0
            self._chunks = None
        return ""

    def _read_body(self) -> None:
        buffer, self._buffer = self._buffer, b""
        if self._remaining is not None:
            if self._remaining > self._limits.answer_bytes_max:
                self.fail("too-large", "the answer is too large")
                return
            part = buffer[: self._remaining]
            self._remaining -= len(part)
            over, rest, parts = self._remaining == 0, buffer[len(part) :], [part]
        elif self._chunks is not None:
            fed = self._chunks.feed(buffer)
            if isinstance(fed, Refusal):
                self.fail("malformed", "the chunks of the answer are malformed")
                return
            parts, rest, over = fed
            if not over:
                self._buffer = rest
        else:
            parts, rest, over = [buffer], b"", False
        self._parts += parts
        self._size += sum(map(len, parts))
        if self._size > self._limits.answer_bytes_max:
            self.fail("too-large", "the answer is too large")
        elif over:
            self._finish(rest, keep=self._keep)

    def _finish(self, rest: bytes, *, keep: bool) -> None:
        future, self._future = self._future, None
        transport = self._transport
        if future is None or transport is None:
            return
        # An origin that answered before it had read the whole request still has the rest of it before it.
        unsent = transport.get_write_buffer_size() > 0
        self.reusable = keep and not rest and not unsent and not transport.is_closing()
        self.keeps_us = _kept_us(self._fields)
        if unsent:
            transport.abort()
        elif not self.reusable:
            transport.close()
        if not future.done():
            future.set_result(Answer(self._status, tuple(self._fields), b"".join(self._parts)))


def _kept_us(fields: list[tuple[str, str]]) -> int:
    for name, value in fields:
        if name == "keep-alive":
            found = _KEEP_ALIVE.search(value)
            seconds = None if found is None else decimal(found[1])
            return NEVER if seconds is None else seconds * US_PER_SECOND
    return NEVER
