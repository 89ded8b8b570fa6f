"""The queue before a store's one writer: what is queued when a commit ends goes into the next, with no added wait.

It owns grouping, bounds and answers. What a request does, and how a group is made durable, is the backend's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from interlock.core import limits
from interlock.core.errors import InterlockError, StoreBusy, StoreError
from interlock.core.ports import Clock, Emit, Offload

Tx = TypeVar("Tx")


class Request(Generic[Tx]):
    """One thing to write: `run(tx)` says what, `done(answer or exception)` is called on the loop when it is durable."""

    __slots__ = ("done", "items", "run", "size")

    def __init__(self, run: Callable[[Tx], Any], done: Callable[[Any], None], items: int, size: int) -> None:
        self.run = run
        self.done = done
        self.items = items
        self.size = size


class Writer(Generic[Tx]):
    """At most one group is being committed at a time.

    Args:
        offload: where a group is committed.
        commit: takes the requests' `run`s, makes them durable together and gives an answer or an exception for each,
            after which `answered` is called with whatever else it gives.
        answered: called on the loop before the answers of a group are given; with the exception if the group failed.
        clock: for how long commits take.
    """

    def __init__(
        self,
        offload: Offload,
        commit: Callable[[Sequence[Callable[[Tx], Any]]], tuple[Sequence[Any], Any]],
        answered: Callable[[Any], None],
        emit: Emit,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._offload = offload
        self._commit = commit
        self._answered = answered
        self._emit = emit
        self._queue: deque[Request[Tx]] = deque()
        self._items = 0
        self._bytes = 0
        self._running = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None

    def submit(
        self, run: Callable[[Tx], Any], done: Callable[[Any], None], items: int, size: int, *, reserved: bool = False
    ) -> None:
        """Queue a request; it is refused with `StoreBusy` while the queue is at its bound.

        `reserved` is for what people ask for: it may use the reserve, which intake cannot fill.
        """
        if reserved:
            full = self._items + items > limits.WRITER_QUEUE_ITEMS_MAX + limits.WRITER_RESERVE_ITEMS
        else:
            full = (
                self._items + items > limits.WRITER_QUEUE_ITEMS_MAX
                or self._bytes + size > limits.WRITER_QUEUE_BYTES_MAX
            )
        # A request larger than the bound still passes when nothing waits: it is refused at the edge or never.
        if full and self._queue:
            self._emit("store.writer-busy", items=self._items, bytes=self._bytes)
            error = StoreBusy(
                "store.busy", "the queue before the store's writer is full", "send it again after a second"
            )
            asyncio.get_running_loop().call_soon(done, error)
        else:
            self._put(Request(run, done, items, size))

    def append(self, run: Callable[[Tx], Any], items: int, size: int, *, reserved: bool = False) -> asyncio.Future[Any]:
        """As `submit`, awaited."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.submit(run, partial(settle_future, future), items, size, reserved=reserved)
        return future

    def call(self, run: Callable[[Tx], Any]) -> asyncio.Future[Any]:
        """Queue a request that backpressure must not refuse, awaited: everything but intake."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(Request(run, partial(settle_future, future), 1, 0))
        return future

    async def close(self) -> None:
        """Take nothing more, and return when all that was queued is durable and answered."""
        self._closed = True
        if self._running:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def _put(self, request: Request[Tx]) -> None:
        if self._closed:
            error = StoreError("store.closed", "the store is closed; nothing was written", "open it again")
            asyncio.get_running_loop().call_soon(request.done, error)
            return
        self._queue.append(request)
        self._items += request.items
        self._bytes += request.size
        if not self._running:
            # Not at once: all that this turn of the loop submits shares the commit.
            self._running = True
            asyncio.get_running_loop().call_soon(self._start)

    def _take(self) -> list[Request[Tx]]:
        group: list[Request[Tx]] = []
        items = size = 0
        while self._queue and (
            not group
            or (
                items + self._queue[0].items <= limits.WRITER_GROUP_ITEMS_MAX
                and size + self._queue[0].size <= limits.WRITER_GROUP_BYTES_MAX
            )
        ):
            request = self._queue.popleft()
            group.append(request)
            items += request.items
            size += request.size
        self._items -= items
        self._bytes -= size
        return group

    def _start(self) -> None:
        group = self._take()
        future = asyncio.ensure_future(self._offload.run(partial(self._commit, [request.run for request in group])))
        future.add_done_callback(partial(self._ended, group, self._clock.monotonic()))

    def _ended(self, group: list[Request[Tx]], began: int, future: asyncio.Future[tuple[Sequence[Any], Any]]) -> None:
        if future.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = future.exception()
        if error is None:
            answers, rest = future.result()
            self._tell(group, self._clock.monotonic() - began)
        else:
            rest = error if isinstance(error, StoreError) else in_doubt(error)
            answers = [rest] * len(group)
        # The next commit starts before the answers are given: the disk never waits for the callers.
        if self._queue:
            self._start()
        else:
            self._running = False
        try:
            self._answered(rest)
        finally:
            self._deliver(zip(group, answers, strict=True))

    def _tell(self, group: Sequence[Request[Tx]], duration_us: int) -> None:
        items = size = 0
        for request in group:
            items += request.items
            size += request.size
        self._emit("store.committed", duration_us=duration_us, requests=len(group), items=items, bytes=size)

    def _deliver(self, pairs: Iterator[tuple[Request[Tx], Any]]) -> None:
        """Give the answers. A callback that raises goes to the loop's handler and does not cost others theirs."""
        finished = False
        try:
            for request, answer in pairs:
                request.done(answer)
            finished = True
        finally:
            if not finished:
                asyncio.get_running_loop().call_soon(self._deliver, pairs)
        if self._idle is not None and not self._running and not self._idle.done():
            self._idle.set_result(None)


def in_doubt(error: BaseException) -> StoreError:
    """What a caller is told when it is not known whether a write happened."""
    shown = error.code if isinstance(error, InterlockError) else type(error).__name__
    failure = StoreError(
        "store.in-doubt",
        f"the commit failed ({shown}); it may or may not have been written",
        "read the state again before you decide; see the log for the cause",
    )
    failure.__cause__ = error
    return failure


def settle_future(future: asyncio.Future[Any], answer: object) -> None:
    """Resolve a future with an answer, or with an exception given as one; a caller that has gone is left alone."""
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
