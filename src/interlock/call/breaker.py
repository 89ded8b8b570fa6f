"""The circuit breaker of one System: a pure state machine. Now, chance and evidence are arguments.

Instants here are monotonic µs, except in `Published`, which other processes read. The layer is `breaker_layer`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from interlock.core.limits import (
    RECHECK_US,
    START_PROMISE_US,
    US_PER_MINUTE,
    US_PER_SECOND,
    WAIT_FOR_A_PERSON_US,
)

State = Literal["closed", "open", "half_open", "ramping", "forced_open", "forced_closed"]
Verdict = Literal["good", "bad", "answered", "void"]
"""`answered`: it lives but the answer is not counted (4xx, 429). `void`: nothing was learned (not sent, cancelled)."""

SHORT_WINDOW_SECONDS = 10
LONG_WINDOW_SECONDS = 60
WINDOW_CALLS_MIN = 20
FAILURE_SHARE = (1, 2)
SLOW_SHARE = (4, 5)
STREAK_FAILURES = 5
STREAK_EVENTS = 3
"""One poison event must not open the breaker, however often it is tried."""
OPEN_US = 10 * US_PER_SECOND
OPEN_MAX_US = 10 * US_PER_MINUTE
OPEN_DOUBLINGS_MAX = 6
JITTER_SHARE = 0.1
PROBES_TO_CLOSE = 3
RAMP_STEP_US = 5 * US_PER_SECOND
PROBE_PATIENCE_US = 1 * US_PER_SECOND
"""How long the probe's slot waits for an event that has not failed here before it takes one that has."""
SUSPECTS_MAX = 1_024


class End(NamedTuple):
    """How an admitted call ended. `asked_us`: the wait that the System asked for, honoured if this call trips it."""

    event: str
    verdict: Verdict
    slow: bool = False
    asked_us: int = 0


class Totals(NamedTuple):
    """Counted calls in a window."""

    calls: int
    failures: int
    slow: int


class Published(msgspec.Struct, frozen=True, array_like=True):
    """The cell `breaker/<system>`: what one process found, for the others. Instants are µs since the epoch."""

    state: Literal["open", "ramping", "closed"]
    trips: int
    retry_at: int
    at: int


class Window:
    """Calls, failures and slow calls of the last minute by second, in rings that are written in place."""

    __slots__ = ("_calls", "_failures", "_marks", "_slow")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._marks = [-1] * LONG_WINDOW_SECONDS
        self._calls = [0] * LONG_WINDOW_SECONDS
        self._failures = [0] * LONG_WINDOW_SECONDS
        self._slow = [0] * LONG_WINDOW_SECONDS

    def add(self, second: int, failed: bool, slow: bool) -> None:
        """Count one call that ended in this second."""
        slot = second % LONG_WINDOW_SECONDS
        if self._marks[slot] != second:
            self._marks[slot] = second
            self._calls[slot] = self._failures[slot] = self._slow[slot] = 0
        self._calls[slot] += 1
        if failed or slow:
            self._failures[slot] += failed
            self._slow[slot] += slow

    def totals(self, second: int, seconds: int) -> Totals:
        """The sums over the last `seconds` seconds, this one included."""
        slots = [slot for slot, mark in enumerate(self._marks) if second - seconds < mark <= second]
        return Totals(
            sum(self._calls[slot] for slot in slots),
            sum(self._failures[slot] for slot in slots),
            sum(self._slow[slot] for slot in slots),
        )

    def is_bad(self, second: int) -> bool:
        """Whether the shorter of the two windows that holds enough calls has too many failures or slow ones."""
        totals = self.totals(second, SHORT_WINDOW_SECONDS)
        if totals.calls < WINDOW_CALLS_MIN:
            totals = self.totals(second, LONG_WINDOW_SECONDS)
        if totals.calls < WINDOW_CALLS_MIN:
            return False
        return _reaches(totals.failures, totals.calls, FAILURE_SHARE) or _reaches(totals.slow, totals.calls, SLOW_SHARE)


