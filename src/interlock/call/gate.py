"""The layer that asks whether a call may leave now: paused, breaker, limiter. The only shell around all three.

It also answers the same question before work starts (`offer`), so that an event waits as an event, without cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from interlock.call.breaker import JITTER_SHARE, Breaker, End, Published, State, Totals, Verdict
from interlock.call.classify import disabled
from interlock.call.gcra import Gcra
from interlock.call.limit import Limiter
from interlock.core.handler import Call, Handler
from interlock.core.limits import THROTTLED_US, WAIT_FOR_A_PERSON_US
from interlock.core.outcome import Done, Later, Outcome, Reject, Unavailable
from interlock.core.ports import Clock, Emit, Random


class GateTerms(NamedTuple):
    """What a System's binding says. `slow_us`: a call that takes this long is slow to the breaker."""

    system: str
    concurrency: int
    slow_us: int
    rate_per_second: float | None = None
    burst: int = 1


class GatePorts(NamedTuple):
    """What a gate needs of the world.

    `changed(system)`: work for it may be possible again. `turned(system, published)`: the breaker made a transition of
    its own that other processes should hear of. `gone(system, why)`: it takes nothing any more, and the gate has paused
    itself.
    """

    clock: Clock
    random: Random
    emit: Emit
    changed: Callable[[str], None]
    turned: Callable[[str, Published], None]
    gone: Callable[[str, str], None]


class GateState(NamedTuple):
    """How a System stands, for people. Instants are µs since the epoch; 0 where they do not apply."""

    system: str
    paused: bool
    breaker: State
    trips: int
    retry_at: int
    minute: Totals
    concurrency: int
    in_flight: int
    waiting: int
    rate_per_second: float | None
    throttled_until: int


