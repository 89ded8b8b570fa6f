"""Which dead letters are meant: from the members of a selection to rows, and to their events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import msgspec

from interlock.control import shapes
from interlock.control.problem import Refused
from interlock.control.queries import Reading, candidates, one_event
from interlock.core.cursor import CursorId, RowState
from interlock.core.event import Event, Shard
from interlock.core.pointer import PointerError, found_at, is_same
from interlock.journal.ports import Journal, Retired
from interlock.journal.views import RowLine, RowsQuery, Views

PAGE: Final = 1_000
"""Rows that are read at once."""
FINGERPRINT_CHARS: Final = 15
STATES: Final = frozenset[RowState]({"dead", "held", "discarded"})
_CONDITIONS_MAX: Final = 20
Place = tuple[Shard, int]


class Selection(NamedTuple):
    """A selection that has been read. `where`: conditions on payloads; `after`: the row that it begins behind."""

    asked: shapes.DeadSelection
    fingerprint: str | None
    where: Mapping[str, Any]  # Any: JSON.
    after: tuple[CursorId, int] | None = None

    def fits(self, line: RowLine) -> bool:
        """Whether a row is meant, as far as it can tell."""
        asked, row = self.asked, line.row
        at = row.died_at or row.first_failed_at or 0
        return (
            asked.subscription in (None, line.cursor.subscription)
            and asked.system in (None, row.system)
            and asked.key in (None, row.key)
            and self.fingerprint in (None, row.fingerprint)
            and (asked.since_at is None or at >= asked.since_at)
            and (asked.until_at is None or at < asked.until_at)
        )

    def fits_payload(self, data: bytes) -> bool:
        """Whether the payload has the values that it must have."""
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return False
        return all(is_same(found_at(value, pointer), wanted) for pointer, wanted in self.where.items())


async def read(reading: Reading, asked: shapes.DeadSelection) -> Selection:
    """Read a selection.

    Raises:
        Refused: `dead.unknown`, `dead.ambiguous`, `dead.where-malformed`.
    """
    fingerprint = None if asked.fingerprint is None else await _whole(reading, asked.fingerprint)
    return Selection(asked, fingerprint, _conditions(asked.where))


def is_empty(asked: shapes.DeadSelection) -> bool:
    """Whether nothing says which are meant."""
    members = shapes.DeadSelection.__struct_fields__
    return all(getattr(asked, name) is None for name in members)


async def selected(
    reading: Reading, selection: Selection, states: frozenset[RowState], limit: int
) -> Sequence[RowLine]:
    """The rows that are meant and in one of these states, at most `limit`; by subscription, shard and offset.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    found: list[RowLine] = []
    async for lines in _pages(reading, selection, states):
        found += await _with_payload(reading.journal, selection, lines)
        if len(found) >= limit:
            break
    return found[:limit]


async def _pages(reading: Reading, selection: Selection, states: frozenset[RowState]) -> AsyncIterator[list[RowLine]]:
    asked = selection.asked
    if asked.event is not None:
        lines = await of_event(reading.views, asked.event)
        yield [line for line in lines if line.row.state in states and selection.fits(line)]
        return
    after = selection.after
    while True:
        # What is `due` goes on by itself: only a person who names the event means it.
        query = RowsQuery(asked.subscription, states - {"due", "running"}, selection.fingerprint, after, PAGE)
        lines = await reading.views.rows(query)
        yield [line for line in lines if selection.fits(line)]
        if len(lines) < PAGE:
            return
        after = (lines[-1].cursor, lines[-1].row.offset)


async def _with_payload(journal: Journal, selection: Selection, lines: list[RowLine]) -> list[RowLine]:
    if not selection.where or not lines:
        return lines
    events = await events_of(journal, lines)
    found: list[RowLine] = []
    for line in lines:
        event = events.get(place_of(line))
        if event is not None and selection.fits_payload((await journal.whole(event)).draft.data):
            found.append(line)
    return found


async def of_event(views: Views, id: str) -> list[RowLine]:
    """The rows of one event, by its id or a unique prefix.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    passages = await views.timeline(await one_event(views, id))
    return [RowLine(passage.cursor, passage.row) for passage in passages if passage.row is not None]


def _conditions(where: str | None) -> Mapping[str, Any]:
    if where is None:
        return {}
    try:
        conditions = msgspec.json.decode(where, type=dict[str, Any])
        for pointer in conditions:
            found_at(None, pointer)
    except (msgspec.DecodeError, RecursionError, PointerError) as error:
        raise Refused(
            400, "dead.where-malformed", f"the conditions on the payload cannot be read: {error}", _WHERE
        ) from None
    if len(conditions) > _CONDITIONS_MAX:
        raise Refused(400, "dead.where-malformed", f"these are more than {_CONDITIONS_MAX} conditions", "give fewer")
    return conditions


_WHERE: Final = "write each as a JSON pointer and a value: /lines/0/sku=S-9"


async def _whole(reading: Reading, prefix: str) -> str:
    """The one fingerprint that begins so."""
    known = await _fingerprints(reading)
    found = {fingerprint for fingerprint in known if fingerprint.startswith(prefix)}
    if not found:
        near = get_close_matches(prefix[: 2 * FINGERPRINT_CHARS], sorted(known), 1)
        remedy = f"did you mean {near[0]}?" if near else "see `interlock dead ls`"
        raise Refused(404, "dead.unknown", "no dead letter that fits has such a fingerprint", remedy)
    if len(found) > 1:
        told = f"several fingerprints begin so: {candidates(sorted(found))}"
        raise Refused(409, "dead.ambiguous", told, "give more of its characters")
    return found.pop()


async def _fingerprints(reading: Reading) -> set[str]:
    """All of them: of the dead from their groups, of the others, which are few by their nature, from their rows."""
    found = {group.fingerprint for group in await reading.views.dead_groups()}
    rows = await reading.views.rows(RowsQuery(states=STATES - {"dead"}, limit=10 * PAGE))
    return (found | {line.row.fingerprint or "" for line in rows}) - {""}


async def events_of(journal: Journal, lines: Sequence[RowLine]) -> dict[Place, Event]:
    """The events of rows, in the rows' order; those that were retired without being kept are left out."""
    by_shard: dict[Shard, set[int]] = {}
    for shard, offset in map(place_of, lines):
        by_shard.setdefault(shard, set()).add(offset)
    found: dict[Place, Event] = {}
    for shard, offsets in by_shard.items():
        for event in await _fetched(journal, shard, sorted(offsets)):
            found[shard, event.offset] = event
    return {place: found[place] for place in map(place_of, lines) if place in found}


async def _fetched(journal: Journal, shard: Shard, offsets: Sequence[int]) -> Sequence[Event]:
    while offsets:
        try:
            return await journal.fetch(shard, offsets)
        except Retired as retired:
            offsets = [offset for offset in offsets if offset != retired.offset]
    return ()


def place_of(line: RowLine) -> Place:
    """Where the event of a row stands."""
    return line.cursor.shard, line.row.offset
