"""Producers on the simulated network: they post CloudEvents and send again until they know, as the guide tells them to.

They write down what they asked for and what they were told. Their parser is not the product's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.auditor import digest_of
from interlock.testing.sim.history import History, Kind, Published
from interlock.testing.sim.loop import SimLoop
from interlock.testing.sim.net import SimNet
from interlock.testing.sim.ports import SimClock

PATIENCE_US = 5 * US_PER_SECOND
PAUSE_US = 500_000


class Posting(NamedTuple):
    """One event to post."""

    stream: str
    type: str
    id: str
    key: str | None
    body: bytes


class Producer:
    """One client. `target` is asked for the host and port to post to, before each try; None while there is none."""

    def __init__(
        self, loop: SimLoop, net: SimNet, name: str, history: History, target: Callable[[], tuple[str, int] | None]
    ) -> None:
        self.name = name
        self._loop = loop
        self._net = net
        self._history = history
        self._target = target
        self._clock = SimClock(loop)

    async def post(self, posting: Posting) -> None:
        """Post until it is acknowledged or refused."""
        while True:
            target = self._target()
            if target is not None:
                self._note(posting, "invoke")
                kind = await self._try(posting, target)
                self._note(posting, kind)
                if kind in ("ok", "fail"):
                    return
            await self._clock.sleep_until(self._loop.now_us + PAUSE_US)

    def _note(self, posting: Posting, kind: Kind) -> None:
        self._history.add(
            Published(
                t=self._loop.now_us,
                process=self.name,
                kind=kind,
                stream=posting.stream,
                id=posting.id,
                key=posting.key,
                type=posting.type,
                digest=digest_of(posting.body),
            )
        )

    async def _try(self, posting: Posting, target: tuple[str, int]) -> Kind:
        host, port = target
        transport: asyncio.Transport | None = None
        try:
            async with self._clock.deadline(self._loop.now_us + PATIENCE_US):
                transport = await self._net.connect(lambda: _Answer(self._loop), host, port)
                transport.write(_request(posting, host, port))
                status = await cast("_Answer", transport.get_protocol()).status
        except (TimeoutError, OSError):
            return "info"
        finally:
            if transport is not None:
                transport.close()
        return "ok" if status == 202 else "fail" if 400 <= status < 500 else "info"


def _request(posting: Posting, host: str, port: int) -> bytes:
    return (
        f"POST /events HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer simulated\r\n"
        f"content-type: application/json\r\ncontent-length: {len(posting.body)}\r\nce-specversion: 1.0\r\n"
        f"ce-type: {posting.type}\r\nce-source: /simulator\r\nce-id: {posting.id}\r\n\r\n"
    ).encode() + posting.body


class _Answer(asyncio.Protocol):
    """Waits for the status of one answer."""

    def __init__(self, loop: SimLoop) -> None:
        self.status: asyncio.Future[int] = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if not self.status.done():
            self.status.set_result(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(exc or ConnectionResetError(104, "closed before the answer"))
            self.status.exception()  # Whoever has given up waiting need not hear of it.
