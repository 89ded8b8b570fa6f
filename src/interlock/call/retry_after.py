"""`Retry-After` (RFC 9110 10.2.3): delta-seconds or an HTTP-date, read strictly. Pure; now is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from interlock.core.limits import RETRY_AFTER_MAX_US, US_PER_SECOND

_DELTA_DIGITS_MAX = 10
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAYS_LONG = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_DELTA = re.compile(r"[0-9]+")
# RFC 9110 5.6.7: a recipient reads all three forms; the last two are obsolete, not dead.
_IMF_FIXDATE = re.compile(f"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT")
_RFC_850 = re.compile(f"(?:{'|'.join(_DAYS_LONG)}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT")
_ASCTIME = re.compile(f"(?:{'|'.join(_DAYS)}) {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})")


def retry_after_us(value: str, now: int) -> int | None:
    """How long to wait, in µs, at most `RETRY_AFTER_MAX_US`; `now` in µs since the epoch.

    None for what asks for nothing: zero, a moment that is past, or text that is neither form.
    """
    value = value.strip(" \t")
    if _DELTA.fullmatch(value):
        # More digits than this are beyond the clamp anyway, and int() refuses text of 4,300.
        digits = value.lstrip("0")
        wait = RETRY_AFTER_MAX_US if len(digits) > _DELTA_DIGITS_MAX else int(digits or "0") * US_PER_SECOND
    else:
        at = http_date(value, now)
        wait = 0 if at is None else at - now
    return min(wait, RETRY_AFTER_MAX_US) if wait > 0 else None


def http_date(value: str, now: int) -> int | None:
    """An HTTP-date as µs since the epoch, or None. `now` settles the century of the two-digit year of RFC 850."""
    match = _IMF_FIXDATE.fullmatch(value) or _RFC_850.fullmatch(value) or _ASCTIME.fullmatch(value)
    if match is None:
        return None
    part = match.groupdict()
    year = int(part["year"])
    if len(part["year"]) == 2:
        year = _full_year(year, now)
    # A leap second is named :60 (5.6.7). Like POSIX time, we have no room for it and take the second before.
    second = 59 if part["second"] == "60" else int(part["second"])
    month = _MONTHS.index(part["month"]) + 1
    try:
        at = datetime(year, month, int(part["day"]), int(part["hour"]), int(part["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
    return int(at.timestamp()) * US_PER_SECOND


def _full_year(two_digits: int, now: int) -> int:
    """RFC 9110 5.6.7: a date that appears to be more than 50 years ahead is the last year with these digits."""
    this_year = datetime.fromtimestamp(now / US_PER_SECOND, UTC).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
