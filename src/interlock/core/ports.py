"""What the inside needs of the world, as protocols. Handed in, never imported: that is what makes simulation possible.

Instants are integer microseconds since the Unix epoch, UTC; durations are integer microseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

from interlock.core.event import Event, Shard

if TYPE_CHECKING:
    # A user's module imports this file by way of the vocabulary, and needs neither: they are half of its time.
    import ssl
    from asyncio import BaseProtocol, Transport
    from pathlib import Path

T = TypeVar("T")


class Timer(Protocol):
    """A call that has been asked for and can be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time. `now` is the wall clock of the store and may jump; `monotonic` never goes back."""

    def now(self) -> int: ...
    def monotonic(self) -> int: ...
    def call_at(self, when: int, callback: Callable[[], object]) -> Timer:
        """Call back once the monotonic clock reaches `when`."""
        ...

    def deadline(self, when: int) -> AbstractAsyncContextManager[object]:
        """Cancel the body at monotonic `when` and raise TimeoutError from the block (as asyncio.timeout_at)."""
        ...

    async def sleep_until(self, when: int) -> None:
        """Suspend until the monotonic clock reaches `when`; always yields at least once."""
        ...


class Random(Protocol):
    """Chance: jitter, probes and minted ids. Not for secrets (those come from `Secrets`)."""

    def uniform(self, low: float, high: float) -> float: ...
    def bytes(self, count: int) -> bytes: ...


class Listening(Protocol):
    """A server that listens, on `port`."""

    @property
    def port(self) -> int: ...
    def close(self) -> None:
        """Stop accepting; connections that exist go on."""
        ...


class Net(Protocol):
    """The only way to a socket."""

    async def connect(
        self,
        factory: Callable[[], BaseProtocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Transport:
        """Resolve and connect.

        Raises:
            OSError: as sockets do, `socket.gaierror` and `ssl.SSLError` among them.
        """
        ...

    async def listen(
        self, factory: Callable[[], BaseProtocol], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Listening: ...


class Offload(Protocol):
    """The only way to a thread: run a function that blocks and give back what it returns or raises."""

    def run(self, function: Callable[[], T]) -> Awaitable[T]: ...


class Wakeup(Protocol):
    """Told by a store what a commit made durable: on the loop, after the commit, in offset order per shard."""

    def appended(self, shard: Shard, events: Sequence[Event]) -> None: ...
    def changed(self, cells: Iterable[str]) -> None:
        """The named cells have a new version."""
        ...


class Room(NamedTuple):
    """What a disk has free, and how large it is."""

    free_bytes: int
    total_bytes: int


DiskLevel = Literal["ok", "low", "full"]


class Disk(Protocol):
    """Asks for the room of the disk that a folder is on."""

    def __call__(self, folder: Path, /) -> Room: ...


class Files(Protocol):
    """The files of one folder, by name. It blocks, and is called where commits and reads are.

    What is written is durable when the file has been synced, its name when the folder has been.

    Raises:
        OSError: as the operating system does.
    """

    def write(self, name: str, content: bytes, at: int) -> None:
        """Make the file, or replace what it holds; `at` (µs) is when it was written."""
        ...

    def sync(self, name: str) -> None: ...
    def rename(self, name: str, to: str) -> None:
        """Give a file another name, in one step; a file of that name is replaced."""
        ...

    def sync_folder(self) -> None: ...
    def read(self, name: str) -> bytes | None:
        """What a file holds; None if there is none."""
        ...

    def names(self) -> Mapping[str, tuple[int, int]]:
        """All files, each with its size and when it was written."""
        ...

    def remove(self, name: str) -> None:
        """Let a file go, if it is there."""
        ...


class Emit(Protocol):
    """Telemetry: one record, by a stable dotted name. Must not block and must not fail."""

    def __call__(self, record: str, /, **fields: object) -> None: ...


class Secrets(Protocol):
    """Secret values by their names (`psp.webhook`): every active one, the current first; empty if unknown."""

    def active(self, name: str) -> Sequence[bytes]: ...


class Verified(NamedTuple):
    """A request that its provider has signed.

    `id` is the provider's delivery id, None where the scheme has none; `secret` says which of the active secrets
    matched: 0 is the current one, None where the scheme needs none.
    """

    id: str | None
    secret: int | None


class NotVerified(NamedTuple):
    """A signature that was refused, told to operators only: callers hear the same words whatever the category is.

    `body-changed`: the body verifies with its line ends restored, so something on the way rewrote it. `mismatch`: a
    wrong secret or another body. `too-old`, `too-new`: rightly signed, outside the tolerance. `no-secret`: none that
    can be used is bound on our side.
    """

    category: Literal["missing", "malformed", "mismatch", "body-changed", "too-old", "too-new", "no-secret"]
    detail: str


class Verify(Protocol):
    """Decide whether a request is signed, over its raw body, before anything parses it. Never raises for its input."""

    def __call__(self, headers: Sequence[tuple[str, str]], body: bytes, /) -> Verified | NotVerified: ...


class Access(Protocol):
    """Who is calling, by the values of the `authorization` fields of a request; None for a caller without a right."""

    def __call__(self, authorization: Sequence[str], /) -> str | None: ...
