"""One connection of a client: cuts what it reads into requests, one at a time, and keeps their answers in order.

Run to completion: a request is read, handled by the app and answered without a task, an await or a timer. What a
client sends ahead stays as bytes, bounded, until its time comes. The server's sweeper looks at its deadline.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from interlock.core.errors import InterlockError
from interlock.core.ports import Clock, Emit
from interlock.wire import refusals
from interlock.wire.answers import CONTINUE, AnswerHeads
from interlock.wire.deadlines import NEVER, Sweeper
from interlock.wire.durations import Durations
from interlock.wire.exchange import App, Fields, Head, Refusal
from interlock.wire.head import LINE_BYTES_BESIDES_TARGET_MAX, HeadReader
from interlock.wire.served import Served
from interlock.wire.server_limits import ServerLimits

Refuse = Callable[[Refusal, Head | None], tuple[Fields, bytes]]
"""Renders a refusal: the fields and the body of its answer. The head is None if there is none to speak of."""

_HEAD_END: Final = b"\r\n\r\n"
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_CR: Final = 0x0D
# The first byte of a token, or a line end, about which others decide.
_OPENINGS: Final = frozenset(b"!#$%&'*+-.^_`|~\r\n0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Roster(Protocol):
    """Who keeps count of the connections."""

    draining: bool

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for it; it is counted in either case."""
        ...

    def forget(self, connection: Connection) -> None: ...


@dataclass(frozen=True)
class Shared:
    """What the connections of one server have in common."""

    app: App
    clock: Clock
    emit: Emit
    refuse: Refuse
    limits: ServerLimits
    reader: HeadReader
    heads: AnswerHeads
    sweeper: Sweeper
    roster: Roster
    durations: Durations


