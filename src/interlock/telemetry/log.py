"""The structured log: one JSON object a line, redacted, with event, subscription, attempt and trace ids.

Whoever develops reads the same as text. Formatting happens here, on the loop; writing happens in `Lines`, off it.
Levels come from the registry of records.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from interlock.core.ports import Offload
from interlock.telemetry.records import LEVELS, RECORDS, Level, level_of
from interlock.telemetry.redact import Plain, redacted

LINES_MAX: Final = 10_000
"""Lines that may wait for a slow reader of the log; further ones are dropped and counted."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NEEDS_QUOTES = re.compile(r"[\s\"=]")
_RESERVED = frozenset({"at", "level", "record"})


class Log:
    """A sink that writes a line for each record at or above `level`.

    Args:
        write: takes one line with its newline; must not block and not raise (see `Lines`).
        now: the wall clock, in µs since the epoch.
        level: what is quieter than this is not formatted at all.
        line: how a record becomes a line.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        now: Callable[[], int],
        level: Level = "info",
        line: LogLine | None = None,
    ) -> None:
        self._line = line or log_line
        self._write = write
        self._now = now
        least = LEVELS.index(level)
        self._quiet = frozenset(record.name for record in RECORDS.values() if LEVELS.index(record.level) < least)

    def wants(self, record: str) -> bool:
        """Whether the record is at or above the level."""
        return record not in self._quiet

    def __call__(self, record: str, /, **fields: object) -> None:
        if record not in self._quiet:
            self._write(self._line(self._now(), level_of(record), record, fields))


LogLine = Callable[[int, Level, str, dict[str, object]], bytes]
"""A record as one line of bytes: when it was (µs), its level, its name, its fields."""


def log_line(at: int, level: Level, record: str, fields: dict[str, object]) -> bytes:
    """One record as a line. A field named like one of ours gets a trailing underscore rather than replacing it."""
    line: dict[str, Plain] = {"at": instant(at), "level": level, "record": record}
    for name, value in fields.items():
        if name == "traceparent":
            line |= _trace_ids(value)
        elif value is not None:
            line[name + "_" if name in _RESERVED else name] = redacted(name, value)
    return msgspec.json.encode(line) + b"\n"


def text_line(at: int, level: Level, record: str, fields: dict[str, object]) -> bytes:
    """One record as a line for people: the time of day in UTC, the level, the record, and fields as `name=value`."""
    shown = [f"{name}={_text_value(name, value)}" for name, value in fields.items() if value is not None]
    line = "  ".join([instant(at)[11:23], f"{level:<7}", f"{record:<16}", " ".join(shown)]).rstrip()
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _text_value(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if name.endswith("_at"):
            return instant(value)[11:23]
        if name.endswith("_us"):
            milliseconds = value / 1_000
            return f"{milliseconds / 1_000:.1f}s" if milliseconds >= 1_000 else f"{milliseconds:.3g}ms"
    plain = redacted(name, value)
    if isinstance(plain, str) and plain.isprintable() and plain and not _NEEDS_QUOTES.search(plain):
        return plain
    return json.dumps(plain, ensure_ascii=not str(plain).isprintable())


def instant(at: int) -> str:
    """µs since the epoch as RFC 3339, in UTC, with all six digits so that lines sort as text."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _trace_ids(traceparent: object) -> dict[str, Plain]:
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return {"trace_id": found[1], "span_id": found[2]} if found else {}


class Lines:
    """A bounded queue of lines before a stream that may block: one thread's turn writes all that wait.

    Args:
        offload: the way to a thread.
        write: writes bytes and may block; an `OSError` or `ValueError` (a closed stream) loses the lines, nothing else.
        lines_max: how many may wait.
    """

    def __init__(self, offload: Offload, write: Callable[[bytes], object], lines_max: int = LINES_MAX) -> None:
        self._offload = offload
        self._out = write
        self._lines_max = lines_max
        self._waiting: deque[bytes] = deque()
        self._turn: asyncio.Future[None] | None = None
        self.dropped = 0

    def __call__(self, line: bytes) -> None:
        if len(self._waiting) >= self._lines_max:
            self.dropped += 1
            return
        self._waiting.append(line)
        if self._turn is None:
            self._turn = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._offload.run(self.flush)
        finally:
            self._turn = None

    def flush(self) -> None:
        """Write all that waits, in the caller's thread. At the end of the process this is the last thing called."""
        lines: list[bytes] = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        try:
            self._out(b"".join(lines))
        except (OSError, ValueError):
            self.dropped += len(lines)