class Gate:
    """One System's gate.

    Raises:
        SpecError: `system.rate-invalid`, for a rate or burst that is no limit.
    """

    __slots__ = ("_clock", "_limiter", "_ports", "_terms", "breaker", "paused")

    def __init__(self, terms: GateTerms, ports: GatePorts) -> None:
        self.paused = False
        self.breaker = Breaker(terms.concurrency)
        self._terms = terms
        self._ports = ports
        self._clock = ports.clock
        gcra = None if terms.rate_per_second is None else Gcra(terms.rate_per_second, terms.burst)
        self._limiter = Limiter(terms.system, ports.clock, terms.concurrency, gcra)

    def layer(self, inner: Handler) -> Handler:
        """`inner`, behind this gate."""

        async def gated(call: Call) -> Outcome:
            ticket = self._admit(call)
            if not ticket:
                return self._refusal(call.event)
            outcome: Outcome | None = None
            started = 0
            try:
                if not self._limiter.take():
                    outcome = await self._limiter.wait(call)
                    if outcome is not None:
                        return outcome
                    if self.paused or not self.breaker.stands(ticket):
                        # It changed while the call waited, and this is the moment at which it would be sent.
                        self._end(ticket, call, None, 0)
                        ticket = self._admit(call)
                        if not ticket:
                            self._leave()
                            return self._refusal(call.event)
                started = self._clock.monotonic()
                try:
                    outcome = await inner(call)
                finally:
                    self._leave()
                return outcome
            finally:
                self._end(ticket, call, outcome, started)

        return gated

    def offer(self, event: str) -> int | None:
        """None if work for this event ("" for none) may start now, else how many µs to wait before asking again."""
        if self.breaker.passing and self._limiter.is_free and not self.paused:
            return None
        if self.paused:
            return WAIT_FOR_A_PERSON_US
        now = self._clock.monotonic()
        self._level(now)
        wait = self.breaker.offer(event, now) or self._limiter.offer(event, now)
        return wait or None

    def release(self, event: str) -> None:
        """The work for this event has ended, whether or not it made a call."""
        self._limiter.release(event)

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self.paused = True
        self._limiter.flush(Unavailable("paused", None, self._terms.system))

    def resume(self) -> None:
        """End a pause; a 410 that caused one may cause the next."""
        self.paused = False
        self._ports.changed(self._terms.system)

    def force(self, how: Literal["open", "closed"] | None) -> None:
        """An operator holds the breaker, or lets it go."""
        was, now = self.breaker.state, self._clock.monotonic()
        self.breaker.force(how, now)
        self._note(was, now, own=False)

    def adopt(self, found: Published) -> None:
        """Take over what another process found."""
        was, now = self.breaker.state, self._clock.monotonic()
        self.breaker.adopt(found, now, self._clock.now())
        self._note(was, now, own=False)

    def follow(self, former: Gate, *, same_place: bool) -> None:
        """Replace a gate whose terms have changed: what a person set stays; what was found stays with the place."""
        self.paused = former.paused
        breaker = former.breaker
        if breaker.state in ("forced_open", "forced_closed"):
            self.force("open" if breaker.state == "forced_open" else "closed")
        elif same_place:
            found = breaker.published(self._clock.monotonic(), self._clock.now())
            if found is not None and found.state != "closed":
                self.adopt(found)

    def state(self) -> GateState:
        """How it stands."""
        now, wall = self._clock.monotonic(), self._clock.now()
        self._level(now)
        breaker, limiter = self.breaker, self._limiter
        return GateState(
            system=self._terms.system,
            paused=self.paused,
            breaker=breaker.state,
            trips=breaker.trips,
            retry_at=breaker.retry_at - now + wall if breaker.state == "open" else 0,
            minute=breaker.totals(now),
            concurrency=limiter.level,
            in_flight=limiter.in_flight,
            waiting=limiter.waiting,
            rate_per_second=self._terms.rate_per_second,
            throttled_until=limiter.paused_until - now + wall if limiter.paused_until > now else 0,
        )

    def _admit(self, call: Call) -> int:
        if self.paused:
            return 0
        if self.breaker.passing:
            return self.breaker.passing
        was, now = self.breaker.state, self._clock.monotonic()
        ticket = self.breaker.admit(call.event, now)
        self._note(was, now)
        self._limiter.set_level(self.breaker.level(now))
        return ticket

    def _refusal(self, event: str) -> Unavailable:
        if self.paused:
            return Unavailable("paused", None, self._terms.system)
        wait = self.breaker.wait_us(event, self._clock.monotonic())
        return Unavailable("breaker", wait, self._terms.system)

    def _leave(self) -> None:
        limiter = self._limiter
        limiter.leave()
        if limiter.wanted and limiter.in_flight < limiter.level:
            limiter.wanted = False
            self._ports.changed(self._terms.system)

    def _end(self, ticket: int, call: Call, outcome: Outcome | None, started: int) -> None:
        """Evidence for the breaker and the limiter. Without an outcome the call was cancelled: nothing was learned."""
        breaker, now = self.breaker, self._clock.monotonic()
        was = breaker.state
        verdict = "void" if outcome is None else verdict_of(outcome)
        slow = verdict != "void" and now - started >= self._terms.slow_us
        asked_us = outcome.after_us or 0 if isinstance(outcome, Later) else 0
        is_calm = verdict == "good" and not slow
        jitter = 0.0 if is_calm else self._ports.random.uniform(-JITTER_SHARE, JITTER_SHARE)
        breaker.end(ticket, End(call.event, verdict, slow, asked_us), now, jitter)
        if was == "half_open" and breaker.state == was:
            self._ports.changed(self._terms.system)
        self._note(was, now)
        if outcome is not None and verdict != "void":
            self._tell(call, outcome, now - started)
        if outcome is not None:
            self._obey(call, outcome, now)

    def _tell(self, call: Call, outcome: Outcome, duration_us: int) -> None:
        answer = outcome.answer if isinstance(outcome, Done) else None
        status = answer.status if answer else getattr(outcome, "status", None)
        self._ports.emit(
            "call.ended",
            system=self._terms.system,
            method=call.method,
            status=status or 0,
            duration_us=duration_us,
            error=getattr(outcome, "reason", ""),
        )

    def _obey(self, call: Call, outcome: Outcome, now: int) -> None:
        """What the System asked of all calls to it, not of this one only."""
        system = self._terms.system
        if isinstance(outcome, Later) and outcome.status == 429:
            wait = outcome.after_us or THROTTLED_US
            self._limiter.pause(now + wait)
            self._ports.emit("limiter.paused", system=system, after_us=wait)
        elif (why := disabled(call, outcome)) is not None and not self.paused:
            self.pause()
            self._ports.emit("system.gone", system=system, method=call.method, target=call.target, why=why)
            self._ports.gone(system, why)

    def _level(self, now: int) -> None:
        was = self.breaker.state
        if was == "ramping":
            self._limiter.set_level(self.breaker.level(now))
            self._note(was, now)

    def _note(self, was: State, now: int, own: bool = True) -> None:
        breaker, system = self.breaker, self._terms.system
        if breaker.state == was:
            return
        wall, totals = self._clock.now(), breaker.turned_on
        if breaker.state in ("open", "forced_open"):
            self._limiter.flush(Unavailable("breaker", breaker.wait_us("", now), system))
        else:
            self._limiter.set_level(breaker.level(now))
        self._ports.emit(
            "breaker.transition",
            system=system,
            was=was,
            state=breaker.state,
            trips=breaker.trips,
            calls=totals.calls,
            failures=totals.failures,
            slow=totals.slow,
            retry_at=breaker.retry_at - now + wall if breaker.state == "open" else 0,
            own=own,
        )
        published = breaker.published(now, wall) if own else None
        if published is not None:
            self._ports.turned(system, published)
        self._ports.changed(system)


def verdict_of(outcome: Outcome) -> Verdict:
    """What an outcome says about the System: no answer, 5xx and malformed are bad, 4xx do not count.

    A success that is none by its body (`judge`) is malformed if it may pass; where the predicate itself failed, which
    its bound on attempts tells, it says nothing.
    """
    if isinstance(outcome, Done):
        return "good"
    if isinstance(outcome, Unavailable):
        return "void"
    if outcome.status is None:
        return "answered" if isinstance(outcome, Reject) else "bad"
    if 200 <= outcome.status < 300:
        return "bad" if isinstance(outcome, Later) and outcome.attempts_max is None else "answered"
    return "answered" if 300 <= outcome.status < 500 else "bad"
