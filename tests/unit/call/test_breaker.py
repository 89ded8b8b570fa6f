"""The breaker: its rules by example, and a long walk beside a reference that keeps everything and recounts."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock.call.breaker import (
    OPEN_MAX_US,
    OPEN_US,
    PROBE_PATIENCE_US,
    RAMP_STEP_US,
    Breaker,
    End,
    Published,
    Totals,
    Verdict,
    Window,
    decode,
    encode,
)
from interlock.core.limits import START_PROMISE_US, US_PER_HOUR, US_PER_MINUTE, US_PER_SECOND, WAIT_FOR_A_PERSON_US

START = 1_000 * US_PER_SECOND
WALL = 1_767_225_600_000_000


def finish(breaker: Breaker, event: str, verdict: Verdict, now: int, *, slow: bool = False, asked_us: int = 0) -> None:
    ticket = breaker.admit(event, now)
    assert ticket, f"{event} was refused while {breaker.state}"
    breaker.end(ticket, End(event, verdict, slow, asked_us), now, 0.0)


def opened(now: int = START, concurrency: int = 8) -> Breaker:
    breaker = Breaker(concurrency)
    for number in range(5):
        finish(breaker, f"e{number}", "bad", now)
    assert breaker.state == "open"
    return breaker


def ramping(now: int = START, concurrency: int = 8) -> tuple[Breaker, int]:
    breaker = opened(now, concurrency)
    now = breaker.retry_at
    for event in ("a", "b", "c"):
        finish(breaker, event, "good", now)
    assert breaker.state == "ramping"
    return breaker, now


def test_five_failures_in_a_row_from_three_events_open_it():
    breaker = Breaker(8)
    for event in ("a", "b", "a", "b"):
        finish(breaker, event, "bad", START)
    assert breaker.state == "closed"
    finish(breaker, "c", "bad", START)
    assert breaker.state == "open"
    assert breaker.passing == 0


def test_one_poison_event_and_its_neighbour_do_not_open_it():
    breaker = Breaker(8)
    for attempt in range(19):
        finish(breaker, "ab"[attempt % 2], "bad", START + attempt * US_PER_MINUTE)
    assert breaker.state == "closed"


def test_a_success_ends_the_streak():
    breaker = Breaker(8)
    for event in ("a", "b", "c", "d"):
        finish(breaker, event, "bad", START)
    finish(breaker, "e", "good", START)
    finish(breaker, "f", "bad", START)
    assert breaker.state == "closed"


def test_calls_without_an_event_have_no_poison_to_blame():
    breaker = Breaker(8)
    for _ in range(5):
        finish(breaker, "", "bad", START)
    assert breaker.state == "open"


@pytest.mark.parametrize("verdict", ["answered", "void"])
def test_answers_that_are_the_callers_fault_and_calls_that_were_not_made_are_not_counted(verdict: Verdict):
    breaker = Breaker(8)
    for number in range(100):
        finish(breaker, f"e{number}", verdict, START)
    assert breaker.state == "closed"
    assert breaker.totals(START) == Totals(0, 0, 0)


def test_half_of_twenty_calls_failing_opens_it_and_nineteen_calls_are_too_few():
    breaker = Breaker(8)
    for number in range(18):
        finish(breaker, "poison" if number % 2 else "other", "bad" if number % 2 else "good", START)
    finish(breaker, "other", "good", START)
    assert breaker.state == "closed"
    finish(breaker, "poison", "bad", START)
    assert breaker.state == "open"


def test_the_short_window_decides_as_soon_as_it_holds_enough_calls():
    breaker = Breaker(8)
    for _ in range(200):
        finish(breaker, "old", "good", START)
    later = START + 20 * US_PER_SECOND
    for number in range(20):
        finish(breaker, "poison" if number % 2 else "other", "bad" if number % 2 else "good", later)
    assert breaker.state == "open"


def test_a_slow_trickle_is_judged_over_the_minute_and_older_calls_are_forgotten():
    breaker = Breaker(8)
    for number in range(20):
        finish(breaker, "a", "good" if number < 10 else "bad", START + number * 3 * US_PER_SECOND)
    assert breaker.state == "open"
    breaker = Breaker(8)
    for number in range(20):
        finish(breaker, "a", "good" if number < 10 else "bad", START + number * 4 * US_PER_SECOND)
    assert breaker.state == "closed"


def test_four_slow_calls_of_five_open_it():
    breaker = Breaker(8)
    for number in range(20):
        assert breaker.state == "closed"
        finish(breaker, "a", "good", START, slow=number >= 4)
    assert breaker.state == "open"


def test_it_stays_open_twice_as_long_at_each_trip_in_a_row_up_to_ten_minutes():
    breaker = opened()
    now, waits = START, []
    for number in range(9):
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        finish(breaker, f"p{number}", "bad", now)
    assert [wait // US_PER_SECOND for wait in waits] == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert breaker.trips == 10


@pytest.mark.parametrize(("jitter", "expected"), [(0.1, 11), (-0.1, 9), (0.05, 10.5), (7.0, 11)])
def test_the_jitter_that_is_handed_in_moves_the_probe_by_a_tenth_at_most(jitter: float, expected: float):
    breaker = Breaker(8)
    for number in range(5):
        breaker.end(breaker.admit(f"e{number}", START), End(f"e{number}", "bad"), START, jitter)
    assert breaker.retry_at - START == expected * US_PER_SECOND


def test_a_wait_that_the_system_asked_for_is_honoured_by_the_trip():
    breaker = Breaker(8)
    for number in range(5):
        finish(breaker, f"e{number}", "bad", START, asked_us=90 * US_PER_SECOND)
    assert breaker.retry_at == START + 90 * US_PER_SECOND


def test_nothing_passes_an_open_breaker_until_its_time():
    breaker = opened()
    assert breaker.admit("new", START + OPEN_US - 1) == 0
    assert breaker.wait_us("new", START + US_PER_SECOND) == OPEN_US - US_PER_SECOND
    assert breaker.admit("new", START + OPEN_US)
    assert breaker.state == "half_open"


def test_the_transition_is_the_probes_slot_and_there_is_one_probe_at_a_time():
    breaker = opened()
    now = breaker.retry_at
    ticket = breaker.admit("a", now)
    assert breaker.admit("b", now) == 0
    assert breaker.wait_us("b", now) > 0
    breaker.end(ticket, End("a", "good"), now, 0.0)
    assert breaker.admit("b", now)


def test_an_event_that_has_not_failed_here_is_preferred_as_a_probe():
    breaker = opened()
    now = breaker.retry_at
    assert breaker.wait_us("e0", now) == PROBE_PATIENCE_US
    assert breaker.wait_us("fresh", now) == 0
    assert breaker.wait_us("e0", now + PROBE_PATIENCE_US) == 0


def test_the_same_event_does_not_probe_twice_running_while_another_may_come():
    breaker = opened()
    now = breaker.retry_at
    finish(breaker, "a", "good", now)
    assert breaker.admit("a", now) == 0
    finish(breaker, "b", "good", now)
    finish(breaker, "a", "good", now)
    assert breaker.state == "ramping"


def test_a_system_with_one_event_left_recovers_too():
    breaker = opened()
    now = breaker.retry_at
    for _ in range(3):
        now += PROBE_PATIENCE_US
        finish(breaker, "e0", "good", now)
    assert breaker.state == "ramping"


def test_an_event_that_was_promised_the_probe_keeps_it_for_a_second():
    breaker = opened()
    now = breaker.retry_at
    assert breaker.offer("a", now) == 0
    assert breaker.offer("b", now) == START_PROMISE_US
    assert breaker.admit("b", now) == 0
    assert breaker.offer("b", now + START_PROMISE_US) == 0
    assert breaker.admit("b", now + START_PROMISE_US)


def test_three_good_probes_begin_the_ramp_and_a_bad_one_opens_again():
    breaker = opened()
    finish(breaker, "a", "good", breaker.retry_at)
    finish(breaker, "b", "good", breaker.retry_at)
    now = breaker.retry_at
    finish(breaker, "c", "bad", now)
    assert (breaker.state, breaker.trips, breaker.retry_at) == ("open", 2, now + 2 * OPEN_US)


def test_an_answer_of_any_kind_shows_that_the_system_is_there_and_a_void_probe_shows_nothing():
    breaker = opened()
    now = breaker.retry_at
    for event in ("a", "b"):
        finish(breaker, event, "answered", now)
    finish(breaker, "c", "void", now)
    assert breaker.state == "half_open"
    finish(breaker, "d", "answered", now)
    assert breaker.state == "ramping"


def test_the_ramp_doubles_every_five_seconds_and_closes_at_the_normal_level():
    breaker, now = ramping(concurrency=8)
    levels = [breaker.level(now + seconds * US_PER_SECOND) for seconds in (0, 4, 5, 9, 10, 14)]
    assert levels == [1, 1, 2, 2, 4, 4]
    assert breaker.trips == 1
    assert breaker.level(now + 3 * RAMP_STEP_US) == 8
    assert (breaker.state, breaker.trips) == ("closed", 0)


def test_a_failure_holds_the_ramp_where_it_is():
    breaker, now = ramping()
    finish(breaker, "x", "bad", now + 6 * US_PER_SECOND)
    assert breaker.level(now + 10 * US_PER_SECOND) == 2
    assert breaker.level(now + 11 * US_PER_SECOND) == 4


def test_a_relapse_during_the_ramp_is_the_next_trip_in_a_row():
    breaker, now = ramping()
    for number in range(5):
        finish(breaker, f"r{number}", "bad", now)
    assert (breaker.state, breaker.trips) == ("open", 2)


def test_a_call_from_before_a_transition_is_no_evidence_after_it():
    breaker = Breaker(8)
    tickets = [breaker.admit(f"s{number}", START) for number in range(9)]
    for number in range(5):
        finish(breaker, f"e{number}", "bad", START)
    now = breaker.retry_at
    probe = breaker.admit("probe", now)
    for ticket in tickets:
        breaker.end(ticket, End("late", "bad"), now, 0.0)
    assert breaker.state == "half_open"
    assert breaker.admit("other", now) == 0
    breaker.end(probe, End("probe", "good"), now, 0.0)
    assert breaker.state == "half_open"


def test_an_operator_holds_it_open_or_closed_and_lets_go():
    breaker = Breaker(8)
    breaker.force("open", START)
    assert breaker.admit("a", START + US_PER_HOUR) == 0
    assert breaker.wait_us("a", START) == WAIT_FOR_A_PERSON_US
    breaker.force("closed", START)
    for number in range(50):
        finish(breaker, f"e{number}", "bad", START)
    assert breaker.state == "forced_closed"
    assert breaker.totals(START) == Totals(50, 50, 0)
    breaker.force(None, START)
    finish(breaker, "a", "bad", START)
    assert breaker.state == "closed"


def test_the_others_adopt_an_open_breaker_and_later_its_recovery():
    here, there = opened(), Breaker(8)
    found = here.published(START, WALL)
    assert found is not None
    found = decode(encode(found))
    assert found is not None
    # The other process has another monotonic clock and hears of it 300 ms later.
    other, late = 5 * US_PER_SECOND, 300_000
    there.adopt(found, other + late, WALL + late)
    assert (there.state, there.trips) == ("open", 1)
    assert there.retry_at == other + OPEN_US

    now = here.retry_at
    for event in ("a", "b", "c"):
        finish(here, event, "good", now)
    found = here.published(now, WALL + now - START)
    assert found is not None
    there.adopt(found, other + now - START, WALL + now - START)
    assert there.state == "ramping"
    assert there.level(other + now - START) == 1


def test_what_a_process_found_itself_later_is_not_overruled_by_an_older_cell():
    breaker = opened(START)
    breaker.adopt(Published("ramping", 0, 0, WALL - 1), START, WALL)
    assert breaker.state == "open"
    closed = Breaker(8)
    closed.adopt(Published("open", 1, WALL - 5, WALL - OPEN_US), START, WALL)
    assert closed.state == "closed"


def test_a_wait_in_a_cell_cannot_keep_a_system_closed_for_ever():
    breaker = Breaker(8)
    breaker.adopt(Published("open", 1, WALL + 10**15, WALL), START, WALL)
    assert breaker.retry_at <= START + 2 * OPEN_MAX_US


def test_half_open_and_forced_states_are_not_published():
    breaker = opened()
    breaker.admit("a", breaker.retry_at)
    assert breaker.published(breaker.retry_at, WALL) is None
    breaker.force("open", START)
    assert breaker.published(START, WALL) is None


@pytest.mark.parametrize("value", [b"", b"x", encode(Published("open", 1, 2, 3))[:-1], b"\x94\xa5other\x01\x02\x03"])
def test_a_cell_that_cannot_be_read_leaves_the_breaker_local(value: bytes):
    assert decode(value) is None


def test_remembered_events_are_bounded():
    breaker = Breaker(8)
    breaker.force("closed", START)
    for number in range(5_000):
        finish(breaker, f"e{number}", "bad", START)
    assert len(breaker._suspects) <= 1_024
    assert len(breaker._streak_events) <= 3


class Reference:
    """The breaker in the plainest words: it keeps every counted call of the present state and recounts at each step."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.state = "closed"
        self.era = 0
        self.trips = 0
        self.since = 0
        self.retry_at = 0
        self.calls: list[tuple[int, str, bool, bool]] = []
        self.good = 0
        self.probe: str | None = None
        self.last_probe = ""
        self.failed_here: set[str] = set()
        self.level = 1

    def turn(self, state: str, now: int) -> None:
        self.state, self.era, self.since = state, self.era + 1, now
        self.calls, self.good, self.probe, self.level = [], 0, None, 1
        if state == "closed":
            self.trips, self.failed_here = 0, set()

    def pass_time(self, now: int) -> None:
        while self.state == "ramping" and (now >= self.since + 5 * US_PER_SECOND or self.level >= self.concurrency):
            self.since += 5 * US_PER_SECOND
            self.level *= 2
            if self.level >= self.concurrency:
                self.turn("closed", now)

    def admits(self, event: str, now: int) -> bool:
        if self.state in ("closed", "ramping"):
            return True
        if (self.state == "open" and now < self.retry_at) or self.probe is not None:
            return False
        since = self.retry_at if self.state == "open" else self.since
        return not (now < since + US_PER_SECOND and (event in self.failed_here or event == self.last_probe))

    def trip(self, now: int) -> None:
        self.trips += 1
        self.retry_at = now + min(10 * 2 ** (self.trips - 1), 600) * US_PER_SECOND
        self.turn("open", now)

    def end(self, era: int, event: str, verdict: str, slow: bool, now: int) -> None:
        if verdict == "bad":
            self.failed_here.add(event)
        elif verdict == "good":
            self.failed_here.discard(event)
        if era != self.era:
            return
        if self.state == "half_open":
            self.probe, self.since = None, now
            if verdict == "bad":
                self.trip(now)
            elif verdict != "void":
                self.good += 1
                if self.good == 3:
                    self.turn("ramping", now)
                    self.pass_time(now)
            return
        if verdict in ("answered", "void"):
            return
        self.pass_time(now)
        self.calls.append((now // US_PER_SECOND, event, verdict == "bad", slow))
        if verdict == "bad" and self.state == "ramping":
            self.since = now
        if (verdict == "bad" or slow) and self.is_bad(now // US_PER_SECOND):
            self.trip(now)

    def is_bad(self, second: int) -> bool:
        streak: list[str] = []
        for _, event, failed, _ in reversed(self.calls):
            if not failed:
                break
            streak.append(event)
        if len(streak) >= 5 and len(set(streak)) >= 3:
            return True
        for span in (10, 60):
            window = [call for call in self.calls if second - span < call[0] <= second]
            if len(window) >= 20:
                failed, slow = sum(call[2] for call in window), sum(call[3] for call in window)
                return failed / len(window) >= 0.5 or slow / len(window) >= 0.8
        return False


EVENTS = st.sampled_from([f"e{number}" for number in range(6)])
VERDICTS = st.sampled_from(["good", "good", "bad", "bad", "answered", "void"])


class BreakerAgainstReference(RuleBasedStateMachine):
    @initialize(concurrency=st.sampled_from([1, 2, 5, 32]))
    def begin(self, concurrency: int) -> None:
        self.breaker, self.reference = Breaker(concurrency), Reference(concurrency)
        self.now = START
        self.under_way: list[tuple[int, int, str]] = []

    @rule(
        us=st.one_of(
            st.integers(0, 3 * US_PER_SECOND), st.sampled_from([5, 10, 20, 59, 60, 61]).map(lambda s: s * US_PER_SECOND)
        )
    )
    def time_passes(self, us: int) -> None:
        self.now += us

    @precondition(lambda self: self.reference.state == "open")
    @rule(us=st.integers(-1, US_PER_SECOND))
    def the_open_time_ends(self, us: int) -> None:
        self.now = max(self.now, self.reference.retry_at + us)

    @rule(event=EVENTS)
    def begin_call(self, event: str) -> None:
        may = self.reference.admits(event, self.now)
        ticket = self.breaker.admit(event, self.now)
        assert bool(ticket) == may
        if not may:
            return
        self.reference.pass_time(self.now)
        if self.reference.state == "open":
            self.reference.turn("half_open", self.now)
        if self.reference.state == "half_open":
            self.reference.probe = self.reference.last_probe = event
        self.under_way.append((ticket, self.reference.era, event))

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 50), verdict=VERDICTS, slow=st.booleans())
    def end_call(self, index: int, verdict: Verdict, slow: bool) -> None:
        ticket, era, event = self.under_way.pop(index % len(self.under_way))
        self.breaker.end(ticket, End(event, verdict, slow), self.now, 0.0)
        self.reference.end(era, event, verdict, slow, self.now)

    def whole_call(self, event: str, verdict: Verdict, slow: bool = False) -> None:
        before = len(self.under_way)
        self.begin_call(event)
        if len(self.under_way) > before:
            self.end_call(before, verdict, slow)

    @rule(good=st.integers(0, 14), bad=st.integers(0, 14), slow=st.integers(0, 14), events=st.integers(1, 4))
    def a_mixture_of_calls(self, good: int, bad: int, slow: int, events: int) -> None:
        kinds = [("good", False)] * good + [("bad", False)] * bad + [("good", True)] * slow
        for number, (verdict, is_slow) in enumerate(kinds):
            self.whole_call(f"e{number % events}", verdict, is_slow)

    @precondition(lambda self: self.reference.state in ("open", "half_open"))
    @rule(bad=st.booleans())
    def it_recovers_or_does_not(self, bad: bool) -> None:
        self.now = max(self.now, self.reference.retry_at) + US_PER_SECOND
        for event in ("p1", "p2", "p3"):
            self.whole_call(event, "bad" if bad else "good")

    @precondition(lambda self: self.reference.state == "ramping")
    @rule(us=st.integers(4_900_000, 6_100_000), bad=st.booleans())
    def a_step_of_the_ramp(self, us: int, bad: bool) -> None:
        self.now += us
        self.whole_call("e0", "bad" if bad else "good")

    @invariant()
    def both_stand_alike(self) -> None:
        assert self.breaker.state == self.reference.state
        assert self.breaker.trips == self.reference.trips
        if self.reference.state == "ramping":
            self.reference.pass_time(self.now)
            is_ramping = self.reference.state == "ramping"
            assert self.breaker.level(self.now) == (self.reference.level if is_ramping else self.reference.concurrency)
        assert (self.breaker.passing != 0) == (self.reference.state == "closed")
        if self.reference.state == "open":
            assert self.breaker.retry_at == self.reference.retry_at


TestBreakerAgainstReference = BreakerAgainstReference.TestCase
TestBreakerAgainstReference.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("seconds", [10, 60])
def test_a_window_holds_this_second_and_those_before_it_and_none_more(seconds: int):
    window = Window()
    window.add(1_000, failed=True, slow=False)
    assert window.totals(1_000 + seconds - 1, seconds) == Totals(1, 1, 0)
    assert window.totals(1_000 + seconds, seconds) == Totals(0, 0, 0)
    assert window.totals(999, seconds) == Totals(0, 0, 0)
