"""Questions to the store and to the running process, answered in the shapes of the admin API. Read-only."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from interlock.control import shapes
from interlock.control.ports import Live, LiveSystem
from interlock.control.problem import Refused
from interlock.core.controls import Control, decode_control, subscription_control_key, system_control_key
from interlock.core.cursor import RowState
from interlock.core.event import Event, Shard
from interlock.core.ids import event_id
from interlock.core.redact import redacted_headers
from interlock.journal.ports import Cells, Journal
from interlock.journal.views import CursorView, DeadGroup, EventQuery, FoundRow, Life, RowQuery, Views
from interlock.spec.plan import OnDead, Plan

PERSON_STATES: Final[tuple[RowState, ...]] = ("dead", "held")
"""Stragglers that need a person."""


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
        found = await reading.views.event_by_prefix(asked.id, _bounded(asked.limit))
        return shapes.Events([event_row(event) for event in found])
    limit = _bounded(asked.limit)
    query = EventQuery(asked.stream, asked.type, asked.key, asked.since_at, asked.before, limit + 1)
    page = await reading.views.events(query)
    shown = page[:limit]
    return shapes.Events([event_row(event) for event in shown], shown[-1].id if len(page) > limit else None)


async def event(reading: Reading, asked: shapes.EventAsked) -> shapes.EventDetail:
    """One event with its timeline.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    found = await one_event(reading.views, asked.id)
    draft = found.draft
    lives = await reading.views.timeline(found.shard, found.offset)
    text, encoded = _payload(draft.data) if asked.payload else (None, None)
    return shapes.EventDetail(
        event=event_row(found),
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
        timeline=_timeline(found, lives),
    )


async def one_event(views: Views, id: str) -> Event:
    """The one event whose id begins with `id`.

    Raises:
        Refused: `event.unknown`, `event.ambiguous`.
    """
    found = await views.event_by_prefix(id, 2)
    if not found:
        raise Refused(
            404, "event.unknown", "no event in the store has an id that begins so", "see `interlock events ls`"
        )
    if len(found) > 1:
        raise Refused(409, "event.ambiguous", "several events have an id that begins so", "give more of its characters")
    return found[0]


async def dead(reading: Reading, asked: shapes.DeadAsked) -> shapes.DeadGroups:
    """Causes, the latest first."""
    states: tuple[RowState, ...] = ("discarded",) if asked.discarded else PERSON_STATES
    query = RowQuery(states, asked.subscription, asked.system, limit=_bounded(asked.limit))
    groups = [_group(group) for group in await reading.views.dead_groups(query)]
    return shapes.DeadGroups(groups, sum(group.count for group in groups))


async def dead_letters(reading: Reading, asked: shapes.DeadShow) -> shapes.DeadLetters:
    """The dead letters of one cause.

    Raises:
        Refused: `dead.unknown`, `dead.ambiguous`.
    """
    limit = _bounded(asked.limit)
    rows = await reading.views.find_rows(
        RowQuery((*PERSON_STATES, "discarded"), fingerprint=asked.fingerprint, limit=limit + 1)
    )
    one_fingerprint(rows)
    return shapes.DeadLetters([dead_letter(row) for row in rows[:limit]], len(rows) > limit)


def one_fingerprint(rows: Sequence[FoundRow]) -> None:
    """See that rows found by a prefix of a fingerprint are of one.

    Raises:
        Refused: `dead.unknown` for none, `dead.ambiguous` for several.
    """
    prints = {found.row.fingerprint for found in rows}
    if not prints:
        raise Refused(404, "dead.unknown", "no dead letter has a fingerprint that begins so", "see `interlock dead ls`")
    if len(prints) > 1:
        raise Refused(409, "dead.ambiguous", "several fingerprints begin so", "give more of its characters")


async def subscriptions(reading: Reading, _: shapes.Nothing) -> shapes.Subscriptions:
    """All subscriptions: those of the plan, then those that only the store knows."""
    views = await reading.views.cursors()
    known = dict.fromkeys(view.cursor.id.subscription for view in views)
    planned = list(reading.plan.subscriptions) if reading.plan else []
    names = [*planned, *(name for name in known if name not in planned)]
    paused = await _paused(reading.cells, [subscription_control_key(name) for name in names])
    rows = [
        _subscription(name, reading.plan, [view for view in views if view.cursor.id.subscription == name], control)
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
        raise subscription_unknown()
    views = await reading.views.cursors()
    return shapes.SubscriptionDetail(row, [cursor_row(v) for v in views if v.cursor.id.subscription == asked.name])


def subscription_unknown() -> Refused:
    """Neither the plan nor the store knows it."""
    return Refused(404, "subscription.unknown", "there is no such subscription", "see `interlock subscriptions ls`")


def system_unknown() -> Refused:
    """The plan does not know it."""
    return Refused(404, "system.unknown", "there is no such System", "see `interlock systems ls`")


async def systems(reading: Reading, _: shapes.Nothing) -> shapes.Systems:
    """All Systems of the plan, as this process sees them."""
    if reading.plan is None:
        return shapes.Systems([])
    names = list(reading.plan.systems)
    live = {system.name: system for system in reading.live.systems()} if reading.live else {}
    controls = await _paused(reading.cells, [system_control_key(name) for name in names])
    rows = [_system(name, reading.plan, live.get(name), control) for name, control in zip(names, controls, strict=True)]
    return shapes.Systems(rows)


async def streams(reading: Reading, _: shapes.Nothing) -> shapes.Streams:
    """All streams with the bounds of their shards."""
    found: list[shapes.StreamRow] = []
    for stream in await reading.views.streams():
        bounds = [
            reading.journal.bounds(shard) for shard in [Shard(stream.name, number) for number in range(stream.shards)]
        ]
        oldest, newest = [first for first, _ in bounds], [last for _, last in bounds]
        found.append(shapes.StreamRow(stream.name, stream.shards, stream.created_at, oldest, newest))
    return shapes.Streams(found)


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
        len(draft.data),
    )


