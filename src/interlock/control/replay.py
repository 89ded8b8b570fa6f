"""Settled events again from the log: which ones are meant, what speaks against it, and the request to their lanes.

What the store says at the moment of the command becomes a frozen set; each lane looks again when it applies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from interlock.control import shapes
from interlock.control.audit import Who
from interlock.control.commands import Commands
from interlock.control.newer import Newer, newer_delivered
from interlock.control.problem import Refused
from interlock.control.queries import Reading, one_event, paused_subscriptions, unknown
from interlock.core import limits
from interlock.core.cursor import CursorId
from interlock.core.errors import InterlockError
from interlock.core.event import Event, Shard
from interlock.core.ids import parse_event_id, stream_hash
from interlock.journal.views import EventsQuery, PassageState
from interlock.spec.problem import Fault

EVENTS_MAX: Final = limits.REQUEST_OFFSETS_MAX
"""Events of one command: each may be a row for each subscription, and a person can still say what came of them."""
SHOWN_MAX: Final = 100
"""Ids, refusals and keys in the answer: enough to follow a few."""
PER_SECOND_MAX: Final = 10_000

_STANDS: Final[Mapping[PassageState, tuple[str, str]]] = {
    "waiting": ("has not come to it yet, and will deliver it by itself", "wait for it"),
    "behind": ("has it waiting behind another event of its key", "see `interlock dead ls` for the one in front"),
    "running": ("is delivering it at this moment", "wait for it"),
    "due": ("delivers it again by itself", "wait, or `interlock dead retry --event {id}` for at once"),
    "held": ("holds it for a person", "`interlock dead retry --event {id}`, or `interlock dead skip --event {id}`"),
    "dead": ("has it among its dead letters", "`interlock dead retry --event {id}`"),
    "discarded": (
        "has it discarded",
        "`interlock dead restore --event {id}`, then `interlock dead retry --event {id}`",
    ),
    "not-read": ("never covered it: it is of another type, or from before its start", "name another subscription"),
}
"""By state: what is said of a subscription that an event is not settled in, and what to use instead."""
_NONE: Final = frozenset[str]()
_UNCOVERED: Final = ("no subscription ever covered it", "see `interlock subscriptions ls` for what each one reads")


class Chosen(NamedTuple):
    """What a command is about. `more`: the id of the last event taken, if others fit that are newer."""

    events: Sequence[Event]
    by_cursor: Mapping[CursorId, Sequence[Event]]
    passed_over: Sequence[shapes.PassedOver]
    more: str | None


async def command(reading: Reading, commands: Commands, who: Who, asked: shapes.ReplayCommand) -> shapes.ReplayAnswer:
    """Select, say what speaks against it, and unless it is a dry run, ask the lanes.

    Raises:
        Refused: `replay.unselected`, `replay.nothing`, `replay.pace`, `event.unknown`, `event.ambiguous`,
            `event.retired`, `subscription.unknown`.
    """
    chosen = await _chosen(reading, asked)
    of = sum(len(events) for events in chosen.by_cursor.values())
    if not of and chosen.passed_over:
        raise _nothing(chosen)
    takes_us = _takes_us(of, asked.per_second)
    keys = {id: {e.offset: e.draft.key for e in events} for id, events in chosen.by_cursor.items()}
    newer, is_whole = await newer_delivered(reading, keys)
    shares = await _shares(reading, chosen, newer)
    shown = list(dict.fromkeys(event.id for event in chosen.events))[:SHOWN_MAX]
    answer = shapes.ReplayAnswer(
        None, of, 0, {}, shown, shares, is_whole, chosen.passed_over[:SHOWN_MAX], chosen.more, takes_us
    )
    if asked.dry_run or not of:
        return answer
    offsets = {id: [event.offset for event in events] for id, events in chosen.by_cursor.items()}
    wait_us = max(0, min(asked.wait_us, limits.COMMAND_WAIT_US_MAX))
    done = await commands.ask(
        "replay", offsets, who, per_second=asked.per_second, wait_us=0 if asked.per_second else wait_us
    )
    return shapes.ReplayAnswer(
        done.job, of, done.applied, {**done.answers}, shown, shares, is_whole, answer.passed_over, chosen.more, takes_us
    )


def _takes_us(of: int, per_second: float | None) -> int:
    if per_second is None:
        return 0
    if not 0 < per_second <= PER_SECOND_MAX:
        raise Refused(400, "replay.pace", f"{per_second:g} events a second is no pace", "give 20/s, or 30/m")
    takes_us = int(of / per_second * limits.US_PER_SECOND)
    if takes_us > limits.REQUEST_ASKED_US:
        raise Refused(
            400,
            "replay.pace",
            f"{of} deliveries at {per_second:g} a second take longer than a day",
            "give a higher rate, or select fewer events at once",
        )
    return takes_us


async def _chosen(reading: Reading, asked: shapes.ReplayCommand) -> Chosen:
    """The events that are meant, and by which subscriptions they are settled."""
    plan = reading.plan
    # What waited for its time has been brought on, as an event of its own: that one is to be replayed.
    planned = frozenset(name for name, spec in plan.subscriptions.items() if spec.kind != "delay") if plan else _NONE
    if asked.subscription is not None and asked.subscription not in planned:
        raise unknown("subscription.unknown", asked.subscription, sorted(planned))
    meant = planned if asked.subscription is None else frozenset({asked.subscription})
    events, more = await _meant(reading, asked)
    by_cursor: dict[CursorId, list[Event]] = {}
    passed_over: list[shapes.PassedOver] = []
    for event, standing in zip(events, await reading.views.standing(events), strict=True):
        states: dict[str, PassageState] = {name: standing.get(name, "not-read") for name in sorted(meant)}
        settled = [name for name, state in states.items() if state == "settled"]
        for name in settled:
            by_cursor.setdefault(CursorId(name, event.shard), []).append(event)
        for name, state in states.items():
            # Who names event and subscription means this one; else only those are meant that had to do with it.
            is_meant = state != "not-read" or (bool(asked.events) and asked.subscription is not None)
            if state != "settled" and is_meant:
                passed_over.append(_passed_over(event, name, state))
        if asked.events and asked.subscription is None and all(state == "not-read" for state in states.values()):
            passed_over.append(shapes.PassedOver(event.id, None, "not-read", *_UNCOVERED))
    return Chosen(events, by_cursor, passed_over, more)


def _passed_over(event: Event, subscription: str, state: PassageState) -> shapes.PassedOver:
    says, instead = _STANDS[state]
    return shapes.PassedOver(event.id, subscription, state, f"{subscription} {says}", instead.format(id=event.id))


def _nothing(chosen: Chosen) -> Refused:
    """Events are meant and none of them can be replayed: each with what to do instead."""
    first = chosen.passed_over[0]
    others = len(chosen.passed_over) - 1
    return Refused(
        409,
        "replay.nothing",
        f"{first.event}: {first.says}" + (f"; and {others} more" if others else ""),
        first.instead,
        errors=[Fault(f"{each.event}: {each.says}: {each.instead}") for each in chosen.passed_over[:SHOWN_MAX]],
    )


async def _meant(reading: Reading, asked: shapes.ReplayCommand) -> tuple[Sequence[Event], str | None]:
    """The events that the members select, oldest first, and the last one if more fit."""
    query = EventsQuery(
        asked.stream, asked.type, asked.key, asked.since_at, after=asked.after, limit=EVENTS_MAX + 1, oldest=True
    )
    is_filtered = query != EventsQuery(limit=EVENTS_MAX + 1, oldest=True)
    if bool(asked.events) == is_filtered:
        raise Refused(
            400, "replay.unselected", "either ids or a filter say which events are meant", "give one of the two"
        )
    if len(asked.events) > EVENTS_MAX:
        raise Refused(
            400, "replay.unselected", f"these are more than {EVENTS_MAX} ids", "give fewer at once, or a filter"
        )
    if asked.events:
        named = [await _one(reading, id) for id in asked.events]
        found = {(event.shard, event.offset): event for event in named}
        return sorted(found.values(), key=lambda event: (event.accepted_at, event.shard, event.offset)), None
    page = (await reading.views.events(query))[::-1]
    taken = page[:EVENTS_MAX]
    more = taken[-1].id if len(page) > EVENTS_MAX else None
    # Our own streams have no subscriptions.
    return [event for event in taken if not event.shard.stream.startswith("_")], more


async def _one(reading: Reading, id: str) -> Event:
    try:
        return await one_event(reading.views, id)
    except Refused as refused:
        if refused.code == "event.unknown" and _was_retired(reading, id, await _streams(reading)):
            raise Refused(
                410,
                "event.retired",
                f"{id} was in the log, and its stream's retention has retired it",
                "ask its producer to send it again, under a new id",
            ) from None
        raise


async def _streams(reading: Reading) -> Sequence[str]:
    return [line.made.name for line in await reading.views.streams()]


def _was_retired(reading: Reading, id: str, streams: Sequence[str]) -> bool:
    """A whole id is a place in the log, so it says whether retention has passed it."""
    with suppress(InterlockError):
        place = parse_event_id(id)
        for stream in streams:
            if stream_hash(stream) == place.stream_hash:
                return place.offset < reading.journal.bounds(Shard(stream, place.shard))[0]
    return False


async def _shares(reading: Reading, chosen: Chosen, newer: Newer) -> Sequence[shapes.ReplayShare]:
    """What each subscription has to do."""
    names = sorted({id.subscription for id in chosen.by_cursor})
    paused = await paused_subscriptions(reading, names)
    effects: dict[str, set[str]] = {}
    for line in await reading.views.cursors():
        effects.setdefault(line.cursor.id.subscription, set()).update(line.cursor.effects)
    return [
        shapes.ReplayShare(
            name,
            sum(len(events) for id, events in chosen.by_cursor.items() if id.subscription == name),
            paused[name],
            sorted(effects.get(name, ())),
            sum(found.events for (subscription, _), found in newer.items() if subscription == name),
            [
                shapes.NewerOfKey(key, found.events)
                for (subscription, key), found in newer.items()
                if subscription == name
            ][:SHOWN_MAX],
        )
        for name in names
    ]
