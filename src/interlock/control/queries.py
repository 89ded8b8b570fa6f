"""Questions to the store and to the running process, answered in the shapes of the admin API. Read-only."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

import msgspec

from interlock.control import shapes
from interlock.control.dead_shapes import Moment
from interlock.control.ports import Live, LiveSystem
from interlock.control.problem import Refused
from interlock.core.controls import (
    Control,
    decode_control,
    schedule_control_key,
    subscription_control_key,
    system_control_key,
)
from interlock.core.event import Event
from interlock.core.ids import minted_at
from interlock.core.redact import redacted_headers
from interlock.journal.ports import Cells, Journal
from interlock.journal.views import CursorLine, EventsQuery, Passage, Views
from interlock.spec.deploy import KNOWN_CELL
from interlock.spec.findings import Known
from interlock.spec.plan import OnDead, Plan, ScheduleSpec
from interlock.spec.schedule import place_of

_NAMED_MAX: Final = 5
"""Candidates that an answer names."""
_NAME_CHARS_MAX: Final = 255
_OTHER_IDS: Final = {
    "fp": "it is a fingerprint: `interlock dead show` takes it",
    "job": "it is a job: `interlock dead job` takes it",
    "att": "it is an attempt: `interlock events show` of its event has it",
}
_ID_CHARS: Final = 28
_TELLING_CHARS: Final = 11
"""So much of an event's id says in which half minute it was accepted."""


class Reading(NamedTuple):
    """What a query reads. `live` is None where no process runs, `plan` where none could be loaded."""

    views: Views
    journal: Journal
    cells: Cells
    live: Live | None
    plan: Plan | None
    version: str


async def events(reading: Reading, asked: shapes.EventsAsked) -> shapes.Events:
    """A page of events, newest first."""
    if asked.id is not None:
        found = await reading.views.events_by_prefix(asked.id, bounded(asked.limit))
        return shapes.Events([event_row(event) for event in reversed(found)])
    limit = bounded(asked.limit)
    query = EventsQuery(asked.stream, asked.type, asked.key, asked.since_at, before=asked.before, limit=limit + 1)
    page = await reading.views.events(query)
    shown = page[:limit]
    return shapes.Events([event_row(event) for event in shown], shown[-1].id if len(page) > limit else None)


