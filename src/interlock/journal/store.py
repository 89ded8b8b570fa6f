"""The one `Store` over any backend that commits in groups: it queues writes, awaits reads and tells who waits.

It holds no state of its own. A backend is asked for its parts in `Offload`, except where it answers from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from interlock.core import limits
from interlock.core.cursor import CursorId, Past, Row
from interlock.core.errors import InterlockError, StoreError, StoreFull
from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Clock, Emit, Offload, Wakeup
from interlock.journal.ports import (
    AppendRefused,
    Assign,
    Batch,
    Cell,
    CellConflict,
    CellWrite,
    Collected,
    Erase,
    Features,
    Forget,
    IdentityConflict,
    Lease,
    LeaseLost,
    Opened,
    Retention,
    Settlement,
    SettleResult,
    StreamInfo,
)
from interlock.journal.segments import size_of
from interlock.journal.writer import Writer

COLLECTED_AT_ONCE: Final = 1_000
"""Files that are looked up and removed in one commit."""


class News(NamedTuple):
    """What a group made durable: events in offset order by shard, and the keys of cells."""

    appended: Mapping[Shard, Sequence[Event]]
    changed: Sequence[str]


class Tx(Protocol):
    """One commit under way. Each operation writes all of it or, if it refuses or raises, nothing."""

    def append(self, drafts: Sequence[Draft], cells: Sequence[CellWrite]) -> Sequence[Appended] | AppendRefused: ...
    def append_whole(self, drafts: Sequence[Draft]) -> Sequence[Appended] | IdentityConflict: ...
    def settle(self, settlement: Settlement) -> SettleResult: ...
    def open(self, lease: Lease, assigns: Sequence[Assign]) -> Sequence[Opened] | LeaseLost: ...
    def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost: ...
    def release(self, worker: str) -> None: ...
    def put(self, writes: Sequence[CellWrite]) -> Sequence[Cell | CellConflict]: ...
    def make_stream(self, name: str, shards: int) -> StreamInfo: ...
    def retire(self, stream: str, retention: Retention) -> int: ...
    def collect(self, names: Collection[str]) -> Collected: ...
    def erase(self, erase: Erase) -> Sequence[str]: ...
    def forget(self, forget: Forget) -> None: ...
    def rename_subscription(self, old: str, new: str) -> int: ...
    def retire_subscription(self, name: str) -> int: ...


class Solo(NamedTuple):
    """A request that must not share its transaction: it changes tables as well as rows."""

    run: Callable[[Tx], Any]

    def __call__(self, tx: Tx) -> Any:
        return self.run(tx)


class Backend(Protocol):
    """Where things are kept. `commit` and the reads block and are called in `Offload`; the others are not."""

    features: Features

    def commit(self, runs: Sequence[Callable[[Any], Any]]) -> tuple[Sequence[Any], Any]:
        """Run each in one transaction; an answer or an `InterlockError` for each, and what `news` needs."""
        ...

    def news(self, committed: Any) -> News: ...
    def stream(self, name: str) -> StreamInfo | None: ...
    def bounds(self, shard: Shard) -> tuple[int, int]: ...
    def read(self, shard: Shard, after: int, limit: int, types: frozenset[str] | None) -> Batch: ...
    def kept(self, shard: Shard, after: int, limit: int) -> Batch: ...
    def fetch(self, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]: ...
    def whole(self, event: Event) -> Event: ...
    def old_files(self, age_us: int) -> Sequence[str]:
        """Files of large payloads that were written so long ago."""
        ...

    def of_key(self, shard: Shard, key: str, limit: int) -> Sequence[int]: ...

    def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]: ...
    def missing(self, cursor: CursorId, key: str) -> Sequence[Row]: ...
    def past(self, cursor: CursorId, offsets: Sequence[int]) -> Mapping[int, Past]: ...
    def get(self, keys: Sequence[str]) -> Mapping[str, Cell]: ...
    def list(self, prefix: str, limit: int) -> Sequence[Cell]: ...
    def upkeep(self) -> Callable[[], None] | None:
        """Work that is due beside the commits, to be called where the reads are; None if there is none."""
        ...

    def close(self) -> None: ...


def run_each(tx: Tx, runs: Sequence[Callable[[Tx], Any]]) -> list[Any]:
    """The answers of the requests of a group; one that is refused does not concern the others."""
    answers: list[Any] = []
    for run in runs:
        try:
            answers.append(run(tx))
        except InterlockError as error:
            answers.append(error)
    return answers


class GroupStore:
    """Implements `Store` and `Lifecycle`."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        wakeup: Wakeup,
        offload: Offload,
        emit: Emit,
        reads: Offload | None = None,
    ) -> None:
        self.features = backend.features
        self._backend = backend
        self._clock = clock
        self._wakeup = wakeup
        self._offload = offload
        self._reads = reads or offload
        self._upkeep: asyncio.Future[None] | None = None
        self._emit = emit
        self._writer: Writer[Tx] = Writer(offload, backend.commit, self._answered, emit, clock)
        self._closed = False

    def _answered(self, committed: Any) -> None:
        if isinstance(committed, InterlockError):
            cause = committed.__cause__ or committed
            self._emit("store.commit-failed", code=committed.code, cause=type(cause).__name__, detail=str(cause))
            # An empty commit finds out what became of the group that failed, even if nobody writes again.
            self._clock.call_at(self._clock.monotonic() + US_PER_SECOND, self._look_again)
            return
        news = self._backend.news(committed)
        for shard, events in news.appended.items():
            self._wakeup.appended(shard, events)
        if news.changed:
            self._wakeup.changed(news.changed)
        if self._upkeep is None and (work := self._backend.upkeep()) is not None:
            self._upkeep = asyncio.ensure_future(self._reads.run(work))
            self._upkeep.add_done_callback(self._kept_up)

    def _kept_up(self, done: asyncio.Future[None]) -> None:
        self._upkeep = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._emit("store.upkeep-failed", cause=type(error).__name__, detail=str(error))

    def _look_again(self) -> None:
        if not self._closed:
            self._writer.call(_nothing).add_done_callback(_seen)

    def _alone(self, run: Callable[[Tx], Any]) -> asyncio.Future[Any]:
        return self._writer.call(Solo(run))

    async def make_stream(self, name: str, shards: int) -> StreamInfo:
        return await self._alone(lambda tx: tx.make_stream(name, shards))

    def stream(self, name: str) -> StreamInfo | None:
        return self._backend.stream(name)

    def submit(
        self,
        drafts: Sequence[Draft],
        cells: Sequence[CellWrite],
        done: Callable[[Sequence[Appended] | AppendRefused | Exception], None],
    ) -> None:
        size = 0
        for draft in drafts:
            size += size_of(draft)
        self._writer.submit(lambda tx: tx.append(drafts, cells), done, len(drafts), size)

    def submit_whole(
        self, drafts: Sequence[Draft], done: Callable[[Sequence[Appended] | IdentityConflict | Exception], None]
    ) -> None:
        size = sum([size_of(draft) for draft in drafts])
        self._writer.submit(lambda tx: tx.append_whole(drafts), done, len(drafts), size)

    async def append(
        self, drafts: Sequence[Draft], cells: Sequence[CellWrite] = ()
    ) -> Sequence[Appended] | AppendRefused:
        size = sum(size_of(draft) for draft in drafts)
        # Streams of our own hold what people ask for: nobody else may write to a name that begins so.
        reserved = any(draft.stream.startswith("_") for draft in drafts)
        return await self._writer.append(lambda tx: tx.append(drafts, cells), len(drafts), size, reserved=reserved)

    async def read(self, shard: Shard, after: int, limit: int, types: frozenset[str] | None = None) -> Batch:
        return await self._reads.run(partial(self._backend.read, shard, after, limit, types))

    async def kept(self, shard: Shard, after: int, limit: int) -> Batch:
        return await self._reads.run(partial(self._backend.kept, shard, after, limit))

    async def fetch(self, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
        return await self._reads.run(partial(self._backend.fetch, shard, offsets))

    async def whole(self, event: Event) -> Event:
        if event.claim is None:
            return event
        found = await self._reads.run(partial(self._backend.whole, event))
        if found.absent is not None:
            self._emit("body.absent", event=event.id, why=found.absent)
        return found

    async def of_key(self, shard: Shard, key: str, limit: int) -> Sequence[int]:
        return await self._reads.run(partial(self._backend.of_key, shard, key, limit))

    async def erase(self, erase: Erase) -> Sequence[str]:
        return await self._alone(lambda tx: tx.erase(erase))

    async def forget(self, forget: Forget) -> None:
        await self._alone(lambda tx: tx.forget(forget))

    async def collect(self, age_us: int | None = None) -> Collected:
        """Remove the files of large payloads that nothing refers to and that are old enough."""
        age_us = limits.BODY_ORPHAN_US if age_us is None else age_us
        names = await self._reads.run(partial(self._backend.old_files, age_us))
        files = size = 0
        for first in range(0, len(names), COLLECTED_AT_ONCE):
            some = names[first : first + COLLECTED_AT_ONCE]
            # Where commits are: no append can claim a file between the look and its removal.
            gone: Collected = await self._alone(lambda tx, some=some: tx.collect(some))
            files, size = files + gone.files, size + gone.bytes
        return Collected(files, size)

    def bounds(self, shard: Shard) -> tuple[int, int]:
        return self._backend.bounds(shard)

    async def retire(self, stream: str, retention: Retention) -> int:
        return await self._alone(lambda tx: tx.retire(stream, retention))

    async def renew(self, worker: str, ttl_us: int) -> Lease | LeaseLost:
        return await self._writer.call(lambda tx: tx.renew(worker, ttl_us))

    async def open(self, lease: Lease, cursors: Sequence[Assign]) -> Sequence[Opened] | LeaseLost:
        return await self._writer.call(lambda tx: tx.open(lease, cursors))

    async def commit(self, settlements: Sequence[Settlement]) -> Sequence[SettleResult]:
        return await self._writer.call(lambda tx: [tx.settle(settlement) for settlement in settlements])

    async def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]:
        return await self._reads.run(partial(self._backend.rows, cursor, offsets))

    async def missing(self, cursor: CursorId, key: str) -> Sequence[Row]:
        return await self._reads.run(partial(self._backend.missing, cursor, key))

    async def past(self, cursor: CursorId, offsets: Sequence[int]) -> Mapping[int, Past]:
        return await self._reads.run(partial(self._backend.past, cursor, offsets))

    async def release(self, worker: str) -> None:
        await self._writer.call(lambda tx: tx.release(worker))

    async def get(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        return await self._reads.run(partial(self._backend.get, keys))

    async def list(self, prefix: str, limit: int = 1000) -> Sequence[Cell]:
        return await self._reads.run(partial(self._backend.list, prefix, limit))

    async def put(self, writes: Sequence[CellWrite]) -> Sequence[Cell | CellConflict]:
        return await self._writer.call(lambda tx: tx.put(writes))

    async def rename_subscription(self, old: str, new: str) -> int:
        return await self._alone(lambda tx: tx.rename_subscription(old, new))

    async def retire_subscription(self, name: str) -> int:
        return await self._alone(lambda tx: tx.retire_subscription(name))

    async def close(self) -> None:
        """Return when all that was queued is durable and answered; nothing is taken from now on."""
        self._closed = True
        await self._writer.close()
        if self._upkeep is not None:
            await asyncio.wait([self._upkeep])
        await self._offload.run(self._backend.close)


def stream_unknown(name: str) -> StoreError:
    """The refusal for a stream or a shard that was not made."""
    return StoreError(
        "store.stream-unknown",
        f"the store has no such stream or shard of {name!r}",
        "make the stream first; nothing was written",
    )


def store_full() -> StoreFull:
    """The refusal of a write that has no room on the disk."""
    return StoreFull(
        "store.full", "the disk of the store is full; nothing was written", "free space on it, or move the store"
    )


def stream_full(name: str, held_by: Sequence[str]) -> StoreFull:
    """The refusal of intake for a stream at its bound; `held_by`: subscriptions that have yet to read the oldest."""
    who = f"{', '.join(held_by[:3])} has" if held_by else "nobody has"
    return StoreFull(
        "store.stream-full",
        f"stream {name!r} is at its bound of bytes, and {who} yet to read its oldest events",
        "see `interlock subscriptions ls` for why it lags, or raise `keep_bytes` of the stream; nothing was written",
    )


def _nothing(_: object) -> None:
    return None


def _seen(future: asyncio.Future[Any]) -> None:
    """What became of the look is told by `_answered`; the future must not complain that nobody asked it."""
    if not future.cancelled():
        future.exception()
