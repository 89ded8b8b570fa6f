"""The JSON shapes of the workbench for dead letters: one letter in full, what was done to it, jobs, editing, moving.

As in `shapes`: instants are integer microseconds since the epoch (`_at`), durations integer microseconds (`_us`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from interlock.core.jobs import JobState

What = Literal[
    "accepted", "attempt", "died", "auto", "retry", "replay", "skip", "discard", "restore", "supersede", "edit"
]
Resolution = Literal["open", "replaying", "replayed", "discarded", "edited"]


class Moment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to an event; from `retry` on it is a person's, with `job`, `actor` and `why`."""

    at: int
    what: What
    subscription: str = ""
    outcome: str = ""
    number: int = 0
    attempt: str = ""
    duration_us: int = 0
    status: int = 0
    error: str = ""
    detail: str = ""
    system: str | None = None
    fingerprint: str | None = None
    request: str = ""
    response: str = ""
    trigger: str = "auto"
    actor: str | None = None
    trace: str | None = None
    job: str | None = None
    why: str | None = None


class DeadAct(msgspec.Struct, frozen=True):
    """What a person did to a letter, from the audit. `result` is the lane's answer, None while there is none or where
    that has been forgotten.
    """

    at: int
    verb: str
    actor: str
    reason: str
    job: str
    result: str | None


class DeadDetail(msgspec.Struct, frozen=True):
    """All that is known of one letter besides its row.

    `plan` is the digest that its last attempt ran under. `idempotency_key` is that of its first unnamed call to the
    System that failed. `told_by` is the event whose delivery told the receiver that this one is missing. `edited_as`
    is the event that stands for it. `kept_until` None: until somebody decides. `acts_whole`: no older act is missing.
    """

    plan: str
    owner: str
    source: str
    source_id: str
    first_seen_at: int
    time: str | None
    subject: str | None
    datacontenttype: str
    dataschema: str | None
    extensions: Mapping[str, str]
    headers: Sequence[tuple[str, str]]
    payload: str | None
    payload_base64: str | None
    causation: str | None
    traceparent: str | None
    idempotency_key: str | None
    due_at: int | None
    told_by: str | None
    edited_as: str | None
    kept_until: int | None
    attempts: Sequence[Moment]
    acts: Sequence[DeadAct]
    acts_whole: bool


class LetterAsked(msgspec.Struct, frozen=True):
    """The letters of one event, by its id or a unique prefix; `subscription`: only that of this one."""

    event: str
    subscription: str | None = None


class PayloadChange(msgspec.Struct, frozen=True):
    """A place in the payload that differs, by JSON pointer (RFC 6901); the values as JSON, None for nothing there."""

    pointer: str
    before: str | None
    after: str | None


class DeadDiff(msgspec.Struct, frozen=True):
    """The payload at failure beside another one.

    `against`: `edited`, the event `other` that stands for it; `current`, what the subscription's function is given by
    the code of now, or what a translation makes of it. `error`: why today's code makes nothing of it.
    """

    event: str
    subscription: str
    against: Literal["edited", "current"]
    other: str | None
    before: str
    after: str | None
    changes: Sequence[PayloadChange]
    error: str | None = None


class DeadEdit(msgspec.Struct, frozen=True):
    """Append an event with another payload instead of this one. `payload` is JSON text, kept as it is.

    `subscription` None: for each that has it as a dead letter. With `dry_run` it is only looked at.
    """

    event: str
    payload: str
    reason: str
    subscription: str | None = None
    actor: str = ""
    wait_us: int = 5_000_000
    dry_run: bool = False


class DeadEdited(msgspec.Struct, frozen=True):
    """What came of it: `new` is the event that was appended, None until it is.

    `subscriptions` have the letter. `readers` are all that are given the new event, of which `delivered` have had the
    old one. `behind` counts events of the key that are in the log after the old one: they come before the new one.
    """

    job: str | None
    event: str
    new: str | None
    key: str | None
    subscriptions: Sequence[str]
    readers: Sequence[str]
    delivered: Sequence[str]
    behind: int
    behind_counted: bool
    changes: Sequence[PayloadChange]
    answers: Mapping[str, int]


