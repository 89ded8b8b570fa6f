"""Erasure of what is known of a person: which events are meant, and the job that carries it out (`eraser.py`).

The audit keeps who asked, why and when, the events by number and the key as its hash: nothing of what was erased.
"""

from __future__ import annotations

from hashlib import sha256

from interlock.control import audit, erase_shapes
from interlock.control.audit import Who
from interlock.control.commands import Commands
from interlock.control.problem import Refused
from interlock.control.queries import Reading, one_event, unknown
from interlock.core import limits
from interlock.core.erasure import Erasure
from interlock.core.event import Shard
from interlock.core.ids import shard_of


async def command(
    reading: Reading, commands: Commands, who: Who, asked: erase_shapes.EraseCommand
) -> erase_shapes.EraseAnswer:
    """Count what is meant, and unless it is a dry run, begin to erase it and wait a bounded time for the end.

    Raises:
        Refused: `erase.unselected`, `erase.reason-missing`, `erase.too-many`, `erase.audit`, `stream.unknown`,
            `event.unknown`, `event.ambiguous`.
    """
    if (asked.event is None) == (not asked.key) or (asked.event is not None and asked.stream is not None):
        raise Refused(
            400,
            "erase.unselected",
            "it must be said which events are meant: all of a key, or one",
            "give a key, with a stream or without, or the id of an event",
        )
    if not asked.reason.strip():
        raise Refused(400, "erase.reason-missing", "an erasure needs a reason", "say why: --reason ...")
    at = commands.now()
    if asked.event is not None:
        event = await one_event(reading.views, asked.event)
        stream, meant = event.shard.stream, event.erased_at is None
        if stream == audit.STREAM:
            raise _of_audit()
        streams = {stream: 1} if meant else {}
        erasure = Erasure(at, len(streams), event=(stream, event.shard.number, event.offset))
        subject = {"event": event.id}
    else:
        streams = await _streams_of(reading, asked.key or "", asked.stream)
        erasure = Erasure(at, sum(streams.values()), key=asked.key, streams=tuple(streams))
        subject = {"key_sha256": sha256((asked.key or "").encode()).hexdigest()}
    if asked.dry_run or not erasure.of:
        return erase_shapes.EraseAnswer(None, erasure.of, 0, not erasure.of, streams)
    wait_us = max(0, min(asked.wait_us, limits.COMMAND_WAIT_US_MAX))
    job, after = await commands.erase(erasure, who, subject, wait_us)
    return erase_shapes.EraseAnswer(job, erasure.of, after.erased, after.ended_at is not None, streams)


async def _streams_of(reading: Reading, key: str, stream: str | None) -> dict[str, int]:
    """How many events of a key each stream has; those without any are left out."""
    names = [line.made.name for line in await reading.views.streams()]
    if stream == audit.STREAM:
        raise _of_audit()
    if stream is not None and stream not in names:
        raise unknown("stream.unknown", stream, names)
    found: dict[str, int] = {}
    for name in names if stream is None else [stream]:
        made = reading.journal.stream(name)
        if made is not None and name != audit.STREAM:
            shard = Shard(name, shard_of(key, made.shards))
            count = len(await reading.journal.of_key(shard, key, limits.ERASE_EVENTS_MAX + 1))
            found |= {name: count} if count else {}
    if sum(found.values()) > limits.ERASE_EVENTS_MAX:
        raise Refused(
            409,
            "erase.too-many",
            f"the key has more than {limits.ERASE_EVENTS_MAX:,} events",
            "erase it stream by stream, or let retention take the oldest first",
        )
    return found


def _of_audit() -> Refused:
    return Refused(
        409,
        "erase.audit",
        "events of the audit are chained by their hashes, so none of them can be erased",
        "it holds no payloads; leave names of persons out of reasons",
    )
