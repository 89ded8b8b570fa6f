"""The JSON of `-o json`, verb by verb: most is the admin API's own answer, the rest is here. Members are only added.

The reference page `json.md` is written from `ANSWERS`, and a test holds every verb to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from interlock.control import dead_shapes, erase_shapes, shapes


class Sent(msgspec.Struct, frozen=True):
    """What was accepted, by the ids of the events. `duplicate`: none of them was new."""

    ids: Sequence[str]
    duplicate: bool = True


class SentRow(msgspec.Struct, frozen=True):
    """One event that was accepted."""

    id: str


class FindingRow(msgspec.Struct, frozen=True):
    """One finding of `check`: what is wrong with `subject`, where, why, and how to mend it. `rule` is the code."""

    rule: str
    severity: Literal["error", "warning"]
    subject: str
    file: str
    line: int
    why: str
    fix: str


class BrokenRow(msgspec.Struct, frozen=True):
    """A rule that `simulate` found broken: by what, in how many of the seeds, and the shortest run that shows it."""

    rule: str
    subject: str
    message: str
    fix: str
    where: str | None
    seeds: int
    seed: int
    repeat: str
    timeline: Sequence[str]


class SettingRow(msgspec.Struct, frozen=True):
    """One setting as a start would use it; `value` is JSON, or null for none. `origin` says where it is set."""

    key: str
    value: Any  # Any: each setting has a type of its own.
    origin: str


class SecretRow(msgspec.Struct, frozen=True):
    """One name under [secrets]. `active` counts the secrets that the source holds."""

    name: str
    source: str | None
    active: int


class SecretNeeded(msgspec.Struct, frozen=True):
    """One secret that the plan needs, by whom, and whether its source answers. `source`: None if nothing names one."""

    name: str
    source: str | None
    active: int
    needed_by: Sequence[str]
    ok: bool


class IntegrationRow(msgspec.Struct, frozen=True):
    """An Integration as declared."""

    name: str
    owner: str
    purpose: str


class PlannedSystem(msgspec.Struct, frozen=True):
    """A System as bound."""

    name: str
    url: str | None


class EventTypeRow(msgspec.Struct, frozen=True):
    """An event type. `shape` is the digest of its model; `key` says whether it has one."""

    id: str
    stream: str
    key: bool
    shape: str


class PlannedUpcast(msgspec.Struct, frozen=True):
    """An upcaster, the version that it reads, and the one that it makes."""

    name: str
    reads: str
    into: str


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook and its route."""

    name: str
    route: str


class PollRow(msgspec.Struct, frozen=True):
    """A poll and its interval."""

    name: str
    every: str


class PlannedSchedule(msgspec.Struct, frozen=True):
    """A schedule, its times, and what it does about missed ones."""

    name: str
    times: str
    missed: str


class PlannedSubscription(msgspec.Struct, frozen=True):
    """A subscription or translation as declared."""

    name: str
    reads: Sequence[str]
    into: str | None
    uses: Sequence[str]
    order: str
    on_dead: str
    freshness: str | None
    start: str | int


class PlannedStream(msgspec.Struct, frozen=True):
    """A stream as it would be made."""

    name: str
    shards: int
    keep: str


class PlannedChange(msgspec.Struct, frozen=True):
    """What a deploy would change in the store. `remedy`: what has to be decided first, or null."""

    what: Literal["new", "gone", "reshaped"]
    kind: str
    name: str
    remedy: str | None


class PlanShown(msgspec.Struct, frozen=True):
    """What the project declares. `changes`: null where there is no store to compare with."""

    digest: str
    integrations: Sequence[IntegrationRow]
    systems: Sequence[PlannedSystem]
    event_types: Sequence[EventTypeRow]
    upcasters: Sequence[PlannedUpcast]
    webhooks: Sequence[WebhookRow]
    polls: Sequence[PollRow]
    schedules: Sequence[PlannedSchedule]
    subscriptions: Sequence[PlannedSubscription]
    streams: Sequence[PlannedStream]
    changes: Sequence[PlannedChange] | None


class StoreHeld(msgspec.Struct, frozen=True):
    """What a store's file, or a backup of it, holds.

    `heads` has the newest offset by shard, by stream; `delivered` counts by subscription; `unbalanced` names cursors
    whose books do not balance. `bodies` are payloads above 64 KiB, `bodies_lost` those of them that are not whole.
    """

    file: str
    schema: int
    size_bytes: int
    events: int
    newest_at: int | None
    heads: Mapping[str, Sequence[int]]
    delivered: Mapping[str, int]
    unbalanced: Sequence[str]
    bodies: int
    bodies_bytes: int
    bodies_lost: int


ANSWERS: Final[Mapping[str, Any]] = {
    "check": Sequence[FindingRow],
    "plan": PlanShown,
    "send": Sent,
    "tail": shapes.TailItem,
    "events ls": shapes.Events,
    "events show": shapes.EventDetail,
    "dead ls": shapes.DeadGroups,
    "dead show": shapes.DeadLetters,
    "dead retry": shapes.DeadAnswer,
    "dead skip": shapes.DeadAnswer,
    "dead discard": shapes.DeadAnswer,
    "dead restore": shapes.DeadAnswer,
    "dead diff": dead_shapes.DeadDiff,
    "dead blocked": dead_shapes.Blocked,
    "dead edit": dead_shapes.DeadEdited,
    "dead jobs": dead_shapes.Jobs,
    "dead job": dead_shapes.JobAnswer,
    "dead pause": dead_shapes.JobAnswer,
    "dead resume": dead_shapes.JobAnswer,
    "dead import": dead_shapes.DeadImported,
    "events erase": erase_shapes.EraseAnswer,
    "replay": shapes.ReplayAnswer,
    "subscriptions ls": shapes.Subscriptions,
    "subscriptions show": shapes.SubscriptionDetail,
    "subscriptions pause": shapes.ControlAnswer,
    "subscriptions resume": shapes.ControlAnswer,
    "systems ls": shapes.Systems,
    "systems pause": shapes.ControlAnswer,
    "systems resume": shapes.ControlAnswer,
    "schedules ls": shapes.Schedules,
    "schedules pause": shapes.ControlAnswer,
    "schedules resume": shapes.ControlAnswer,
    "simulate": Sequence[BrokenRow],
    "config show": Sequence[SettingRow],
    "config reload": shapes.ReloadAnswer,
    "secrets ls": Sequence[SecretRow],
    "secrets check": Sequence[SecretNeeded],
    "db current": StoreHeld,
    "db backup": StoreHeld,
    "doctor": shapes.Doctor,
}
"""What each verb gives with `-o json`; `check` has it as `--format json`, `tail` as `--json`, one a line."""
