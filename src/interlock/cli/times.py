"""Times that people type: `2h` ago, `today 09:00`, or ISO 8601. Everything is UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from interlock.runtime.clock import SystemClock
from interlock.spec.span import parse_span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class Since(click.ParamType[int]):
    """An option's value as an instant: µs since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it against the present moment."""
        if isinstance(value, int):
            return value
        found = instant(str(value), SystemClock().now())
        if found is None:
            self.fail(f"{value!r} is no time: write 2h, today 09:00 or 2026-01-31T09:00:00Z", param, ctx)
        return found


def instant(text: str, now: int) -> int | None:
    """What a person means by `text` at the instant `now`; None if nobody could tell."""
    try:
        return now - parse_span(text)
    except ValueError:
        pass
    day, _, clock = text.partition(" ")
    if day == "today":
        text = f"{(_EPOCH + now * _US).date().isoformat()}T{clock or '00:00'}"
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((given if given.tzinfo else given.replace(tzinfo=UTC)) - _EPOCH) // _US
