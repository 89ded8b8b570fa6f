"""What is going on, as it happens: events by their offsets from the log, and the process's own records from a ring.

A reader holds its position; nothing is kept for it here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from interlock.control import shapes
from interlock.control.problem import Refused
from interlock.control.queries import Reading
from interlock.core import limits
from interlock.core.event import Event, Shard
from interlock.core.ports import Clock
from interlock.core.redact import redacted_text
from interlock.journal.ports import Journal, Retired

RING_RECORDS: Final = 1_000
"""Records kept for readers: some seconds of a bad minute. A slower reader is told how many it missed."""
_POLL_US: Final = 100 * limits.US_PER_MS
_WAIT_US_MAX: Final = 5 * limits.US_PER_SECOND
"""Short, because nobody tells that a reader has gone."""
_SUBJECTS: Final = ("event", "subscription", "system", "schedule", "source")
_SHOWN: Final = (
    *("successes", "dead", "outcome", "status", "error", "detail", "message", "reason", "why", "code"),
    *("state", "system", "verb", "actor", "due", "events", "policy", "failures"),
)


class Recent:
    """A telemetry sink: keeps the last records that are about an event, a subscription or a System.

    Args:
        clock: for the instants.
        skip: records that are too many to be followed one by one.
    """

    def __init__(self, clock: Clock, skip: Collection[str] = ()) -> None:
        self._clock = clock
        self._skip = frozenset(skip)
        self._ring: deque[tuple[int, shapes.TailItem]] = deque(maxlen=RING_RECORDS)
        self.last = 0
        self.closed = False

    def close(self) -> None:
        """Keep nobody waiting from now on: the process stops."""
        self.closed = True

    def wants(self, record: str) -> bool:
        """Whether the record can be followed."""
        return record not in self._skip

    def __call__(self, record: str, /, **fields: object) -> None:
        if record in self._skip or not any(fields.get(name) for name in _SUBJECTS):
            return
        says = " ".join(f"{name}={_text(fields[name])}" for name in _SHOWN if fields.get(name) not in (None, "", 0))
        if not says:  # a settlement that only moved a floor, or one that `attempt.failed` has told of
            return
        self.last += 1
        now, due_at = self._clock.now(), fields.get("due_at")
        if isinstance(due_at, int):
            says += f" next in {max(0, due_at - now) // limits.US_PER_MS} ms"
        self._ring.append(
            (
                self.last,
                shapes.TailItem(now, record, _text(fields.get("event")), _text(_reader(fields)), says=says),
            )
        )

    def after(self, number: int) -> tuple[list[tuple[int, shapes.TailItem]], int]:
        """Items after the record `number`, each with its own number, and how many of them are gone already."""
        # A number from before a restart is higher than ours: that reader has seen none of these.
        number = number if number <= self.last else 0
        items = [(at, item) for at, item in self._ring if at > number]
        return items, max(0, self.last - number - len(items))

    def before(self, since_at: int) -> int:
        """The number of the last record before an instant; of those that are gone already it is not known."""
        return next((number - 1 for number, item in self._ring if item.at >= since_at), self.last)


def _reader(fields: Mapping[str, object]) -> object:
    """Whose record it is."""
    return fields.get("subscription") or fields.get("schedule") or fields.get("source")


class Position(NamedTuple):
    """Where a reader stands: the last offset of every shard, and the last record."""

    offsets: Mapping[str, Sequence[int]]
    record: int

    def text(self) -> str:
        """As it travels: short, and opaque to the reader."""
        streams = ";".join(f"{name}:{','.join(map(str, offsets))}" for name, offsets in self.offsets.items())
        return f"{self.record}|{streams}"


def position(text: str) -> Position:
    """Read a position.

    Raises:
        Refused: `tail.position`, if this is none.
    """
    record, _, streams = text.partition("|")
    parts = [part.partition(":") for part in streams.split(";") if part]
    try:
        offsets = {name: msgspec.json.decode(f"[{numbers}]", type=list[int]) for name, _, numbers in parts}
        return Position(offsets, msgspec.json.decode(record, type=int))
    except msgspec.DecodeError:
        raise Refused(400, "tail.position", "this is no position in the tail", "begin without one") from None


async def tail(reading: Reading, recent: Recent, clock: Clock, asked: shapes.TailAsked) -> shapes.Tail:
    """What came after a position, at the latest when the wait is over."""
    streams = await reading.views.streams()
    shards = [Shard(line.made.name, number) for line in streams for number in range(line.made.shards)]
    if asked.after is None:
        begun, record = await _begin(reading.journal, recent, shards, asked.since_at)
        return shapes.Tail([], _position(begun, record).text())
    start = position(asked.after)
    limit = max(1, min(asked.limit, shapes.PAGE_MAX))
    deadline = clock.monotonic() + max(0, min(asked.wait_us, _WAIT_US_MAX))
    while True:
        at, skipped = _places(reading.journal, shards, start, asked.behind_max)
        items, at, is_cut = await _news(reading.journal, at, limit)
        said, missed = recent.after(start.record)
        # Records are not told before the events that came before them.
        told = [each for each in said if each[1].at <= items[-1].at] if is_cut else said
        now = clock.monotonic()
        if items or told or skipped or missed or recent.closed or now >= deadline:
            merged = sorted([*items, *(item for _, item in told)], key=lambda item: item.at)
            return shapes.Tail(merged, _position(at, _record(recent, told, said)).text(), skipped + missed)
        await clock.sleep_until(min(now + _POLL_US, deadline))


async def _begin(
    journal: Journal, recent: Recent, shards: Sequence[Shard], since_at: int | None
) -> tuple[Mapping[Shard, int], int]:
    if since_at is None:
        return {shard: journal.bounds(shard)[1] for shard in shards}, recent.last
    return {shard: await _last_before(journal, shard, since_at) for shard in shards}, recent.before(since_at)


async def _last_before(journal: Journal, shard: Shard, at: int) -> int:
    """The last offset of a shard that was accepted before an instant."""
    oldest, newest = journal.bounds(shard)
    low, high = oldest - 1, newest
    while low < high:
        middle = (low + high + 1) // 2
        try:
            batch = await journal.read(shard, middle - 1, 1)
        except Retired:
            low = middle
            continue
        if batch.events and batch.events[0].accepted_at < at:
            low = middle
        else:
            high = middle - 1
    return low


def _places(
    journal: Journal, shards: Sequence[Shard], start: Position, behind_max: int | None
) -> tuple[dict[Shard, int], int]:
    """Where a reader goes on, and how many events it misses: what is retired, and what it is too far behind for."""
    at: dict[Shard, int] = {}
    newest: dict[Shard, int] = {}
    skipped = 0
    for shard in shards:
        oldest, newest[shard] = journal.bounds(shard)
        known = start.offsets.get(shard.stream, ())
        after = min(known[shard.number] if shard.number < len(known) else 0, newest[shard])
        at[shard] = max(after, oldest - 1)
        skipped += at[shard] - after
    behind = sum(newest.values()) - sum(at.values())
    if behind_max is not None and behind > max(0, behind_max):
        return newest, skipped + behind
    return at, skipped


async def _news(
    journal: Journal, places: Mapping[Shard, int], limit: int
) -> tuple[list[shapes.TailItem], dict[Shard, int], bool]:
    """The next events of all shards by their time, how far that is in each, and whether there are more."""
    at = dict(places)
    found: list[tuple[int, Event]] = []
    for shard, after in places.items():
        if after < journal.bounds(shard)[1]:
            try:
                batch = await journal.read(shard, after, limit)
            except Retired:  # between the look and the read; the next question finds the new bound
                continue
            # A clock that was set back does not change the order of a shard.
            found += zip(accumulate((event.accepted_at for event in batch.events), max), batch.events, strict=True)
            at[shard] = batch.upto
    found.sort(key=itemgetter(0))
    for _, event in reversed(found[limit:]):
        at[event.shard] = event.offset - 1
    return [_item(event) for _, event in found[:limit]], at, len(found) > limit


def _record(
    recent: Recent,
    told: Sequence[tuple[int, shapes.TailItem]],
    said: Sequence[tuple[int, shapes.TailItem]],
) -> int:
    """The number of the last record that the reader has, those that it missed included."""
    if len(told) == len(said):
        return recent.last
    if told:
        return told[-1][0]
    return said[0][0] - 1


def _item(event: Event) -> shapes.TailItem:
    return shapes.TailItem(event.accepted_at, "accepted", event.id, type=event.draft.type, key=event.draft.key)


def _position(offsets: Mapping[Shard, int], record: int) -> Position:
    streams: dict[str, list[int]] = {}
    for shard, offset in sorted(offsets.items()):
        streams.setdefault(shard.stream, []).append(offset)
    return Position(streams, record)


def _text(value: object) -> str:
    return redacted_text(value[:500]) if isinstance(value, str) else str(value) if isinstance(value, int) else ""
