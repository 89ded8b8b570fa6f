"""One exchange on a server's connection: takes the body in the way that the app chose, and sends its one answer.

It knows nothing of sockets or deadlines: the connection that carries it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from interlock.core.errors import InterlockError
from interlock.core.limits import DISCARD_BYTES_MAX
from interlock.wire import refusals
from interlock.wire.answers import AnswerHeads, has_body
from interlock.wire.chunked import Chunked
from interlock.wire.exchange import Fields, Framed, Refusal, Sink, Writer
from interlock.wire.fields import Names

_WHOLE_BYTES_MAX: Final = 64 * 1024


class Carrier(Protocol):
    """What an exchange needs of the connection that carries it."""

    heads: AnswerHeads
    body_bytes_max: int

    @property
    def may_keep(self) -> bool:
        """Whether the connection can serve another request after this one."""
        ...

    def send(self, content: bytes) -> bool:
        """False: the peer reads slowly."""
        ...

    def whole(self, size: int) -> bytes | None:
        """A body of that many bytes if all of it is here already, taken from what was read."""
        ...

    def invite(self) -> None:
        """The client waits for a 100 before it sends the body."""
        ...

    def refuse(self, refusal: Refusal) -> None: ...
    def failed(self, served: Served, error: Exception) -> None: ...
    def answered(self, *, keep: bool) -> None:
        """The whole answer was handed over."""
        ...

    def cut(self) -> None: ...
    def regulate(self) -> None:
        """Whether the body is wanted has changed."""
        ...


class Served:
    """One request and its answer (an `Exchange`), of which one at a time is under way on a connection."""

    __slots__ = (
        "_carrier",
        "_chunks",
        "_collected",
        "_expects",
        "_keep_alive",
        "_limit",
        "_remaining",
        "_sink",
        "_size",
        "_taken",
        "_then",
        "answer",
        "answered",
        "began",
        "body_over",
        "engaged",
        "head",
        "paused",
        "route",
        "status",
    )

    def __init__(self, carrier: Carrier, framed: Framed, names: Names) -> None:
        head = self.head = framed.head
        self._keep_alive = framed.keep_alive
        self._expects = framed.expects
        self._carrier: Carrier | None = carrier
        self._remaining = head.content_length or 0
        self._chunks = Chunked(names) if framed.chunked else None
        self.body_over = not (self._remaining or framed.chunked)
        self._then: Callable[[bytes], None] | None = None
        self._sink: Sink | None = None
        self.answer: StreamedAnswer | None = None
        self._taken = False
        self.engaged = False
        self.answered = False
        self.paused = False
        self.route = ""
        self.status = 0
        self.began = 0

    @property
    def closed(self) -> bool:
        return self._carrier is None

    # The body.

    def collect(self, limit: int, then: Callable[[bytes], None]) -> None:
        carrier = self._engage()
        if carrier is None:
            return
        self._limit = min(limit, carrier.body_bytes_max)
        if self._remaining > self._limit:
            carrier.refuse(refusals.BODY_TOO_LARGE)
            return
        if self.body_over:
            then(b"")
            return
        # Most bodies are short and come with their head.
        body = carrier.whole(self._remaining) if self._chunks is None and self._remaining <= _WHOLE_BYTES_MAX else None
        if body is not None:
            self.body_over = True
            then(body)
            return
        self._then = then
        self._collected: list[bytes] = []
        self._size = 0
        self._invite(carrier)

    def stream(self, sink: Sink) -> None:
        carrier = self._engage()
        if carrier is None:
            return
        if self.body_over:
            sink.end()
            return
        self._sink = sink
        self._invite(carrier)

    def pause(self) -> None:
        self.paused = True
        if self._carrier is not None:
            self._carrier.regulate()

    def resume(self) -> None:
        self.paused = False
        if self._carrier is not None:
            self._carrier.regulate()

    def _invite(self, carrier: Carrier) -> None:
        if self._expects:
            self._expects = False
            carrier.invite()

    def _engage(self) -> Carrier | None:
        if self._taken:
            raise InterlockError(
                "wire.body-taken", "the body of this request was already taken", "call collect or stream once"
            )
        self.engaged = self._taken = True
        return self._carrier

    @property
    def wants_body(self) -> bool:
        if self.body_over or self.paused:
            return False
        return self.answered or self._then is not None or self._sink is not None

    @property
    def done(self) -> bool:
        """Nothing more comes in and nothing more goes out."""
        return self.body_over and self.answered and self.answer is None

    @property
    def streams_body(self) -> bool:
        return self._sink is not None and not self.body_over

    def take(self, buffer: bytes) -> tuple[list[bytes], bytes] | Refusal:
        """The parts of the body that begin the buffer, and what is behind them."""
        if self._chunks is None:
            part, rest = buffer[: self._remaining], buffer[self._remaining :]
            self._remaining -= len(part)
            self.body_over = self._remaining == 0
            return [part], rest
        fed = self._chunks.feed(buffer)
        if isinstance(fed, Refusal):
            return fed
        self.body_over = fed.over
        return fed.parts, fed.rest

    def deliver(self, parts: list[bytes]) -> None:
        """Hand parts of the body on to who asked for it."""
        if self._then is not None:
            self._collect(self._then, parts)
        elif self._sink is not None:
            for part in parts:
                self._sink.data(part)
            if self.body_over:
                self._sink.end()
        if self.done:
            self._carrier = None

    def _collect(self, then: Callable[[bytes], None], parts: list[bytes]) -> None:
        collected = self._collected
        if collected or len(parts) != 1:
            collected += parts
        else:
            self._collected = collected = parts
        self._size += sum(map(len, parts))
        if self._size > self._limit:
            self._then = None
            if self._carrier is not None:
                self._carrier.refuse(refusals.BODY_TOO_LARGE)
        elif self.body_over:
            self._then = None
            then(collected[0] if len(collected) == 1 else b"".join(collected))

    # The answer.

    def respond(self, status: int, headers: Fields = (), body: bytes = b"") -> None:
        carrier = self._carrier
        if carrier is None or self.answered:
            return
        self.engaged = True
        self.status = status
        keep = self._keep_alive and carrier.may_keep and (self.body_over or self._reads_on)
        try:
            _check_status(status)
            head = carrier.heads.render(status, headers, None if status in {204, 304} else len(body))
        except InterlockError as error:
            carrier.failed(self, error)
            return
        end = b"\r\n" if keep and self.head.version == "HTTP/1.1" else self._connection_field(keep=keep)
        if not has_body(self.head.method, status):
            carrier.send(head + end)
        elif len(body) <= _WHOLE_BYTES_MAX:
            carrier.send(b"%b%b%b" % (head, end, body))
        else:
            carrier.send(head + end)
            carrier.send(body)
        self._answered(keep=keep)

    def begin(
        self,
        status: int,
        headers: Fields = (),
        *,
        length: int | None = None,
        on_drain: Callable[[], None] | None = None,
    ) -> Writer:
        carrier = self._carrier
        if carrier is None or self.answered:
            return _Nowhere()
        self.engaged = True
        self.status = status
        carries = has_body(self.head.method, status)
        chunked = carries and length is None and self.head.version == "HTTP/1.1"
        keep = self._keep_alive and carrier.may_keep and (self.body_over or self._reads_on)
        keep = keep and (chunked or length is not None or not carries)
        try:
            _check_status(status)
            head = carrier.heads.render(status, headers, None if status in {204, 304} else length)
        except InterlockError as error:
            carrier.failed(self, error)
            return _Nowhere()
        if chunked:
            head += b"transfer-encoding: chunked\r\n"
        carrier.send(head + self._connection_field(keep=keep))
        self.answered = True
        self.answer = StreamedAnswer(self, carrier, _Form(carries, chunked, length, keep), on_drain)
        return self.answer

    def ended(self, *, keep: bool) -> None:
        """The streamed answer is whole."""
        self.answer = None
        self._answered(keep=keep)

    def _answered(self, *, keep: bool) -> None:
        carrier = self._carrier
        self.answered = True
        # A body that nobody took, or that somebody stopped taking, is read only to find the next request.
        if not self.body_over and self._sink is None:
            self._then = None
        self.paused = False
        if self.body_over or not keep:
            self._carrier = None
        if carrier is not None:
            carrier.answered(keep=keep)

    @property
    def _reads_on(self) -> bool:
        """Whether the rest of the body will be read: somebody streams it, or it is small enough to be dropped.

        One that still awaits its 100 may never come.
        """
        if self._sink is not None:
            return True
        return self._chunks is None and self._remaining <= DISCARD_BYTES_MAX and not self._expects

    def _connection_field(self, *, keep: bool) -> bytes:
        if not keep:
            return b"connection: close\r\n\r\n"
        return b"\r\n" if self.head.version == "HTTP/1.1" else b"connection: keep-alive\r\n\r\n"

    def lost(self) -> None:
        """The connection is gone: tell whoever waits for more of the body, or for room for more of the answer."""
        self._carrier = None
        self._then = None
        sink, self._sink = self._sink, None
        answer, self.answer = self.answer, None
        if sink is not None and not self.body_over:
            sink.lost()
        if answer is not None:
            answer.lost()


class _Form:
    """How a streamed answer is framed."""

    __slots__ = ("carries", "chunked", "keep", "left")

    def __init__(self, carries: bool, chunked: bool, length: int | None, keep: bool) -> None:
        self.carries = carries
        self.chunked = chunked
        self.left = length
        self.keep = keep


class StreamedAnswer:
    """A `Writer`. An answer with a declared length that is over- or underrun is cut, so that the peer sees a fault."""

    __slots__ = ("_carrier", "_form", "_on_drain", "_served")

    def __init__(self, served: Served, carrier: Carrier, form: _Form, on_drain: Callable[[], None] | None) -> None:
        self._served = served
        self._carrier: Carrier | None = carrier
        self._form = form
        self._on_drain = on_drain

    def write(self, data: bytes) -> bool:
        carrier, form = self._carrier, self._form
        if carrier is None:
            return False
        if not form.carries or not data:
            return True
        if form.left is not None:
            form.left -= len(data)
            if form.left < 0:
                self.abort()
                return False
        return carrier.send(b"%x\r\n%b\r\n" % (len(data), data) if form.chunked else data)

    def end(self) -> None:
        carrier, form = self._carrier, self._form
        if carrier is None:
            return
        if form.carries and form.left:
            self.abort()
            return
        self._carrier = None
        if form.chunked:
            carrier.send(b"0\r\n\r\n")
        self._served.ended(keep=form.keep)

    def abort(self) -> None:
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.cut()

    def drained(self) -> None:
        if self._on_drain is not None:
            self._on_drain()

    def lost(self) -> None:
        self._carrier = None
        self.drained()


class _Nowhere:
    """The writer of an answer that nobody will read."""

    def write(self, data: bytes) -> bool:
        del data
        return False

    def end(self) -> None: ...
    def abort(self) -> None: ...


def _check_status(status: int) -> None:
    if not 200 <= status <= 599:
        raise InterlockError(
            "wire.status-invalid", f"an answer cannot have the status {status}", "answer with a status from 200 to 599"
        )