class Breaker:
    """The state of one System's breaker in this process.

    Args:
        concurrency: how many calls at once the System takes when all is well; the ramp ends there.

    Attributes:
        state: where it stands; a change of it is a transition.
        passing: the ticket that calls get without further questions; 0 unless closed. The hot path reads only this.
        trips: how often it has opened in a row; 0 once it has closed.
        retry_at: when it may be probed, while it is open.
        turned_on: the counted calls of the last minute at the last transition.
    """

    __slots__ = (
        "_concurrency", "_evidence", "_good_probes", "_last_probe", "_level", "_probe_since", "_probing", "_promise",
        "_ramp_at", "_streak", "_streak_events", "_suspects", "_turned_at", "_window", "passing", "retry_at", "state",
        "trips", "turned_on",
    )  # fmt: skip

    def __init__(self, concurrency: int) -> None:
        self.state: State = "closed"
        self.passing = 1
        self.trips = 0
        self.retry_at = 0
        self.turned_on = Totals(0, 0, 0)
        self._concurrency = concurrency
        self._evidence = 1
        self._window = Window()
        self._streak = 0
        self._streak_events: set[str] = set()
        self._suspects: dict[str, None] = {}
        self._probing = False
        self._probe_since = 0
        self._good_probes = 0
        self._last_probe = ""
        self._promise: tuple[str, int] | None = None
        self._level = 1
        self._ramp_at = 0
        self._turned_at = 0

    def wait_us(self, event: str, now: int) -> int:
        """How long a call for this event ("" for none) would have to wait; 0 if it may go."""
        match self.state:
            case "closed" | "forced_closed" | "ramping":
                return 0
            case "forced_open":
                return WAIT_FOR_A_PERSON_US
            case "open":
                return self.retry_at - now if now < self.retry_at else self._probe_wait_us(event, now, self.retry_at)
            case "half_open":
                return RECHECK_US if self._probing else self._probe_wait_us(event, now, self._probe_since)

    def offer(self, event: str, now: int) -> int:
        """As `wait_us`; 0 also keeps the probe's slot for this event for a while, so that one start is one probe."""
        wait = self.wait_us(event, now)
        if wait == 0 and event and self.state in ("open", "half_open"):
            self._promise = (event, now + START_PROMISE_US)
        return wait

    def admit(self, event: str, now: int) -> int:
        """A ticket for a call that is sent in this step, to be given back to `end`; 0 refuses it.

        From open, this is the transition to half-open: the transition is the probe's slot.
        """
        if self.passing:
            return self.passing
        if self.wait_us(event, now):
            return 0
        if self.state == "ramping":
            self.level(now)
            return self._evidence
        if self.state == "open":
            self._turn("half_open", now)
            self._good_probes = 0
        self._probing = True
        self._promise = None
        self._last_probe = event
        return self._evidence

    def end(self, ticket: int, end: End, now: int, jitter: float) -> None:
        """Account for an admitted call. `jitter` in [-0.1, 0.1] matters for bad and slow ones: they may open it.

        A ticket from before the last transition is no evidence any more.
        """
        self._suspect(end)
        if ticket != self._evidence:
            return
        if self.state == "half_open":
            self._end_probe(end, now, jitter)
            return
        if end.verdict == "void" or end.verdict == "answered":
            return
        self.level(now)
        failed = end.verdict == "bad"
        self._window.add(now // US_PER_SECOND, failed, end.slow)
        if not failed:
            self._streak = 0
        else:
            self._count_streak(end.event)
            self._ramp_at = now
        if (failed or end.slow) and self.state != "forced_closed" and self._is_bad(now):
            self._trip(now, jitter, end.asked_us)

    def stands(self, ticket: int) -> bool:
        """Whether no transition has happened since this ticket was given."""
        return ticket == self._evidence

    def level(self, now: int) -> int:
        """How many calls may be under way at once. Doubles every 5 s without failure; at the normal level it closes."""
        if self.state != "ramping":
            return self._concurrency
        steps = (now - self._ramp_at) // RAMP_STEP_US
        if steps > 0:
            self._ramp_at += steps * RAMP_STEP_US
            self._level = min(self._concurrency, self._level << min(steps, 32))
        if self._level >= self._concurrency:
            self._close(now)
        return self._level

    def totals(self, now: int) -> Totals:
        """Counted calls of the last minute."""
        return self._window.totals(now // US_PER_SECOND, LONG_WINDOW_SECONDS)

    def force(self, how: Literal["open", "closed"] | None, now: int) -> None:
        """An operator holds it open or closed; None lets it judge again, from closed and without old evidence."""
        if how == "open":
            self._turn("forced_open", now)
        elif how == "closed":
            self._turn("forced_closed", now)
        elif self.state in ("forced_open", "forced_closed"):
            self._close(now)

    def published(self, now: int, wall: int) -> Published | None:
        """What the other processes should know of this state; None where it is this process's own affair.

        `wall` is the store's clock at monotonic `now`.
        """
        if self.state not in ("open", "ramping", "closed"):
            return None
        retry_at = self.retry_at - now + wall if self.state == "open" else 0
        return Published(self.state, self.trips, retry_at, self._turned_at - now + wall)

    def adopt(self, found: Published, now: int, wall: int) -> None:
        """Take over what another process found, unless this one has turned since.

        An open breaker there opens this one until the same moment; a recovery there is where this one begins to ramp.
        """
        if self.state in ("forced_open", "forced_closed") or found.at <= self._turned_at - now + wall:
            return
        if found.state == "open":
            retry_at = now + min(found.retry_at - wall, OPEN_MAX_US * 2)
            if retry_at > now:
                self.trips = max(self.trips, found.trips)
                self.retry_at = retry_at
                self._turn("open", found.at - wall + now)
        elif self.state in ("open", "half_open"):
            self._ramp(now)

    def _probe_wait_us(self, event: str, now: int, since: int) -> int:
        """The probe's slot is free since `since`: who may have it? Calls without an event are never suspects."""
        if self._promise is not None:
            promised, until = self._promise
            if now < until and promised != event:
                return until - now
        if event and (event in self._suspects or event == self._last_probe):
            return max(since + PROBE_PATIENCE_US - now, 0)
        return 0

    def _end_probe(self, end: End, now: int, jitter: float) -> None:
        self._probing = False
        self._probe_since = now
        if end.verdict == "bad":
            self._trip(now, jitter, end.asked_us)
        elif end.verdict != "void":
            # A 4xx says nothing about the rate of failures, but it says that the System is there.
            self._good_probes += 1
            if self._good_probes >= PROBES_TO_CLOSE:
                self._ramp(now)

    def _suspect(self, end: End) -> None:
        if end.verdict == "bad" and end.event:
            self._suspects.pop(end.event, None)
            self._suspects[end.event] = None
            if len(self._suspects) > SUSPECTS_MAX:
                del self._suspects[next(iter(self._suspects))]
        elif self._suspects and end.verdict == "good":
            self._suspects.pop(end.event, None)

    def _count_streak(self, event: str) -> None:
        if self._streak == 0:
            self._streak_events.clear()
        self._streak += 1
        if len(self._streak_events) < STREAK_EVENTS:
            # A call for no event has nothing that could be poison, so each counts as another.
            self._streak_events.add(event or f"#{self._streak}")

    def _is_bad(self, now: int) -> bool:
        if self._streak >= STREAK_FAILURES and len(self._streak_events) >= STREAK_EVENTS:
            return True
        return self._window.is_bad(now // US_PER_SECOND)

    def _trip(self, now: int, jitter: float, asked_us: int) -> None:
        self.trips += 1
        lasting = min(OPEN_US << min(self.trips - 1, OPEN_DOUBLINGS_MAX), OPEN_MAX_US)
        jitter = min(max(jitter, -JITTER_SHARE), JITTER_SHARE)
        self.retry_at = now + max(lasting + int(lasting * jitter), asked_us)
        self._turn("open", now)

    def _ramp(self, now: int) -> None:
        self._turn("ramping", now)
        self._level = 1
        self._ramp_at = now
        self.level(now)

    def _close(self, now: int) -> None:
        self._turn("closed", now)
        self.trips = 0
        self._suspects.clear()

    def _turn(self, state: State, now: int) -> None:
        """Every transition: evidence that was gathered under another state does not count under the new one."""
        self.state = state
        self.turned_on = self._window.totals(now // US_PER_SECOND, LONG_WINDOW_SECONDS)
        self._evidence += 1
        self.passing = self._evidence if state in ("closed", "forced_closed") else 0
        self._turned_at = now
        self._probing = False
        self._probe_since = now
        self._promise = None
        self._streak = 0
        self._window.clear()


def encode(published: Published) -> bytes:
    """The value of the cell."""
    return msgspec.msgpack.encode(published)


def decode(value: bytes) -> Published | None:
    """Read the cell; None for one that this version did not write: the breaker is local then."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None


_decoder = msgspec.msgpack.Decoder(Published)


def _reaches(part: int, whole: int, share: tuple[int, int]) -> bool:
    return part * share[1] >= whole * share[0]
