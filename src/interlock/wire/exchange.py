"""What the data plane's server and the code above it say to each other: one exchange is one request and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

Fields = Sequence[tuple[str, str]]


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request's head after strict framing (RFC 9112). Names are in lower case, values are latin-1 text."""

    method: str
    target: str
    path: str
    query: str
    version: str
    headers: list[tuple[str, str]]
    peer: str
    content_length: int | None
    once: Mapping[str, str] | None = None
    """The headers by name if each came once; None if one came twice, or nobody has looked."""

    def header(self, name: str) -> str | None:
        """The first header of that name (given in lower case), or None."""
        if self.once is not None:
            return self.once.get(name)
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def every(self, name: str) -> list[str]:
        """All values of that name, in order."""
        if self.once is not None:
            return [self.once[name]] if name in self.once else []
        return [value for key, value in self.headers if key == name]

    def only(self, name: str) -> str | None:
        """The value of a header that came once; None if it is absent or repeated."""
        if self.once is not None:
            return self.once.get(name)
        values = self.every(name)
        return values[0] if len(values) == 1 else None


class Framed(msgspec.Struct, frozen=True, gc=False):
    """A head that was accepted, and how its body is framed. `expects`: the client waits for a 100 before the body."""

    head: Head
    chunked: bool
    keep_alive: bool
    expects: bool


class Refusal(NamedTuple):
    """Why the server itself refuses a request: the status, a dotted code (`http.header-too-large`), and what to do."""

    status: int
    code: str
    detail: str
    remedy: str


class Writer(Protocol):
    """The body of an answer that is streamed."""

    def write(self, data: bytes) -> bool:
        """Send a part; False says that the peer reads slowly: wait for `on_drain` before more."""
        ...

    def end(self) -> None: ...
    def abort(self) -> None:
        """Close the connection so that the peer sees that the body is cut short."""
        ...


class Sink(Protocol):
    """Who takes a request's body part by part."""

    def data(self, part: bytes) -> None: ...
    def end(self) -> None: ...
    def lost(self) -> None:
        """The peer went away before the end."""
        ...


class Exchange(Protocol):
    """One request and its answer. All calls are made on the loop; none blocks; none raises for what the peer does.

    Attributes:
        route: for the app to say by which of its routes it answers (`/orders/{id}`), so that durations have a name.
    """

    route: str

    @property
    def head(self) -> Head: ...
    @property
    def closed(self) -> bool:
        """The peer is gone; answering does nothing."""
        ...

    def collect(self, limit: int, then: Callable[[bytes], None]) -> None:
        """Call `then` with the whole body once it is here; over `limit` bytes the server answers 413 itself."""
        ...

    def stream(self, sink: Sink) -> None:
        """Hand the body on part by part."""
        ...

    def pause(self) -> None:
        """Stop reading from the peer (flow control of a streamed body)."""
        ...

    def resume(self) -> None: ...
    def respond(self, status: int, headers: Fields = (), body: bytes = b"") -> None:
        """Answer, whole. `content-length`, `date` and the connection's fields are the server's."""
        ...

    def begin(
        self,
        status: int,
        headers: Fields = (),
        *,
        length: int | None = None,
        on_drain: Callable[[], None] | None = None,
    ) -> Writer:
        """Start an answer whose body is streamed: chunked unless `length` is given.

        `on_drain` is called when there is room again, and once if the peer goes away before the end: look at `closed`.
        """
        ...


App = Callable[[Exchange], None]
"""Called with a complete and correct head. It must call `collect` or `stream`, or answer, before returning."""
