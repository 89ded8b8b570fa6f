"""The ports as the operating system gives them: chance, sockets, threads.

With `clock.py` the only module of the product that reads a clock, opens a socket or starts a thread; no policy here.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from interlock.core.ports import Listening

T = TypeVar("T")

LISTEN_BACKLOG = 1_024
"""Connections that the kernel holds while the loop is busy: the usual 100 overflow in a burst, at a second each."""
_COMPUTES_SHARE = 0.1
"""Of its time; what waits for a socket or a disk uses less, what computes beside a busy loop gets more."""
_YOUNG_SECONDS = 0.0005
_LOOK_AGAIN_SECONDS = 0.005
_FUNCTIONS_KNOWN_MAX = 1_000


class SystemRandom:
    """Chance, seeded by the operating system once: fast, and not for secrets."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))  # noqa: S311  (for jitter and ids, as the port says)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class _SystemListening:
    """A listening server; where a name has several addresses, `port` is that of the first."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self._port: int = server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        return self._port

    def close(self) -> None:
        self._server.close()


class SystemNet:
    """TCP and TLS by the running loop, with its resolver."""

    async def connect(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        name = server_name if tls is not None else None
        transport, _ = await loop.create_connection(factory, host, port, ssl=tls, server_hostname=name)
        return transport

    async def listen(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> Listening:
        loop = asyncio.get_running_loop()
        return _SystemListening(await loop.create_server(factory, host, port, ssl=tls, backlog=LISTEN_BACKLOG))


class _Work:
    """One function on its way through the thread, and its future."""

    __slots__ = ("error", "function", "future", "loop", "result")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None  # What the function returns: its type is the caller's.
        self.error: BaseException | None = None

    def run(self) -> None:
        """On the thread."""
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001  (it is handed to whoever awaits; the thread lives on)
            self.error = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
        try:
            self.loop.call_soon_threadsafe(self._finish)
        except RuntimeError:  # The loop has been closed: nobody waits any more.
            return

    def _finish(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def _started(name: str, threads: int, serve: Callable[[], None]) -> list[threading.Thread]:
    numbered = [f"interlock-{name}-{number}" for number in range(threads)]
    started = [threading.Thread(target=serve, name=each, daemon=True) for each in numbered]
    for thread in started:
        thread.start()
    return started


class ThreadOffload:
    """Threads for one purpose, so that slow work of one kind never waits for another. One thread keeps the order.

    A call whose awaiter was cancelled still runs to its end. Measured: about 50 µs to an idle thread, 2 to 7 to a busy.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = _started(name, threads, self._serve)

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        work = _Work(function, asyncio.get_running_loop())
        self._work.put(work)
        return work.future

    def close(self) -> None:
        """Wait until everything that was asked for is done, then end the threads."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work.run()
            del work  # Between two calls the thread keeps nothing of the last one alive.


class FunctionThreads:
    """Threads for the user's plain functions, each function with a queue of its own; the queues take turns.

    A function that blocks may run on all threads. One that computes runs on one at a time: the others would not make
    it faster, for only one thread interprets at any moment, but each of them would take a share of that from the loop.
    What a function is like is learned from its runs. `functools.partial` objects are told apart by their function.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[object, deque[_Work]] = {}
        self._running: dict[object, list[_Run]] = {}
        self._shares: dict[object, float] = {}
        self._closed = False
        self._threads = _started(name, threads, self._serve)

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        work = _Work(function, asyncio.get_running_loop())
        with self._changed:
            self._waiting.setdefault(getattr(function, "func", function), deque()).append(work)
            self._changed.notify()
        return work.future

    def close(self) -> None:
        """Begin nothing more. What runs is left to the end of the process: nothing can end a function in a thread."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            kind, work = taken
            run = _Run(time.pthread_getcpuclockid(threading.get_ident()))
            with self._changed:
                self._running.setdefault(kind, []).append(run)
            work.run()
            self._ended(kind, run)
            del taken, work  # Between two calls the thread keeps nothing of the last one alive.

    def _take(self) -> tuple[object, _Work] | None:
        """The next work that may start, or None at the end."""
        with self._changed:
            while not self._closed:
                for kind, queue in self._waiting.items():
                    if self._may_start(kind):
                        work = queue.popleft()
                        del self._waiting[kind]
                        if queue:
                            self._waiting[kind] = queue
                        return kind, work
                # What computes today may block in a moment, and nobody tells.
                self._changed.wait(_LOOK_AGAIN_SECONDS if self._waiting else None)
        return None

    def _may_start(self, kind: object) -> bool:
        running = self._running.get(kind)
        if not running:
            return True
        share = self._shares.get(kind)
        return (max(run.share() for run in running) if share is None else share) < _COMPUTES_SHARE

    def _ended(self, kind: object, run: _Run) -> None:
        with self._changed:
            share = run.share()
            self._shares[kind] = (self._shares.get(kind, share) + share) / 2
            running = self._running[kind]
            running.remove(run)
            if not running:
                del self._running[kind]
                if kind not in self._waiting and len(self._shares) > _FUNCTIONS_KNOWN_MAX:
                    del self._shares[kind]
            self._changed.notify()


class _Run:
    """A function on a thread: how much of its time it has computed. `clock` is the thread's."""

    def __init__(self, clock: int) -> None:
        self._clock = clock
        self._begun = time.monotonic()
        self._used = time.clock_gettime(clock)

    def share(self) -> float:
        """0 for one that only waits; what competes for the interpreter computes less than it would."""
        elapsed = time.monotonic() - self._begun
        return (time.clock_gettime(self._clock) - self._used) / elapsed if elapsed > _YOUNG_SECONDS else 1.0
