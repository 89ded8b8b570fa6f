"""The registry of telemetry records: their names, levels, fields and what each one says.

The documentation lists it, the log takes its levels from it, and a test compares it with what the code emits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")


class Record(NamedTuple):
    """One kind of record. `fields` are the names that it may carry; durations end in `_us`, instants in `_at`."""

    name: str
    level: Level
    says: str
    fields: tuple[str, ...]


# What goes well is `debug`, counted and not written: one line a request would cost more than the request.
_ALL: Final[tuple[Record, ...]] = (
    Record(
        "attempt.failed",
        "info",
        "An attempt did not deliver; `state` and `due_at` say what follows.",
        (
            "subscription",
            "event",
            "attempt",
            "number",
            "outcome",
            "error",
            "status",
            "system",
            "state",
            "due_at",
            "trace",
        ),
    ),
    Record(
        "body.absent",
        "error",
        "The file of a large payload is missing or damaged, or cannot be read: its event cannot be delivered.",
        ("event", "why"),
    ),
    Record(
        "bodies.collected",
        "info",
        "Files of large payloads that no event needs any more were removed.",
        ("files", "bytes"),
    ),
    Record("bodies.uncollected", "warning", "Files that no event needs could not be removed this time.", ("code",)),
    Record(
        "breaker.transition",
        "warning",
        "A System's breaker changed its state; counters are of the minute before. `own`: by its own evidence.",
        ("system", "was", "state", "trips", "calls", "failures", "slow", "retry_at", "own"),
    ),
    Record(
        "breaker.untold",
        "warning",
        "A breaker's transition could not be written: other processes do not know of it.",
        ("system", "code"),
    ),
    Record(
        "call.ended",
        "debug",
        "A call that was sent has ended; `status` 0 and `error` where there was no answer.",
        ("system", "method", "status", "duration_us", "error"),
    ),
    Record(
        "conservation.broken",
        "error",
        "The books of a lane do not balance in memory: a bug of Interlock; see `interlock doctor`.",
        ("subscription", "shard", "accounted", "explained"),
    ),
    Record(
        "control.command",
        "info",
        "A person's command was committed with its audit event.",
        ("verb", "subject", "actor", "reason", "job"),
    ),
    Record(
        "control.failed",
        "error",
        "A handler of the control port raised what it must not; the answer was 500.",
        ("route", "error"),
    ),
    Record("control.refused", "info", "The control port refused a request.", ("code", "status", "peer")),
    Record("control.request", "debug", "The control port answered.", ("method", "route", "status", "duration_us")),
    Record(
        "disk.full",
        "error",
        "The store's disk has only the reserve left: intake answers 507, delivery goes on.",
        ("free_bytes", "total_bytes"),
    ),
    Record(
        "disk.low",
        "warning",
        "The store's disk has little room left; nothing is refused yet.",
        ("free_bytes", "total_bytes"),
    ),
    Record("disk.ok", "info", "The store's disk has room again.", ("free_bytes", "total_bytes")),
    Record("engine.failed", "error", "A duty of the engine raised what it must not.", ("error",)),
    Record(
        "event.late",
        "debug",
        "An event was filtered: a newer one of its key had been delivered (`if_newer_than=`), or one with a higher"
        " number had been emitted (`resequence`).",
        ("subscription", "event"),
    ),
    Record(
        "events.accepted",
        "debug",
        "`POST /events` was made durable; `events` counts the duplicates, too.",
        ("events", "duplicates", "caller"),
    ),
    Record(
        "events.delivered",
        "debug",
        "A settlement with deliveries was committed; for each, the time from its acceptance to its attempt's end.",
        ("subscription", "ages_us"),
    ),
    Record(
        "events.id-conflict",
        "warning",
        "`POST /events` brought known ids with another payload; it was answered 409.",
        ("events", "caller", "event"),
    ),
    Record(
        "events.key-failed",
        "warning",
        "The key function of a type raised for a payload that fits its model.",
        ("type", "error"),
    ),
    Record("events.refused", "info", "`POST /events` was refused.", ("status", "code", "peer")),
    Record("fleet.failed", "error", "A duty of the lanes raised what it must not.", ("error",)),
    Record(
        "function.log", "info", "A user's function said something.", ("message", "event", "subscription", "attempt")
    ),
    Record(
        "guard.tripped",
        "error",
        "Most of the last events would have died of one cause: the `subject` is paused until a person resumes it.",
        ("kind", "subject", "error", "fingerprint", "events", "of"),
    ),
    Record(
        "http.served",
        "debug",
        "Answers of the data port within a second, of one method, route and status; one duration for each.",
        ("method", "route", "status", "durations_us"),
    ),
    Record(
        "intake.refused",
        "warning",
        "A request was refused because the store could not take it.",
        ("status", "code", "cause", "level"),
    ),
    Record(
        "erasure.ended",
        "info",
        "What was asked to be erased is, in the store, in lanes and in attempts.",
        ("job", "events"),
    ),
    Record(
        "job.ended",
        "info",
        "A job about dead letters is `done`, or has `stopped` because too many failed again.",
        ("job", "verb", "state", "why"),
    ),
    Record(
        "lane.cursor-lost",
        "error",
        "A lane needs an offset that was retired: it opens anew.",
        ("subscription", "shard", "offset"),
    ),
    Record(
        "lane.failed", "error", "A lane raised what it must not: it opens anew.", ("subscription", "shard", "error")
    ),
    Record(
        "lane.lost",
        "warning",
        "A lane lost its cursor: it drops its memory and opens anew.",
        ("subscription", "shard", "why"),
    ),
    Record("lane.reopening-failed", "warning", "A lane could not be opened again yet.", ("subscription", "code")),
    Record("lane.request-applied", "info", "A lane applied a person's request.", ("subscription", "verb", "actor")),
    Record(
        "lane.stalled",
        "error",
        "A lane did not do what it could for seconds: it is woken. Interlock has a bug.",
        ("subscription", "shard"),
    ),
    Record(
        "lease.lost", "error", "The worker's lease ended: no attempt starts until it has another.", ("worker", "why")
    ),
    Record("lease.renewal-failed", "warning", "The worker's lease could not be renewed this time.", ("worker", "code")),
    Record("limiter.paused", "info", "A System answered 429: it is sent nothing for a while.", ("system", "after_us")),
    Record(
        "loop.held",
        "warning",
        "A function held the loop too long: everything else waited for it.",
        ("duration_us", "function", "stack"),
    ),
    Record(
        "pause.unwritten",
        "warning",
        "A pause that Interlock made itself could not be written yet: until then it holds in this process only.",
        ("subject", "code"),
    ),
    Record(
        "poll.failed",
        "warning",
        "A poll failed; it is tried again after the pause.",
        ("poll", "error", "failures", "pause_us"),
    ),
    Record("poll.page", "debug", "A poll's page was made durable with its token.", ("poll", "events", "more")),
    Record(
        "poll.stands-still",
        "warning",
        "A poll said that there is more and gave no new token; it is asked again after its interval, not at once.",
        ("poll",),
    ),
    Record("process.draining", "info", "The process was told to stop: it takes nothing new.", ()),
    Record("process.ready", "info", "Both ports answer.", ("data", "control", "plan")),
    Record(
        "retention.failed", "warning", "A stream's old segments could not be retired this time.", ("stream", "code")
    ),
    Record(
        "retention.near",
        "warning",
        "A stream is above 80 % of its bound of bytes; `held_by` has yet to read its oldest events.",
        ("stream", "bytes", "bound", "held_by"),
    ),
    Record(
        "retention.full",
        "error",
        "A stream is at its bound of bytes: its intake answers 507 until `held_by` has read on.",
        ("stream", "bytes", "bound", "held_by"),
    ),
    Record(
        "retention.ok",
        "info",
        "A stream is well below its bound of bytes again, or nobody holds it.",
        ("stream", "bytes", "bound", "held_by"),
    ),
    Record("retention.retired", "info", "Old segments of a stream were retired.", ("stream", "count")),
    Record(
        "receipts.failed",
        "warning",
        "Old receipts of a SQL System could not be removed this time.",
        ("system", "error"),
    ),
    Record("receipts.forgotten", "info", "Old receipts of a SQL System were removed.", ("system", "count")),
    Record(
        "schedule.failed",
        "warning",
        "A schedule failed; it is tried again after the pause.",
        ("schedule", "due", "error", "failures", "pause_us"),
    ),
    Record(
        "schedule.missed",
        "warning",
        "A schedule did not run for the times from `since` on, and will not: `policy` says why, `to` what came after.",
        ("schedule", "policy", "since", "to"),
    ),
    Record(
        "schedule.run",
        "info",
        "A schedule ran: what it gave was made durable with the time that it ran for.",
        ("schedule", "due", "events"),
    ),
    Record(
        "secrets.empty",
        "warning",
        "The sources of these secrets hold nothing: what needs them is refused or waits.",
        ("names",),
    ),
    Record(
        "sequence.repeated",
        "warning",
        "An event was filtered: another one of its key has its number and waits for those before it.",
        ("subscription", "event"),
    ),
    Record(
        "sequence.skipped",
        "warning",
        "A resequencer went on without `count` numbers of a key: they did not come in time, or too much waited.",
        ("subscription", "event", "count"),
    ),
    Record(
        "settings.refused",
        "error",
        "The settings, read again, are wrong: everything stays as it was.",
        ("findings",),
    ),
    Record(
        "settings.reloaded",
        "info",
        "Secrets, certificates and these Systems were taken over; the tables in `waiting` wait for a restart.",
        ("systems", "certificates", "waiting"),
    ),
    Record(
        "settlement.committed",
        "debug",
        "A lane's settlement was committed.",
        ("subscription", "shard", "number", "successes", "attempts", "dead"),
    ),
    Record(
        "settlement.in-doubt",
        "error",
        "The answer to a commit of settlements was lost: their lanes open anew.",
        ("lanes", "code"),
    ),
    Record(
        "source.commit-failed",
        "warning",
        "What a poll or a schedule gave could not be committed; it is asked again.",
        ("source", "code"),
    ),
    Record("source.lost", "warning", "A poll or a schedule lost its cursor; it is opened anew.", ("source", "why")),
    Record(
        "source.opening-failed",
        "warning",
        "The cursor of a poll or a schedule could not be opened yet.",
        ("source", "code"),
    ),
    Record(
        "store.commit-failed", "error", "A commit failed; nothing in it was acknowledged.", ("code", "cause", "detail")
    ),
    Record(
        "store.committed",
        "debug",
        "A group of writes is durable; `items` are events, or one for each write of another kind.",
        ("duration_us", "requests", "items", "bytes"),
    ),
    Record("store.opened", "info", "The store was opened.", ("path", "migrations")),
    Record(
        "store.upkeep-failed", "warning", "A checkpoint or another upkeep of the store failed.", ("cause", "detail")
    ),
    Record(
        "store.writer-busy",
        "warning",
        "A write was refused because the queue before the writer is full.",
        ("items", "bytes"),
    ),
    Record(
        "system.gone",
        "error",
        "A System says that it takes nothing any more: it is paused until a person resumes it.",
        ("system", "method", "target", "why"),
    ),
    Record(
        "system.refresh-failed",
        "warning",
        "A System's `Authorization` could not be obtained anew; the calls that it refused are tried again.",
        ("system", "why"),
    ),
    Record("system.refreshed", "info", "A System's `Authorization` was obtained anew.", ("system",)),
    Record(
        "system.secret-missing",
        "error",
        "A call waits because a secret of its System has no value that can be sent.",
        ("system", "secret"),
    ),
    Record(
        "webhook.accepted",
        "debug",
        "A verified webhook was made durable.",
        ("webhook", "events", "duplicates", "secret"),
    ),
    Record(
        "webhook.duplicate-conflict", "warning", "A webhook brought a known id with another body.", ("webhook", "event")
    ),
    Record(
        "webhook.poison",
        "error",
        "A webhook's function failed: the request is kept raw, as a dead letter.",
        ("webhook", "error", "delivery"),
    ),
    Record(
        "webhook.refused", "warning", "A webhook's signature was refused.", ("webhook", "category", "detail", "peer")
    ),
    Record(
        "wire.app-failed",
        "error",
        "An application on the data port raised what it must not; the answer was 500.",
        ("method", "path", "error", "exception"),
    ),
    Record("wire.drained", "info", "The data port has drained; `cut` connections were ended.", ("cut",)),
    Record("wire.refused", "info", "The data port's server refused a request.", ("status", "code", "peer")),
)

RECORDS: Final[Mapping[str, Record]] = {record.name: record for record in _ALL}

QUIET: Final[frozenset[str]] = frozenset(record.name for record in _ALL if record.level == "debug")
"""Records of what goes well."""


def level_of(record: str) -> Level:
    """The level of a record; one that nobody registered is shown rather than hidden."""
    known = RECORDS.get(record)
    return known.level if known else "info"
