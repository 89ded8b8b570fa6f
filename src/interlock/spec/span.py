"""Spans of time, as people state them (`timedelta` in code, `"5m"` in configuration) and as the engine keeps them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from interlock.core import limits
from interlock.core.errors import SpecError

_UNITS = {
    "us": 1,
    "ms": limits.US_PER_MS,
    "s": limits.US_PER_SECOND,
    "m": limits.US_PER_MINUTE,
    "h": limits.US_PER_HOUR,
    "d": limits.US_PER_DAY,
}
_PART = re.compile(r"([0-9]{1,9})(us|ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(r"(?:[0-9]{1,9}(?:us|ms|s|m|h|d))(?: ?[0-9]{1,9}(?:us|ms|s|m|h|d)){0,5}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(span: timedelta) -> int:
    """A span in µs, exactly."""
    return span // timedelta(microseconds=1)


def instant(moment: datetime) -> int:
    """A moment in µs since the epoch.

    Raises:
        SpecError: `spec.time-without-zone`, if it does not say in which time zone it is.
    """
    if moment.tzinfo is None:
        raise SpecError(
            "spec.time-without-zone", f"{moment.isoformat()} does not say its time zone", "Give it one: tzinfo=UTC."
        )
    return microseconds(moment - _EPOCH)


def moment(instant_us: int) -> datetime:
    """The moment, in UTC, of an instant in µs since the epoch."""
    return _EPOCH + timedelta(microseconds=instant_us)


def parse_span(text: str) -> int:
    """A span as configuration writes it, in µs: numbers with units, as `30s`, `1h30m`, `500ms`.

    Raises:
        ValueError: if it is not one.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a duration")
    # The pattern has seen to it that int() meets nothing but a few ASCII digits.
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def write_span(span_us: int) -> str:
    """A span as configuration writes it: `1h30m`; the inverse of `parse_span`."""
    parts: list[str] = []
    for unit, size in reversed(_UNITS.items()):
        count, span_us = divmod(span_us, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
