"""The JSON shapes of the admin API: what it takes and what it gives. The CLI reads the same structs.

Instants are integer microseconds since the epoch (`_at`), durations integer microseconds (`_us`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from interlock.control.dead_shapes import DeadDetail, DeadRehearsal, Moment, Resolution
from interlock.control.ports import BreakerState
from interlock.core.cursor import RowState, Trigger
from interlock.core.event import Absence
from interlock.journal.views import PassageState

PAGE_MAX = 200
"""Rows of one answer at most; `more` says that there are others."""
REASON_CHARS_MAX = 500

Name = str


class Nothing(msgspec.Struct, frozen=True):
    """Takes nothing."""


class EventsAsked(msgspec.Struct, frozen=True):
    """Which events: newest first, below `before` if given. `id` may be a prefix."""

    stream: str | None = None
    type: str | None = None
    key: str | None = None
    id: str | None = None
    since_at: int | None = None
    before: str | None = None
    limit: int = 50


class EventRow(msgspec.Struct, frozen=True):
    """An event in a list. `source_id` is the producer's id; `id` is ours.

    `erased_at`: its content was erased then; `source_id` is a hash.
    """

    id: str
    stream: str
    shard: int
    offset: int
    type: str
    source: str
    source_id: str
    key: str | None
    accepted_at: int
    payload_bytes: int
    erased_at: int | None = None


class Events(msgspec.Struct, frozen=True):
    """A page of events; `next` is the `before` of the next page, None at the end."""

    events: Sequence[EventRow]
    next: str | None = None


class EventAsked(msgspec.Struct, frozen=True):
    """One event, by its id or a unique prefix of it."""

    id: str
    payload: bool = True


class PassageRow(msgspec.Struct, frozen=True):
    """How an event stands with one subscription at this moment; `due_at` is when it is attempted next, if it waits.

    `trigger` is `retry` or `replay` if a person put it back; `job`, `actor` and `why` are of that request.
    """

    subscription: str
    state: PassageState
    attempts: int
    due_at: int | None
    reason: str | None
    error: str | None
    fingerprint: str | None
    trigger: Trigger
    job: str | None
    actor: str | None
    why: str | None


class Seen(msgspec.Struct, frozen=True):
    """How often an event came: `times`, the first included; it is recorded once.

    `conflicts` of those times brought another payload, which was not recorded. `last_at`: None if it came once.
    """

    times: int
    conflicts: int
    last_at: int | None


class EventDetail(msgspec.Struct, frozen=True):
    """An event with its payload and its timeline. `payload` is text; `payload_base64` holds what is not UTF-8.

    `payload_absent`: why the file of a large payload could not be read.
    """

    event: EventRow
    seen: Seen
    time: str | None
    subject: str | None
    datacontenttype: str
    dataschema: str | None
    extensions: Mapping[str, str]
    headers: Sequence[tuple[str, str]]
    causation: str | None
    traceparent: str | None
    payload: str | None
    payload_base64: str | None
    payload_absent: Absence | None
    subscriptions: Sequence[PassageRow]
    timeline: Sequence[Moment]


class DeadSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which stragglers that need a person: those that fit all the members given.

    `fingerprint` and `event` may be unique prefixes. `since_at` and `until_at` bound when it died, or first failed.
    `where` is a JSON object: by JSON pointer (RFC 6901) into the payload, the value that must stand there.
    """

    fingerprint: str | None = None
    event: str | None = None
    subscription: str | None = None
    system: str | None = None
    key: str | None = None
    since_at: int | None = None
    until_at: int | None = None
    where: str | None = None


class DeadAsked(DeadSelection, frozen=True, kw_only=True):
    """Groups of those that are dead or held, or of those discarded."""

    discarded: bool = False
    limit: int = 50


class DeadGroup(msgspec.Struct, frozen=True):
    """Failures with the same cause. `sample` is the id of one of their events, None if that cannot be read any more.

    `count` includes the `held` ones. Rows that no failure made (skipped by a person) have no fingerprint.
    """

    fingerprint: str
    subscription: str
    system: str | None
    error: str
    status: int | None
    count: int
    held: int
    first_at: int
    last_at: int
    sample: str | None


class DeadGroups(msgspec.Struct, frozen=True):
    """Groups, the latest first."""

    groups: Sequence[DeadGroup]
    events: int


class DeadShow(DeadSelection, frozen=True, kw_only=True):
    """Dead letters: of one group, or all that fit."""

    limit: int = 50


class DeadPage(DeadSelection, frozen=True, kw_only=True):
    """Dead letters in full, a page at a time; `after` is the `next` of the page before."""

    after: str | None = None