async def event(reading: Reading, asked: shapes.EventAsked) -> shapes.EventDetail:
    """One event with its timeline.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    found = await one_event(reading.views, asked.id)
    whole = await reading.journal.whole(found) if asked.payload else found
    draft = whole.draft
    sources = await _sources(reading.views)
    # A poll or a schedule has its cursor in the stream that it writes to; it reads nothing there.
    passages = [each for each in await reading.views.timeline(found) if each.cursor.subscription not in sources]
    seen = await reading.views.seen(found)
    text, encoded = payload_text(draft.data) if asked.payload and whole.absent is None else (None, None)
    return shapes.EventDetail(
        event=event_row(found),
        seen=shapes.Seen(1 + seen.again, seen.conflicts, seen.last_at),
        time=draft.time,
        subject=draft.subject,
        datacontenttype=draft.datacontenttype,
        dataschema=draft.dataschema,
        extensions=dict(draft.extensions),
        headers=redacted_headers(draft.headers),
        causation=draft.causation,
        traceparent=draft.traceparent,
        payload=text,
        payload_base64=encoded,
        payload_absent=whole.absent,
        subscriptions=[_passage(passage) for passage in passages],
        timeline=_timeline(found, passages),
    )


async def _sources(views: Views) -> Collection[str]:
    return {line.cursor.id.subscription for line in await views.cursors() if line.cursor.token is not None}


async def one_event(views: Views, id: str) -> Event:
    """The one event whose id begins with `id`.

    Raises:
        InterlockError: `id.malformed`; `event.unknown`, `event.ambiguous`.
    """
    kind, _, rest = id.partition("_")
    if rest and kind in _OTHER_IDS:
        raise Refused(400, "id.malformed", f"{id[:_ID_CHARS]} is not the id of an event", _OTHER_IDS[kind])
    found = await views.events_by_prefix(id, _NAMED_MAX + 1)
    if not found:
        near = await _nearest(views, id)
        remedy = f"did you mean {near}?" if near else "see `interlock events ls`"
        raise Refused(404, "event.unknown", "no event in the store has an id that begins so", remedy)
    if len(found) > 1:
        raise Refused(
            409,
            "event.ambiguous",
            f"several events have an id that begins so: {candidates([event.id for event in found])}",
            "give more of its characters",
        )
    return found[0]


def candidates(ids: Sequence[str]) -> str:
    """The first of what an ambiguous prefix may mean."""
    return ", ".join(ids[:_NAMED_MAX]) + (", ..." if len(ids) > _NAMED_MAX else "")


async def _nearest(views: Views, id: str) -> str | None:
    """The id of an event with the longest beginning in common with `id`; None if that says little."""
    for length in range(min(len(id) - 1, _ID_CHARS), _TELLING_CHARS - 1, -1):
        if found := await views.events_by_prefix(id[:length], 1):
            return found[0].id
    return None


async def subscriptions(reading: Reading, _: shapes.Nothing) -> shapes.Subscriptions:
    """All subscriptions: those of the plan, then those that only the store knows."""
    lines = await reading.views.cursors()
    known = dict.fromkeys(line.cursor.id.subscription for line in lines)
    planned = list(reading.plan.subscriptions) if reading.plan else []
    readers = reading.plan.readers if reading.plan else frozenset[str]()
    names = [*planned, *(name for name in known if name not in readers)]
    paused = await _paused(reading.cells, [subscription_control_key(name) for name in names])
    rows = [
        _subscription(name, reading.plan, [line for line in lines if line.cursor.id.subscription == name], control)
        for name, control in zip(names, paused, strict=True)
    ]
    return shapes.Subscriptions(rows)


async def subscription(reading: Reading, asked: shapes.SubscriptionAsked) -> shapes.SubscriptionDetail:
    """One subscription and its cursors.

    Raises:
        Refused: `subscription.unknown`.
    """
    listed = await subscriptions(reading, shapes.Nothing())
    row = next((row for row in listed.subscriptions if row.name == asked.name), None)
    if row is None:
        raise unknown("subscription.unknown", asked.name, [row.name for row in listed.subscriptions])
    lines = [line for line in await reading.views.cursors() if line.cursor.id.subscription == asked.name]
    return shapes.SubscriptionDetail(row, [cursor_row(line, reading.journal) for line in lines])


def unknown(code: str, name: str, known: Sequence[str]) -> Refused:
    """There is nothing of that name; what it may have been meant to be is said. `code` is `noun.unknown`."""
    noun, _, _ = code.partition(".")
    wanted = name[:_NAME_CHARS_MAX]
    last = {each.rpartition(".")[2]: each for each in known}
    near = (
        [each for each in known if wanted in each]
        or get_close_matches(wanted, known, _NAMED_MAX)
        or [last[each] for each in get_close_matches(wanted, last, _NAMED_MAX)]
    )
    meant = near[0] if len(near) == 1 else "one of " + ", ".join(near[:_NAMED_MAX])
    remedy = f"did you mean {meant}?" if near else f"see `interlock {noun}s ls`"
    return Refused(404, code, f"there is no such {noun}", remedy)


async def paused_subscriptions(reading: Reading, names: Sequence[str]) -> Mapping[str, bool]:
    """Which of these are paused."""
    found = await _paused(reading.cells, [subscription_control_key(name) for name in names])
    return {name: control.paused for name, control in zip(names, found, strict=True)}


async def systems(reading: Reading, _: shapes.Nothing) -> shapes.Systems:
    """All Systems of the plan, as this process sees them."""
    if reading.plan is None:
        return shapes.Systems([])
    names = list(reading.plan.systems)
    live = {system.name: system for system in reading.live.systems()} if reading.live else {}
    controls = await _paused(reading.cells, [system_control_key(name) for name in names])
    rows = [_system(name, reading.plan, live.get(name), control) for name, control in zip(names, controls, strict=True)]
    return shapes.Systems(rows)


async def schedules(reading: Reading, _: shapes.Nothing) -> shapes.Schedules:
    """All schedules of the plan, each with its last run and the time that it runs for next."""
    if reading.plan is None:
        return shapes.Schedules([])
    tokens = {line.cursor.id.subscription: line.cursor.token for line in await reading.views.cursors()}
    specs = reading.plan.schedules
    controls = await _paused(reading.cells, [schedule_control_key(spec.name) for spec in specs])
    return shapes.Schedules(
        [
            _schedule(spec, tokens.get(spec.name), reading.plan, control)
            for spec, control in zip(specs, controls, strict=True)
        ]
    )


async def streams(reading: Reading, _: shapes.Nothing) -> shapes.Streams:
    """All streams with the bounds of their shards."""
    return shapes.Streams(
        [
            shapes.StreamRow(
                line.made.name,
                line.made.shards,
                line.made.created_at,
                [oldest for oldest, _ in line.bounds],
                [newest for _, newest in line.bounds],
                line.events,
                line.bytes,
                line.full,
            )
            for line in await reading.views.streams()
        ]
    )


async def plan(reading: Reading, _: shapes.Nothing) -> shapes.PlanInfo:
    """What runs.

    Raises:
        Refused: `plan.missing`, where there is none.
    """
    held = reading.plan
    if held is None:
        raise Refused(404, "plan.missing", "no plan is loaded", "run `interlock check` in the project's folder")
    return shapes.PlanInfo(
        held.digest,
        reading.version,
        [integration.name for integration in held.integrations],
        list(held.systems),
        list(held.subscriptions),
        [webhook.name for webhook in held.webhooks],
        list(held.types),
        [stream.name for stream in held.streams],
    )


async def known(reading: Reading, _: shapes.Nothing) -> Known:
    """What the store remembers of the plans that it ran; nothing where it ran none."""
    cell = (await reading.cells.get([KNOWN_CELL])).get(KNOWN_CELL)
    return msgspec.json.decode(cell.value, type=Known) if cell else Known()


def event_row(event: Event) -> shapes.EventRow:
    """An event as a row."""
    draft = event.draft
    return shapes.EventRow(
        event.id,
        event.shard.stream,
        event.shard.number,
        event.offset,
        draft.type,
        draft.source,
        draft.id,
        draft.key,
        event.accepted_at,
        event.size,
        event.erased_at,
    )


def cursor_row(line: CursorLine, journal: Journal) -> shapes.CursorRow:
    """A cursor as a row."""
    cursor = line.cursor
    return shapes.CursorRow(
        cursor.id.subscription,
        cursor.id.shard.stream,
        cursor.id.shard.number,
        cursor.start,
        cursor.floor,
        cursor.above.bit_count(),
        journal.bounds(cursor.id.shard)[1],
        cursor.counters.delivered,
        cursor.counters.filtered,
        cursor.counters.discarded,
        _stragglers([line]),
        line.behind,
        sum(line.lag.values()),
        line.oldest_at,
        imbalance(line),
        cursor.counters.late,
    )


def imbalance(line: CursorLine) -> int:
    """Left side minus right side of the conservation equation, as the cursor's own counters have it."""
    cursor, counters = line.cursor, line.cursor.counters
    accounted = cursor.floor - cursor.start + cursor.above.bit_count()
    settled = counters.delivered + counters.filtered + counters.discarded
    return accounted - settled - sum(_stragglers([line]).values()) - line.behind


