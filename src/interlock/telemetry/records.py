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


_ALL: Final[tuple[Record, ...]] = (
    Record(
        "breaker.transition",
        "warning",
        "A System's breaker changed its state; counters are of the minute before. `own`: by its own evidence.",
        ("system", "was", "state", "trips", "calls", "failures", "slow", "retry_at", "own"),
    ),
    Record(
        "call.ended",
        "debug",
        "A call that was sent has ended; `status` 0 and `error` where there was no answer.",
        ("system", "method", "status", "duration_us", "error"),
    ),
    Record("limiter.paused", "info", "A System answered 429: it is sent nothing for a while.", ("system", "after_us")),
    Record(
        "system.gone",
        "error",
        "A System answered 410 to a POST: it is paused until a person resumes it.",
        ("system", "method", "target"),
    ),
    Record(
        "system.secret-missing",
        "error",
        "A call waits because a secret of its System has no value that can be sent.",
        ("system", "secret"),
    ),
    Record(
        "control.command",
        "info",
        "A person's command was committed with its audit event.",
        ("verb", "subject", "actor", "reason", "job"),
    ),
    Record("control.request", "debug", "The control port answered.", ("method", "route", "status", "duration_us")),
    Record("control.refused", "info", "The control port refused a request.", ("code", "status", "route", "peer")),
    Record(
        "control.failed",
        "error",
        "A handler of the control port raised what it must not; the answer was 500.",
        ("route", "error"),
    ),
    # What goes well is counted, not written: one line a request would cost more than the request.
    Record("events.accepted", "debug", "`POST /events` was made durable.", ("events", "duplicates", "caller")),
    Record(
        "webhook.accepted",
        "debug",
        "A verified webhook was made durable.",
        ("webhook", "events", "duplicates", "secret"),
    ),
    Record(
        "settlement.committed",
        "debug",
        "A lane's settlement was committed.",
        ("subscription", "shard", "number", "successes", "attempts", "dead"),
    ),
)

RECORDS: Final[Mapping[str, Record]] = {record.name: record for record in _ALL}


def level_of(record: str) -> Level:
    """The level of a record; one that nobody registered is shown rather than hidden."""
    known = RECORDS.get(record)
    return known.level if known else "info"