def dead_letter(found: FoundRow) -> shapes.DeadLetter:
    """A straggler as a row."""
    row, shard = found.row, found.cursor.shard
    return shapes.DeadLetter(
        event_id(found.accepted_at, shard.stream, shard.number, row.offset),
        found.cursor.subscription,
        shard.stream,
        shard.number,
        row.offset,
        row.type,
        row.key,
        row.state,
        row.reason,
        row.error,
        row.status,
        row.system,
        row.fingerprint,
        row.attempts_total,
        row.first_failed_at,
        row.died_at,
        row.replays,
    )


def cursor_row(view: CursorView) -> shapes.CursorRow:
    """A cursor as a row."""
    cursor = view.cursor
    return shapes.CursorRow(
        cursor.id.subscription,
        cursor.id.shard.stream,
        cursor.id.shard.number,
        cursor.start,
        cursor.floor,
        cursor.above.bit_count(),
        view.newest,
        cursor.counters.delivered,
        cursor.counters.filtered,
        cursor.counters.discarded,
        _stragglers([view]),
        view.behind,
        view.lag,
        view.imbalance,
    )


def _group(group: DeadGroup) -> shapes.DeadGroup:
    sample = dead_letter(group.sample)
    return shapes.DeadGroup(
        group.fingerprint,
        group.subscription,
        sample.system,
        sample.error or sample.reason or "",
        sample.status,
        group.count,
        group.held,
        group.keys,
        group.first_at,
        group.last_at,
        sample.event,
    )


def _subscription(
    name: str, plan: Plan | None, views: Sequence[CursorView], control: Control
) -> shapes.SubscriptionRow:
    spec = plan.subscriptions.get(name) if plan else None
    counters = [view.cursor.counters for view in views]
    return shapes.SubscriptionRow(
        name=name,
        planned=spec is not None,
        kind=spec.kind if spec else "",
        stream=spec.stream if spec else views[0].cursor.id.shard.stream if views else "",
        types=sorted(spec.type_ids) if spec else [],
        owner=_owner(plan, spec.integration) if plan and spec else "",
        order=spec.order if spec else "",
        on_dead=_on_dead(spec.on_dead) if spec else "",
        paused=control.paused,
        lag=sum(view.lag for view in views),
        delivered=sum(counter.delivered for counter in counters),
        filtered=sum(counter.filtered for counter in counters),
        discarded=sum(counter.discarded for counter in counters),
        stragglers=_stragglers(views),
        behind=sum(view.behind for view in views),
    )


def _system(name: str, plan: Plan, live: LiveSystem | None, control: Control) -> shapes.SystemRow:
    binding = plan.bindings.get(name)
    return shapes.SystemRow(
        name=name,
        owner=_owner(plan, plan.systems[name].integration),
        url=binding.url if binding else None,
        breaker=live.breaker if live else None,
        paused=control.paused,
        by=control.by,
        reason=control.reason,
        running=live.running if live else 0,
        waiting=live.waiting if live else 0,
        probe_at=live.probe_at if live else None,
    )


def _owner(plan: Plan, integration: str) -> str:
    return next((spec.owner for spec in plan.integrations if spec.name == integration), "")


def _on_dead(on_dead: OnDead) -> str:
    return on_dead.kind if on_dead.after_us is None else f"{on_dead.kind}({on_dead.after_us // 1_000_000} s)"


def _stragglers(views: Sequence[CursorView]) -> Mapping[str, int]:
    counted: dict[str, int] = {}
    for view in views:
        for state, count in view.rows.items():
            if count and state != "discarded":
                counted[state] = counted.get(state, 0) + count
    return counted


async def _paused(cells: Cells, keys: Sequence[str]) -> list[Control]:
    found = await cells.get(keys)
    return [decode_control(found[key].value) if key in found else Control() for key in keys]


def _payload(data: bytes) -> tuple[str | None, str | None]:
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(data).decode()


def _timeline(event: Event, lives: Sequence[Life]) -> list[shapes.Moment]:
    moments = [shapes.Moment(event.accepted_at, "accepted")]
    for life in lives:
        moments += _moments(life)
    return sorted(moments, key=lambda moment: moment.at)


def _moments(life: Life) -> list[shapes.Moment]:
    name = life.cursor.subscription
    found = [
        shapes.Moment(
            success.started_at,
            "attempt",
            name,
            "done",
            duration_us=success.duration_us,
            status=success.status,
        )
        for success in life.successes
    ]
    found += [
        shapes.Moment(
            attempt.started_at,
            "attempt",
            name,
            attempt.outcome,
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
        )
        for attempt in life.attempts
    ]
    row = life.row
    if row is not None:
        at = row.died_at or row.due_at or row.since or 0
        detail = row.reason or ""
        found.append(
            shapes.Moment(at, "state", name, row.state, row.attempts_total, error=row.error or "", detail=detail)
        )
    return found


def _bounded(limit: int) -> int:
    return max(1, min(limit, shapes.PAGE_MAX))
