"""GCRA, the rate limit of everything that goes out: one number of state, whole-number arithmetic, no drift. Pure.

The generic cell rate algorithm (ITU-T I.371) admits what a token bucket of the same rate and burst admits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from interlock.core.errors import SpecError
from interlock.core.limits import US_PER_SECOND

_DENOMINATOR_MAX: Final = 1_000_000


class Gcra:
    """`rate_per_second` on average, and up to `burst` at once. Instants are µs; the caller's clock must not go back.

    A rate is taken as the nearest fraction with a denominator of at most a million, and is exact from there on.

    Raises:
        SpecError: `system.rate-invalid`, for a rate that is not a positive number or a burst below one.
    """

    __slots__ = ("_interval", "_per_us", "_slack", "_tat")

    def __init__(self, rate_per_second: float, burst: int) -> None:
        if not 1 / _DENOMINATOR_MAX <= rate_per_second <= US_PER_SECOND or burst < 1:
            raise SpecError(
                "system.rate-invalid",
                f"{rate_per_second!r} calls per second with a burst of {burst!r} is no limit",
                "give a rate from 0.000001 to 1,000,000 and a burst of at least 1",
            )
        rate = Fraction(rate_per_second).limit_denominator(_DENOMINATOR_MAX)
        # Time is counted in 1/numerator µs, so that the interval between two calls is a whole number.
        self._per_us = rate.numerator
        self._interval = US_PER_SECOND * rate.denominator
        self._slack = self._interval * (burst - 1)
        self._tat = 0

    def wait_us(self, now: int, ahead: int = 0) -> int:
        """How long a call would have to wait, 0 if it may go; `ahead` others are to go before it. Changes nothing."""
        tat = self._tat
        if ahead:
            tat = max(tat, now * self._per_us) + self._interval * ahead
        return max(0, -((now * self._per_us - tat + self._slack) // self._per_us))

    def take(self, now: int) -> int:
        """Count a call, and say how long it has to wait before it is sent (0 for at once)."""
        wait = self.wait_us(now)
        # Counted from when it is sent: a wait is rounded up to a whole µs, and the next call must not gain by that.
        self._tat = max(self._tat, (now + wait) * self._per_us) + self._interval
        return wait