class RehearsedCall(msgspec.Struct, frozen=True):
    """A call that would have been made. `body` is an excerpt, redacted; `key` the idempotency key.

    `remembered`: a former attempt has made it, so it is not made again.
    """

    system: str
    method: str
    path: str
    key: str
    body: str
    remembered: bool = False


class RehearsedEmit(msgspec.Struct, frozen=True):
    """An event that would have been appended."""

    stream: str
    type: str
    id: str
    key: str | None


class Rehearsal(msgspec.Struct, frozen=True):
    """What today's code makes of one event when every System is a recorder.

    `outcome`: `delivered`, `filtered`, `fails` (it would be tried again), `rejected` (it would die again). `assumed`:
    calls were answered 200 with an empty object, so what follows them is a guess.
    """

    event: str
    subscription: str
    outcome: Literal["delivered", "filtered", "fails", "rejected"]
    error: str
    detail: str
    calls: Sequence[RehearsedCall]
    emits: Sequence[RehearsedEmit]
    assumed: bool


class DeadRehearsal(msgspec.Struct, frozen=True):
    """A dry run of `of` events: `results` of those that the bounds of time and number let through."""

    of: int
    results: Sequence[Rehearsal]
    outcomes: Mapping[str, int]
    newer: int


class JobAsked(msgspec.Struct, frozen=True):
    """One job of a command, by its id or a unique prefix; waits so long for another answer if some are missing."""

    job: str
    wait_us: int = 0


class JobAnswer(msgspec.Struct, frozen=True):
    """What came of a job so far: `applied` of `of` events have an answer of their lane, counted by kind.

    `state` None: a replay, which its lanes carry on by themselves. `released` have been handed to the lanes; of those,
    `succeeded` are settled, `failed` died or are held again, `passed_over` had changed, `waiting` have not ended. `why`
    says who paused it or what stopped it.
    """

    job: str
    verb: str
    actor: str
    reason: str
    asked_at: int
    of: int
    applied: int
    answers: Mapping[str, int]
    state: JobState | None = None
    why: str = ""
    released: int = 0
    succeeded: int = 0
    failed: int = 0
    passed_over: int = 0
    waiting: int = 0
    canary: int = 0
    per_second: float | None = None
    stop_percent: float | None = None
    ended_at: int | None = None


class JobsAsked(msgspec.Struct, frozen=True):
    """Jobs, the latest first. `running`: only those that are not done."""

    running: bool = False
    limit: int = 50


class Jobs(msgspec.Struct, frozen=True):
    """Jobs about dead letters."""

    jobs: Sequence[JobAnswer]


class JobCommand(msgspec.Struct, frozen=True):
    """Pause a job or let it go on, by its id or a unique prefix. With `dry_run` it is only shown."""

    job: str
    reason: str = ""
    actor: str = ""
    dry_run: bool = False


class BlockedAsked(msgspec.Struct, frozen=True):
    """Keys whose head is not delivered, so that later events wait."""

    subscription: str | None = None
    limit: int = 50


class BlockedKey(msgspec.Struct, frozen=True):
    """A key that waits. `event` is its head; `state` `held` needs a person, `due` is tried again at `due_at`.

    `behind` counts the events of the key that wait behind it, at least so many unless `behind_counted`.
    """

    subscription: str
    stream: str
    key: str
    event: str | None
    state: str
    reason: str | None
    error: str | None
    fingerprint: str | None
    attempts: int
    since_at: int | None
    due_at: int | None
    behind: int
    behind_counted: bool


class Blocked(msgspec.Struct, frozen=True):
    """Blocked keys, the oldest first; `of` is how many there are."""

    keys: Sequence[BlockedKey]
    of: int


class DeadExport(msgspec.Struct, frozen=True):
    """A page of letters, each as a line of the file; `next` is the `after` of the next page, None at the end."""

    letters: Sequence[msgspec.Raw]
    next: str | None


class DeadImport(msgspec.Struct, frozen=True):
    """The lines of a file that `dead export` wrote, each a letter. With `dry_run` they are only looked at."""

    lines: Sequence[str]
    reason: str = ""
    actor: str = ""
    dry_run: bool = False


class DeadImported(msgspec.Struct, frozen=True):
    """What came of it: `appended` are new in the log, `known` were there already and are left as they are.

    `readers` are the subscriptions that are given them.
    """

    of: int
    appended: Sequence[str]
    known: Sequence[str]
    readers: Sequence[str]
