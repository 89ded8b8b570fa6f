"""Cancels a coroutine at its n-th await, as `task.cancel()` does that comes while it waits there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


async def cancelled_at(work: Coroutine[Any, Any, Any], at: int) -> int:
    """Run `work` and cancel it at this await of its own. Gives how many there were, if it ends in spite of that."""
    return await _cancelled_at(work, at)


@coroutine
def _cancelled_at(work: Coroutine[Any, Any, Any], at: int) -> Generator[Any, Any, int]:
    resume, given, awaits = work.send, None, 0
    while True:
        try:
            waits_for = resume(given)
        except StopIteration:
            return awaits
        awaits += 1
        if awaits == at:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            resume, given = work.send, (yield waits_for)
        except BaseException as raised:  # noqa: BLE001  (it is handed to `work`)
            resume, given = work.throw, raised
