"""What people ask for reaches the writer while intake is refused (DESIGN 4, control state)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from interlock.control.audit import STREAM, Audit, Change, Who
from interlock.core.errors import StoreBusy
from interlock.core.event import Draft
from interlock.core.limits import WRITER_QUEUE_ITEMS_MAX
from interlock.journal.memory import MemoryBackend, MemoryDisk
from interlock.journal.ports import CellWrite
from interlock.journal.store import GroupStore
from interlock.runtime.ports import SystemRandom
from interlock.testing.clock import FakeClock

T = TypeVar("T")


class Gate:
    """An Offload that holds everything back while it is shut."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def run(self, function: Callable[[], T]) -> Awaitable[T]:
        async def ran() -> T:
            await self.open.wait()
            return function()

        return asyncio.ensure_future(ran())


class Deaf:
    """A Wakeup that nobody hears."""

    def appended(self, *_: object) -> None: ...
    def changed(self, *_: object) -> None: ...


def test_a_command_is_taken_while_intake_is_refused() -> None:
    async def story() -> None:
        clock, writes, reads = FakeClock(), Gate(), Gate()
        store = GroupStore(MemoryBackend(MemoryDisk(), clock), clock, Deaf(), writes, lambda *_, **__: None, reads)
        for name in ("shop", STREAM):
            await store.make_stream(name, 1)

        def draft(number: int) -> Draft:
            return Draft(stream="shop", type="paid@1", source="/t", id=f"e{number}", data=b"{}")

        writes.open.clear()
        taken = [asyncio.ensure_future(store.append([draft(number)])) for number in range(WRITER_QUEUE_ITEMS_MAX)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        taken += [asyncio.ensure_future(store.append([draft(10_000 + number)])) for number in range(5_000)]
        change = Change(b"null", b"null", [CellWrite("control/system/x", b"{}")])
        audit = Audit(store, store, clock, SystemRandom())
        command = asyncio.ensure_future(audit.commit("system.pause", "x", Who("ann", "why"), [], lambda _: change))
        await clock.settle()
        with pytest.raises(StoreBusy):
            await store.append([draft(-1)])
        writes.open.set()
        assert (await command).offset == 1
        assert (await store.get(["control/system/x"]))["control/system/x"].version == 1
        answers = await asyncio.gather(*taken, return_exceptions=True)
        assert any(isinstance(answer, StoreBusy) for answer in answers)

    asyncio.run(story())
