"""Carries erasures out, part by part: the log first, then what lanes hold, then what quotes it, then files.

A lane answers for an event when no attempt of it runs and nothing of it is left in its memory. All that the eraser
knows stands in cells, and each step may be done again: so an erasure goes on after a restart where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.erasure import ERASURE_PREFIX, Erasure, decode_erasure, encode_erasure, erasure_key
from interlock.core.errors import StoreError
from interlock.core.event import Shard
from interlock.core.ids import shard_of
from interlock.core.ports import Clock, Emit
from interlock.core.requests import LaneRequest, decode_request, encode_request
from interlock.journal.ports import CellWrite, Erase, Forget, Store

POLL_US: Final = 50 * limits.US_PER_MS
"""How often it looks whether lanes have answered."""
_LIST_MAX: Final = 10_000


class Eraser:
    """See the module."""

    def __init__(self, store: Store, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._woken = asyncio.Event()

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have a new version."""
        if any(key.startswith(ERASURE_PREFIX) for key in cells):
            self._woken.set()

    async def run(self) -> None:
        """Carry out every erasure that has not ended, one after the other. It never ends by itself."""
        while True:
            self._woken.clear()
            try:
                for cell in await self._store.list(ERASURE_PREFIX, _LIST_MAX):
                    erasure = decode_erasure(cell.value)
                    if erasure.ended_at is None:
                        await self._carry_out(cell.key.removeprefix(ERASURE_PREFIX), erasure)
            except StoreError:
                # What was written is seen when the cells are read again.
                await self._clock.sleep_until(self._clock.monotonic() + limits.JOB_LOOK_MAX_US)
                continue
            await self._woken.wait()

    async def _carry_out(self, job: str, erasure: Erasure) -> None:
        while True:
            if not erasure.offsets:
                shard, offsets = await self._next(erasure)
                if not offsets:
                    break
                erasure = replace(erasure, part=erasure.part + 1, shard=(shard.stream, shard.number), offsets=offsets)
                await self._store.put([CellWrite(erasure_key(job), encode_erasure(erasure))])
            erasure = await self._part(job, erasure)
        # The key goes with the end. So do files that nothing claims any more: theirs were claimed until now.
        await self._store.collect(0)
        ended = replace(erasure, key=None, ended_at=self._clock.now())
        if erasure.part:
            await self._forget(job, erasure, ended)
        else:
            await self._store.put([_written(job, ended)])
        self._emit("erasure.ended", job=job, events=ended.erased)

    async def _next(self, erasure: Erasure) -> tuple[Shard, tuple[int, ...]]:
        """The next part: events that came, or were derived, meanwhile are taken, too, as far as that has an end."""
        if erasure.event is not None:
            stream, number, offset = erasure.event
            return Shard(stream, number), () if erasure.part else (offset,)
        if erasure.key is not None and erasure.erased < erasure.of + limits.ERASE_MORE_MAX:
            for name in erasure.streams:
                made = self._store.stream(name)
                if made is not None:
                    shard = Shard(name, shard_of(erasure.key, made.shards))
                    offsets = await self._store.of_key(shard, erasure.key, limits.REQUEST_OFFSETS_MAX)
                    if offsets:
                        return shard, tuple(offsets)
        return Shard("", 0), ()

    async def _part(self, job: str, erasure: Erasure) -> Erasure:
        request = LaneRequest("erase", erasure.offsets, "interlock", "erasure", self._clock.now())
        name = f"{job}.{erasure.part}"
        keys = await self._store.erase(Erase(Shard(*erasure.shard), erasure.offsets, name, encode_request(request)))
        while True:
            asked = (await self._store.get(keys)).values()
            if all(decode_request(cell.value).state == "applied" for cell in asked):
                break
            await self._clock.sleep_until(self._clock.monotonic() + POLL_US)
        done = replace(erasure, offsets=(), erased=erasure.erased + len(erasure.offsets))
        await self._forget(job, erasure, done)
        return done

    async def _forget(self, job: str, erasure: Erasure, after: Erasure) -> None:
        name = f"{job}.{erasure.part}"
        await self._store.forget(
            Forget(Shard(*erasure.shard), erasure.offsets, name, erasure.key, _written(job, after))
        )


def _written(job: str, after: Erasure) -> CellWrite:
    expires_at = None if after.ended_at is None else after.ended_at + limits.JOB_KEPT_US
    return CellWrite(erasure_key(job), encode_erasure(after), expires_at=expires_at)