class Connection(asyncio.Protocol):
    """The server's side of one connection.

    Attributes:
        due: monotonic µs at which `expire` is to be called, unless it was put off; `NEVER` while the app is at work.
    """

    __slots__ = (
        "_advancing",
        "_buffer",
        "_half_closed",
        "_leaving",
        "_peer",
        "_reading",
        "_scanned",
        "_served",
        "_shared",
        "_transport",
        "_unsent",
        "_writable",
        "body_bytes_max",
        "due",
        "heads",
    )

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.heads = shared.heads
        self.body_bytes_max = shared.limits.body_bytes_max
        self.due = NEVER
        self._buffer = b""
        self._scanned = 0
        self._served: Served | None = None
        self._advancing = False
        self._reading = True
        self._writable = True
        self._unsent = 0
        # The last answer is on its way and what still comes in is dropped.
        self._leaving = False
        self._half_closed = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # asyncio.Protocol is only given stream transports
        name: object = transport.get_extra_info("peername")
        self._peer = str(cast(tuple[object, ...], name)[0]) if isinstance(name, tuple) else ""
        admitted = self._shared.roster.admit(self)
        self._put_off(self._shared.limits.head_timeout_us)
        if not admitted:
            self.refuse(refusals.CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        buffer = self._buffer
        self._buffer = buffer + data if buffer else data
        self._advance()

    def eof_received(self) -> bool:
        """A client that has sent its whole request may close its side and still wait for the answer (not over TLS)."""
        self._half_closed = True
        served = self._served
        waits = served is not None and served.body_over and not self._leaving
        return waits and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._leaving = True
        self.due = NEVER
        self._buffer = b""
        served, self._served = self._served, None
        if served is not None:
            self._shielded(served, served.lost)
        self._shared.roster.forget(self)

    def pause_writing(self) -> None:
        self._writable = False
        self._unsent = self._transport.get_write_buffer_size()
        self._put_off(self._shared.limits.write_timeout_us)

    def resume_writing(self) -> None:
        self._writable = True
        self.due = NEVER
        if self._leaving:
            self._put_off(self._shared.limits.linger_us)
        elif self._served is None:
            self._put_off(self._shared.limits.keepalive_timeout_us)
        elif self._served.answer is not None:
            self._shielded(self._served, self._served.answer.drained)
        self._advance()

    # Reading.

    def _advance(self) -> None:
        """Go on with what is here until a request waits for its app, or more must be read."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not self._leaving and self._step():
                pass
        finally:
            self._advancing = False
        served = self._served
        if served is not None or self._buffer or not self._reading:
            self._settle(served)

    def _step(self) -> bool:
        """One head, or one helping of a body. False when nothing can be done with what is here."""
        served = self._served
        if served is None:
            return self._writable and self._read_head()
        if not served.wants_body:
            return False
        before = len(self._buffer)
        taken = served.take(self._buffer)
        if isinstance(taken, Refusal):
            self.refuse(taken)
            return False
        parts, self._buffer = taken
        if served.streams_body:
            self.due = NEVER
        try:
            served.deliver(parts)
        except Exception as error:  # noqa: BLE001 - the connection shell
            self.failed(served, error)
        if served.body_over and self._served is served:
            self.due = NEVER
            if served.done:
                self._next(self._shared.clock.monotonic())
        return len(self._buffer) < before

    def _read_head(self) -> bool:
        buffer = self._buffer
        if buffer[0] == _CR:
            buffer = self._buffer = _without_empty_lines(buffer)
            if not buffer:
                return False
        end = buffer.find(_HEAD_END, self._scanned)
        shared = self._shared
        if end < 0 or end > shared.limits.header_bytes_max:
            self._await_head(buffer)
            return False
        self._buffer = buffer[end + 4 :]
        self._scanned = 0
        framed = shared.reader.read(buffer[:end], self._peer)
        if isinstance(framed, Refusal):
            self.refuse(framed)
            return False
        served = self._served = Served(self, framed, shared.reader.names)
        served.began = shared.clock.monotonic()
        self.due = NEVER
        try:
            shared.app(served)
        except Exception as error:  # noqa: BLE001 - the connection shell: whatever the app raises is an answer 500
            self.failed(served, error)
        else:
            if not served.engaged:
                self.failed(served, _silent())
        return True

    def _await_head(self, buffer: bytes) -> None:
        """A head that is not all here: refuse at once what cannot become one, and give the rest until its deadline."""
        limits = self._shared.limits
        # With room for the line's end: what is longer is refused by the reader, too.
        line_max = limits.target_bytes_max + LINE_BYTES_BESIDES_TARGET_MAX + 2
        if self._half_closed:
            self._leave(lingering=False)
        elif buffer[0] not in _OPENINGS:
            self.refuse(refusals.REQUEST_LINE)
        elif len(buffer) >= line_max and buffer.find(b"\n", 0, line_max) < 0:
            self.refuse(refusals.TARGET_TOO_LONG)
        elif len(buffer) > limits.header_bytes_max + 3:
            self.refuse(refusals.HEADER_TOO_LARGE)
        elif _has_bare_lf(buffer, self._scanned):
            self.refuse(refusals.OCTET)
        else:
            if self._scanned == 0:
                self._put_off(limits.head_timeout_us)
            self._scanned = max(1, len(buffer) - 3)

    def _settle(self, served: Served | None) -> None:
        """Whether to go on reading, and until when what is missing may come."""
        if self._leaving or self._transport.is_closing():
            return
        has_room = len(self._buffer) <= self._shared.limits.pipelined_bytes_max
        if served is None:
            reading = self._writable or has_room
        else:
            reading = not served.paused and (served.wants_body or has_room)
            if self._writable:
                if served.paused:
                    self.due = NEVER
                elif served.wants_body and self.due == NEVER:
                    self._put_off(self._shared.limits.body_timeout_us)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # What an exchange calls.

    @property
    def may_keep(self) -> bool:
        return not self._shared.roster.draining and (not self._half_closed or self._buffer != b"")

    def send(self, content: bytes) -> bool:
        # A transport that has failed but not said so yet must not be written to (uvloop raises).
        if not self._transport.is_closing():
            self._transport.write(content)
        return self._writable

    def whole(self, size: int) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < size:
            return None
        self._buffer = buffer[size:]
        return buffer if len(buffer) == size else buffer[:size]

    def invite(self) -> None:
        if not self._buffer:
            self.send(CONTINUE)

    def regulate(self) -> None:
        self._advance()

    def refuse(self, refusal: Refusal) -> None:
        """Answer in the app's stead and leave; if an answer has begun, cut it."""
        served, self._served = self._served, None
        head = None if served is None else served.head
        begun = served is not None and served.answered
        if served is not None:
            self._shielded(served, served.lost)
        if begun:
            self.cut()
            return
        self._shared.emit("wire.refused", status=refusal.status, code=refusal.code, peer=self._peer)
        fields, body = self._shared.refuse(refusal, head)
        answer = self.heads.render(refusal.status, fields, len(body)) + b"connection: close\r\n\r\n"
        self.send(answer if head is not None and head.method == "HEAD" else answer + body)
        self._leave(lingering=True)

    def failed(self, served: Served, error: Exception) -> None:
        """The app raised, or answered with what cannot be sent."""
        self._report(served, error)
        if served is self._served:
            self.refuse(refusals.APP_FAILED)
        elif not self._leaving:
            # It was answered before: no second answer, but what the app left behind is not to be trusted.
            self._leave(lingering=False)

    def answered(self, *, keep: bool) -> None:
        served = self._served
        if served is None:
            return
        shared = self._shared
        now = shared.clock.monotonic()
        shared.durations.add((served.head.method, served.route, served.status), now - served.began)
        if not keep or not self.may_keep:
            self._served = None
            self._leave(lingering=not served.body_over)
        elif served.body_over:
            self._next(now)
            if not self._advancing and (self._buffer or not self._reading):
                self._advance()
        elif not self._advancing:
            self._advance()

    def cut(self) -> None:
        self._leaving = True
        self._transport.abort()

    # Deadlines and the end.

    def expire(self, now: int) -> None:
        """The deadline has passed."""
        served = self._served
        self.due = NEVER
        if not self._writable:
            unsent = self._transport.get_write_buffer_size()
            if 0 < unsent < self._unsent:
                self._unsent = unsent
                self.due = now + self._shared.limits.write_timeout_us
                return
            self.cut()
        elif self._leaving:
            self.cut()
        elif served is not None:
            self.refuse(refusals.BODY_TIMEOUT)
        elif self._buffer:
            self.refuse(refusals.HEAD_TIMEOUT)
        else:
            self._transport.close()

    def drain(self) -> None:
        """Close if nothing is under way; else the answer that is under way will be the last."""
        if self._served is None and not self._buffer and not self._leaving:
            self._leave(lingering=False)

    def _next(self, now: int) -> None:
        self._served = None
        if self._writable:
            self._due_at(now + self._shared.limits.keepalive_timeout_us)

    def _leave(self, *, lingering: bool) -> None:
        """Close after what was sent. Closing over unread input would reset the connection and destroy the answer."""
        self._leaving = True
        self._buffer = b""
        if self._transport.is_closing():
            return
        if lingering and not self._half_closed and self._transport.can_write_eof():
            self._transport.write_eof()
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
        else:
            self._transport.close()
        self._put_off(self._shared.limits.linger_us if self._writable else self._shared.limits.write_timeout_us)

    def _put_off(self, by_us: int) -> None:
        self._due_at(self._shared.clock.monotonic() + by_us)

    def _due_at(self, due: int) -> None:
        self.due = due
        if due < self._shared.sweeper.armed_at:
            self._shared.sweeper.watch(due)

    def _shielded(self, served: Served, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the connection shell
            self._report(served, error)

    def _report(self, served: Served, error: Exception) -> None:
        head = served.head
        self._shared.emit(
            "wire.app-failed", method=head.method, path=head.path, error=type(error).__name__, exception=error
        )


def _silent() -> InterlockError:
    return InterlockError(
        "wire.app-silent",
        "the app neither took the body nor answered",
        "call collect, stream, respond or begin before returning",
    )


def _without_empty_lines(buffer: bytes) -> bytes:
    """Old clients send empty lines before a request (RFC 9112 2.2)."""
    found = _EMPTY_LINES.match(buffer)
    return buffer if found is None else buffer[found.end() :]


def _has_bare_lf(buffer: bytes, start: int) -> bool:
    at = buffer.find(b"\n", start)
    while at >= 0:
        if at == 0 or buffer[at - 1] != 0x0D:
            return True
        at = buffer.find(b"\n", at + 1)
    return False
