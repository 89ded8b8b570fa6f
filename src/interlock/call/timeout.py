"""The deadline of a call: the earlier of its System's and its attempt's, sent on as what is left of it.

It only sets the deadline; the transport keeps it.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from interlock.core.handler import Call, Handler, Layer
from interlock.core.limits import US_PER_MS
from interlock.core.outcome import Outcome, Unavailable
from interlock.core.ports import Clock

TIMEOUT_HEADER: Final = "x-request-timeout-ms"
_SHARE_MIN: Final = 20
"""A call with less than a twentieth of its time left is not started: it would fail and look like the System's fault."""


def deadline(clock: Clock, deadline_us: int) -> Layer:
    """Give each call at most `deadline_us`, and not more than its attempt has left (`Call.deadline`; 0: no bound)."""

    def layer(inner: Handler) -> Handler:
        async def bounded(call: Call) -> Outcome:
            now = clock.monotonic()
            until = now + deadline_us
            if call.deadline and call.deadline < until:
                until = call.deadline
                if (until - now) * _SHARE_MIN < deadline_us:
                    return Unavailable("deadline", None, call.system)
            return await inner(replace(call, deadline=until))

        return bounded

    return layer


def timeout_field(until: int, now: int) -> tuple[str, str]:
    """The header field that tells the other side how many ms it has; at least 1."""
    return TIMEOUT_HEADER, str(max((until - now) // US_PER_MS, 1))