def _subscription(
    name: str, plan: Plan | None, lines: Sequence[CursorLine], control: Control
) -> shapes.SubscriptionRow:
    spec = plan.subscriptions.get(name) if plan else None
    counters = [line.cursor.counters for line in lines]
    oldest = [line.oldest_at for line in lines if line.oldest_at is not None]
    return shapes.SubscriptionRow(
        name=name,
        planned=None if plan is None else spec is not None,
        kind=spec.kind if spec else "",
        stream=spec.stream if spec else lines[0].cursor.id.shard.stream if lines else "",
        types=sorted(spec.type_ids) if spec else [],
        owner=owner_of(plan, spec.integration) if plan and spec else "",
        order=spec.order if spec else "",
        on_dead=_on_dead(spec.on_dead) if spec else "",
        paused=control.paused,
        by=control.by,
        reason=control.reason,
        lag=sum(sum(line.lag.values()) for line in lines),
        oldest_at=min(oldest, default=None),
        delivered=sum(counter.delivered for counter in counters),
        filtered=sum(counter.filtered for counter in counters),
        discarded=sum(counter.discarded for counter in counters),
        stragglers=_stragglers(lines),
        behind=sum(line.behind for line in lines),
        late=sum(counter.late for counter in counters),
    )


def _schedule(spec: ScheduleSpec, token: str | None, plan: Plan, control: Control) -> shapes.ScheduleRow:
    place = None if token is None else place_of(token)
    return shapes.ScheduleRow(
        name=spec.name,
        owner=owner_of(plan, spec.integration),
        times=str(spec.times),
        missed=spec.missed,
        last_at=place and place.ran,
        next_at=place and spec.times.after(place.at),
        paused=control.paused,
        by=control.by,
        reason=control.reason,
    )


