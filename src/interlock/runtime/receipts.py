"""Which receipts of SQL Systems nobody can need any more: those of events that the store does not have any more."""

from __future__ import annotations

from interlock.core.event import Shard
from interlock.core.limits import RECEIPT_KEEP_US
from interlock.journal.ports import Store
from interlock.spec.plan import Plan


async def forgettable_before(plan: Plan, store: Store, now: int) -> int:
    """The instant before which every receipt may be forgotten, in µs since the epoch.

    An event is accepted before anything is done for it, and can be delivered again, by a retry or a replay, for as long
    as the log has it, or keeps it for a dead letter.
    """
    oldest = now - RECEIPT_KEEP_US
    for stream in plan.streams:
        there = store.stream(stream.name)
        for number in range(there.shards if there else 0):
            oldest = min(oldest, await _oldest(store, Shard(stream.name, number), oldest))
    return oldest


async def _oldest(store: Store, shard: Shard, otherwise: int) -> int:
    """When the first event of a shard was accepted. Events that were kept were in it before those of the log."""
    for events in (
        (await store.kept(shard, 0, 1)).events,
        (await store.read(shard, store.bounds(shard)[0] - 1, 1)).events,
    ):
        if events:
            return events[0].accepted_at
    return otherwise
