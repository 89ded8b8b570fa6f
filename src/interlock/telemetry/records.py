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
)

RECORDS: Final[Mapping[str, Record]] = {record.name: record for record in _ALL}


def level_of(record: str) -> Level:
    """The level of a record; one that nobody registered is shown rather than hidden."""
    known = RECORDS.get(record)
    return known.level if known else "info"
