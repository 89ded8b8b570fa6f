"""When a schedule runs: its times, what is done about missed ones, and the place in time that its cursor holds.

Pure: the present moment is an argument. Instants are µs since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from interlock.core import limits
from interlock.spec.span import instant, moment, write_span

Missed = Literal["run once", "skip", "catch up"]

_FIELDS: Final = 5
_ROUND_DST: Final = timedelta(hours=3)
"""Further than any clock is set back: where an hour comes twice, the order of local times is not that of instants."""
_ANY_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


class CronTimes(msgspec.Struct, frozen=True):
    """The times of a cron expression by the clocks of a zone."""

    expression: str
    timezone: str

    def after(self, at: int) -> int | None:
        """The first time later than an instant; None if there is none for 50 years."""
        start = moment(at).astimezone(self.zone)
        return next((time for time in _instants(CronSim(self.expression, start)) if time > at), None)

    def latest(self, at: int) -> int | None:
        """The last time that is not later than an instant."""
        start = (moment(at) + _ROUND_DST).astimezone(self.zone)
        return next((time for time in _instants(CronSim(self.expression, start, reverse=True)) if time <= at), None)

    @property
    def zone(self) -> ZoneInfo:
        """The zone's rules."""
        return ZoneInfo(self.timezone)

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"


class EveryTimes(msgspec.Struct, frozen=True):
    """Times a span apart, counted from 1970 UTC: those of an hour are at the full hour."""

    every_us: int

    def after(self, at: int) -> int:
        """The first time later than an instant."""
        return self.latest(at) + self.every_us

    def latest(self, at: int) -> int:
        """The last time that is not later than an instant."""
        return at - at % self.every_us

    @property
    def zone(self) -> ZoneInfo:
        """Spans know no zone."""
        return ZoneInfo("UTC")

    def __str__(self) -> str:
        return f"every {write_span(self.every_us)}"


Times = CronTimes | EveryTimes


class Place(msgspec.Struct, frozen=True):
    """Where a schedule is in time, as its cursor's token: everything up to `at` is settled; `ran` is its last run."""

    at: int
    ran: int | None = None

    def token(self) -> str:
        """As the cursor keeps it."""
        return msgspec.json.encode(self).decode()


def place_of(token: str) -> Place:
    """What a cursor's token says."""
    return msgspec.json.decode(token, type=Place)


class RunNow(NamedTuple):
    """Run for the time `due`; `missed` is the first of the times before it that are passed over, None for none."""

    due: int
    missed: int | None = None


class PassOver(NamedTuple):
    """Run for none of the times from `missed` to `to`."""

    to: int
    missed: int


class WaitUntil(NamedTuple):
    """Nothing is due before `due`; None: ever."""

    due: int | None


def next_step(times: Times, missed: Missed, place: Place, now: int, begun: int | None) -> RunNow | PassOver | WaitUntil:
    """What a schedule does at an instant; `begun` is the time that it has tried to run for and not finished.

    A time is missed if a later one has come before it was run for, and under `skip` also if it was not begun within
    `SCHEDULE_LATE_US`.
    """
    first = times.after(place.at)
    if first is None or first > now:
        return WaitUntil(first)
    last = max(first, times.latest(now) or first)
    match missed:
        case "catch up":
            return RunNow(first)
        case "run once":
            return RunNow(last, None if first == last else first)
        case "skip":
            if last == begun or now - last <= limits.SCHEDULE_LATE_US:
                return RunNow(last, None if first == last else first)
            return PassOver(last, first)


def why_not_cron(expression: str) -> str | None:
    """What is wrong with a cron expression; None if it has times."""
    count = len(expression.split())
    if count != _FIELDS:
        return f"it has {count} fields"
    try:
        next(CronSim(expression, _ANY_DAY))
    except CronSimError as error:
        return str(error).lower()
    except StopIteration:
        return "no day is ever like that"
    return None


def is_zone(name: str) -> bool:
    """Whether the system knows a time zone of this name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _instants(times: CronSim) -> Iterator[int]:
    for time in times:
        yield instant(time)