class DeadLetter(msgspec.Struct, frozen=True):
    """A straggler that needs a person; `event` is None if its event cannot be read any more.

    `resolution` says where it stands: `replaying` after a retry, `replayed` when that has settled it, `edited` if
    another event stands for it. `detail`: of a letter that is shown alone.
    """

    event: str | None
    subscription: str
    stream: str
    shard: int
    offset: int
    type: str
    key: str | None
    state: RowState
    reason: str | None
    error: str | None
    status: int | None
    system: str | None
    fingerprint: str | None
    attempts: int
    first_failed_at: int | None
    died_at: int | None
    replays: int
    resolution: Resolution = "open"
    detail: DeadDetail | None = None


class DeadLetters(msgspec.Struct, frozen=True):
    """Dead letters; `more` says that there are others beyond the limit."""

    letters: Sequence[DeadLetter]
    more: bool = False


Newer = Literal["send-anyway", "supersede"]


class DeadCommand(DeadSelection, frozen=True, kw_only=True):
    """What to act on, of which one member at least must be given; with `dry_run` nothing is asked of any lane.

    Of `retry` only: `canary` first ones must end well before the others follow, `per_second` spreads them over time,
    `stop_percent` stops when more than that share fails again. `newer` says what becomes of those whose key has had
    newer events delivered: `supersede` discards them.
    """

    reason: str = ""
    actor: str = ""
    keep_memo: bool = True
    canary: int = 0
    per_second: float | None = None
    stop_percent: float | None = None
    newer: Newer | None = None
    wait_us: int = 5_000_000
    dry_run: bool = False


class NewerOfKey(msgspec.Struct, frozen=True):
    """So many newer events of a key have been delivered already."""

    key: str
    events: int


class DeadAnswer(msgspec.Struct, frozen=True):
    """What came of it: `applied` of `of` events have an answer; `answers` counts them by kind.

    `events` names the first of them. `more` says that others fit but were over the bound of one command. `superseded`
    of them have newer events of their key delivered, by key in `newer`; the job `superseded_job` has discarded them.
    `newer_counted`: all there are were counted. `rehearsal`: of a dry run with today's code.
    """

    job: str | None
    of: int
    applied: int
    answers: Mapping[str, int]
    events: Sequence[str]
    more: bool = False
    superseded: int = 0
    superseded_job: str | None = None
    newer: Sequence[NewerOfKey] = ()
    newer_counted: bool = True
    rehearsal: DeadRehearsal | None = None


class ReplayCommand(msgspec.Struct, frozen=True):
    """Which settled events are delivered again: `events` (ids or unique prefixes), or all that fit the filter.

    The filter is `stream`, `type`, `key`, `since_at` and `after` (an event's id); of those that fit, the oldest are
    taken. `subscription` None: each that has settled one. `per_second` spreads them over time. With `dry_run` nothing
    is asked of any lane.
    """

    events: Sequence[str] = ()
    stream: str | None = None
    type: str | None = None
    key: str | None = None
    since_at: int | None = None
    after: str | None = None
    subscription: Name | None = None
    per_second: float | None = None
    reason: str = ""
    actor: str = ""
    wait_us: int = 5_000_000
    dry_run: bool = False


class ReplayShare(msgspec.Struct, frozen=True):
    """What one subscription is asked to deliver again.

    `effects` are those of its calls that are not `keyed`: nothing but their receiver stops them from acting twice.
    `newer` counts events of the same keys that it has delivered since, by key in `keys`.
    """

    subscription: Name
    events: int
    paused: bool
    effects: Sequence[str]
    newer: int
    keys: Sequence[NewerOfKey]


class PassedOver(msgspec.Struct, frozen=True):
    """An event that is not replayed, why not, and what to do instead; `subscription` None: of none."""

    event: str
    subscription: Name | None
    state: PassageState
    says: str
    instead: str


class ReplayAnswer(msgspec.Struct, frozen=True):
    """What came of it: `applied` of `of` deliveries have an answer; `answers` counts them by kind.

    `newer_counted`: the shares' `newer` counts all there are, and is not a lower bound. `more`: others fit; give this
    id as `after` for them. `takes_us`: over how long the deliveries are spread.
    """

    job: str | None
    of: int
    applied: int
    answers: Mapping[str, int]
    events: Sequence[str]
    shares: Sequence[ReplayShare]
    newer_counted: bool
    passed_over: Sequence[PassedOver]
    more: str | None
    takes_us: int


class ControlCommand(msgspec.Struct, frozen=True):
    """Pause or resume one subject."""

    name: Name
    reason: str = ""
    actor: str = ""
    dry_run: bool = False


class ControlAnswer(msgspec.Struct, frozen=True):
    """The subject's state after it; `applied` of `of` processes act on it."""

    name: Name
    paused: bool
    applied: int
    of: int


class ReloadCommand(msgspec.Struct, frozen=True):
    """Read the settings again. With `dry_run` nothing changes."""

    reason: str = ""
    actor: str = ""
    dry_run: bool = False