def _system(name: str, plan: Plan, live: LiveSystem | None, control: Control) -> shapes.SystemRow:
    binding = plan.bindings.get(name)
    return shapes.SystemRow(
        name=name,
        owner=owner_of(plan, plan.systems[name].integration),
        url=binding.url if binding else None,
        breaker=live.breaker if live else None,
        paused=control.paused,
        by=control.by,
        reason=control.reason,
        running=live.running if live else 0,
        waiting=live.waiting if live else 0,
        probe_at=live.probe_at if live else None,
    )


def owner_of(plan: Plan, integration: str) -> str:
    """Who owns an integration of the plan."""
    return next((spec.owner for spec in plan.integrations if spec.name == integration), "")


def _on_dead(on_dead: OnDead) -> str:
    return on_dead.kind if on_dead.after_us is None else f"{on_dead.kind}({on_dead.after_us // 1_000_000} s)"


def _stragglers(lines: Sequence[CursorLine]) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for line in lines:
        for state, count in line.rows.items():
            if count and state != "discarded":
                counted[state] = counted.get(state, 0) + count
    return counted


async def _paused(cells: Cells, keys: Sequence[str]) -> list[Control]:
    found = await cells.get(keys)
    return [decode_control(found[key].value) if key in found else Control() for key in keys]


def payload_text(data: bytes) -> tuple[str | None, str | None]:
    """A payload as text, or in base64 where it is not UTF-8."""
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(data).decode()


def _passage(passage: Passage) -> shapes.PassageRow:
    row = passage.row
    attempts = len(passage.successes) + len(passage.attempts)
    return shapes.PassageRow(
        passage.cursor.subscription,
        passage.state,
        attempts,
        row.due_at if row else None,
        row.reason if row else None,
        row.error if row else None,
        row.fingerprint if row else None,
        row.trigger if row else "auto",
        row.job if row else None,
        row.actor if row else None,
        row.why if row else None,
    )


def _timeline(event: Event, passages: Sequence[Passage]) -> list[Moment]:
    found = [Moment(event.accepted_at, "accepted")]
    for passage in passages:
        found += moments(passage)
    return sorted(found, key=lambda moment: moment.at)


def moments(passage: Passage) -> list[Moment]:
    """What happened to an event with one subscription, in no order."""
    name = passage.cursor.subscription
    found = [
        Moment(
            done.started_at,
            "attempt",
            name,
            "filtered" if done.filtered else "done",
            duration_us=done.duration_us,
            status=done.status,
        )
        for done in passage.successes
    ]
    found += [
        Moment(
            attempt.started_at,
            "attempt",
            name,
            "filtered" if attempt.filtered else attempt.outcome,
            attempt.number,
            attempt.id,
            attempt.duration_us,
            attempt.status,
            attempt.error,
            attempt.detail,
            attempt.system,
            attempt.fingerprint,
            attempt.request,
            attempt.response,
            attempt.trigger,
            attempt.actor,
            attempt.trace,
            attempt.job,
            attempt.why,
        )
        for attempt in passage.attempts
    ]
    found += _put_back(passage)
    if passage.row is not None and passage.row.died_at is not None:
        row = passage.row
        found.append(Moment(row.died_at or 0, "died", name, detail=row.reason or ""))
    return found


def _put_back(passage: Passage) -> Iterator[Moment]:
    """One moment for each time that a person put the event back, as far as attempts or the row tell of it."""
    told = [*passage.attempts, *([passage.row] if passage.row else [])]
    for job, one in {one.job: one for one in reversed(told) if one.job is not None}.items():
        at = minted_at(job)
        if at is not None:
            yield Moment(
                at, one.trigger, passage.cursor.subscription, actor=one.actor, job=job, why=one.why, trigger=one.trigger
            )


def bounded(limit: int) -> int:
    """A page's size within its bounds."""
    return max(1, min(limit, shapes.PAGE_MAX))