class ReloadAnswer(msgspec.Struct, frozen=True):
    """What was taken over: all secrets, `systems` that are bound anew, so many `certificates` as their files are.

    `waiting` has the tables whose change waits for a restart, `empty` the secrets whose source holds nothing.
    """

    systems: Sequence[str]
    certificates: int
    waiting: Sequence[str]
    empty: Sequence[str]


class SubscriptionAsked(msgspec.Struct, frozen=True):
    """One subscription."""

    name: Name


class CursorRow(msgspec.Struct, frozen=True):
    """A subscription's place in one shard, with the two sides of the conservation equation.

    `imbalance` is left side minus right side: anything but 0 is a bug. `lag` counts events of its types above the
    floor, of which the first was accepted at `oldest_at`. `late`: how often one was filtered because a newer one of its
    key had been delivered.
    """

    subscription: str
    stream: str
    shard: int
    start: int
    floor: int
    above: int
    newest: int
    delivered: int
    filtered: int
    discarded: int
    stragglers: Mapping[str, int]
    behind: int
    lag: int
    oldest_at: int | None
    imbalance: int
    late: int


class SubscriptionRow(msgspec.Struct, frozen=True):
    """A subscription, summed over its shards.

    `planned` is False for one that only the store knows, None where no plan was there to compare with. `by` and
    `reason` are of the last pause or resume.
    """

    name: Name
    planned: bool | None
    kind: str
    stream: str
    types: Sequence[str]
    owner: str
    order: str
    on_dead: str
    paused: bool
    by: str
    reason: str
    lag: int
    oldest_at: int | None
    delivered: int
    filtered: int
    discarded: int
    stragglers: Mapping[str, int]
    behind: int
    late: int


class SubscriptionDetail(msgspec.Struct, frozen=True):
    """A subscription and its cursors."""

    subscription: SubscriptionRow
    cursors: Sequence[CursorRow]


class Subscriptions(msgspec.Struct, frozen=True):
    """All subscriptions, those of the plan first."""

    subscriptions: Sequence[SubscriptionRow]


class SystemRow(msgspec.Struct, frozen=True):
    """A System: how it is bound, and how this process sees it."""

    name: Name
    owner: str
    url: str | None
    breaker: BreakerState | None
    paused: bool
    by: str
    reason: str
    running: int
    waiting: int
    probe_at: int | None


class Systems(msgspec.Struct, frozen=True):
    """All Systems of the plan."""

    systems: Sequence[SystemRow]


class ScheduleRow(msgspec.Struct, frozen=True):
    """A schedule. `next_at` in the past: it is due, and runs, waits or fails; None before its first start.

    `by` and `reason` are of the last pause or resume.
    """

    name: Name
    owner: str
    times: str
    missed: str
    last_at: int | None
    next_at: int | None
    paused: bool
    by: str
    reason: str


class Schedules(msgspec.Struct, frozen=True):
    """All schedules of the plan."""

    schedules: Sequence[ScheduleRow]


class StreamRow(msgspec.Struct, frozen=True):
    """A stream; `oldest` and `newest` are offsets by shard. `full`: it is at its bound and refuses intake."""

    name: Name
    shards: int
    created_at: int
    oldest: Sequence[int]
    newest: Sequence[int]
    events: int
    bytes: int
    full: bool


class Streams(msgspec.Struct, frozen=True):
    """All streams."""

    streams: Sequence[StreamRow]


class Check(msgspec.Struct, frozen=True):
    """One thing that doctor looked at."""

    name: str
    ok: bool
    says: str
    remedy: str = ""


class Doctor(msgspec.Struct, frozen=True):
    """What doctor found. `ok` is False if one check is."""

    ok: bool
    checks: Sequence[Check]
    cursors: Sequence[CursorRow]


class PlanInfo(msgspec.Struct, frozen=True):
    """What runs."""

    digest: str
    version: str
    integrations: Sequence[str]
    systems: Sequence[str]
    subscriptions: Sequence[str]
    webhooks: Sequence[str]
    types: Sequence[str]
    streams: Sequence[str]


class TailAsked(msgspec.Struct, frozen=True):
    """What came after `after` (a position that an earlier answer gave), waiting for it if need be.

    Without `after` it begins now, or at `since_at` (µs). With `behind_max` a reader that is further behind than so many
    events is moved on to the newest, and told how many it missed.
    """

    after: str | None = None
    wait_us: int = 2_000_000
    limit: int = 200
    since_at: int | None = None
    behind_max: int | None = None


class TailItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that was accepted, or a record of the running process about one (an attempt that failed, a death)."""

    at: int
    what: str
    event: str = ""
    subscription: str = ""
    type: str = ""
    key: str | None = None
    says: str = ""


class Tail(msgspec.Struct, frozen=True):
    """What came, in order; `skipped` items were lost to a reader that was too slow."""

    items: Sequence[TailItem]
    next: str
    skipped: int = 0
