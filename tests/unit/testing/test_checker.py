"""The checker refuses a hand-made bad history for each invariant, and passes whatever a correct model does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.testing.sim.checker import check
from interlock.testing.sim.history import (
    KILLED,
    Accounted,
    AnyLine,
    Asked,
    Began,
    Called,
    Controlled,
    Fault,
    Finished,
    Found,
    History,
    Kind,
    Leaked,
    Logged,
    Probed,
    Published,
    Quiet,
    Read,
    Reads,
    Took,
    Tried,
    Turned,
    load,
)

READS = Reads("s", "log", ordered=True, effect="keyed", labels=("a",), backoff_us=500, prompt_us=1_000)
ONCE = Reads("s", "log", ordered=True, effect="once", labels=("a",))
NATURAL = Reads("s", "log", ordered=True, effect="natural", labels=("a",))

NUMBERED = Reads("s", "log", ordered=True, effect="keyed", labels=(), waits_us=20_000_000)
PROBE = Reads("s", "log", ordered=True, effect="probe", labels=("a",))
BOUNDED = Reads("s", "log", ordered=True, effect="keyed", labels=("a",), calls_max=1, window_max=2, running_max=1)


def publish(t: int, kind: Kind, id: str = "e1", digest: str = "d", server: str = "") -> Published:
    return Published(t=t, kind=kind, stream="log", id=id, key="k", digest=digest, server=server)


def logged(t: int, offset: int, id: str | None = None, digest: str = "d", **more: Any) -> Logged:
    fields: dict[str, Any] = {"type": "T"} | more
    return Logged(t=t, stream="log", shard=0, offset=offset, id=id or f"e{offset}", key="k", digest=digest, **fields)


def called(
    t: int, offset: int, status: int = 200, fresh: bool | None = None, token: str = "", **more: object
) -> Called:
    fresh = 200 <= status < 300 if fresh is None else fresh
    return Called(
        t=t, process="remote", subscription="s", stream="log", shard=0, offset=offset, id=f"e{offset}", label="a",
        status=status, fresh=fresh, key="k", token=token or f"token-{offset}", digest="d", **more,  # type: ignore[arg-type]
    )  # fmt: skip


def began(t: int, offset: int) -> Began:
    return Began(t=t, process="p1", subscription="s", stream="log", shard=0, offset=offset, id=f"e{offset}", key="k")


def cursor(
    t: int, floor: int, delivered: int, *, number: int = 1, epoch: int = 1, above: int = 0, **more: object
) -> Accounted:
    fields: dict[str, object] = {
        "filtered": 0, "discarded": 0, "dead": 0, "types": ((1, ("T",)),), "start": 0, "subscription": "s",
        "stream": "log", "shard": 0, "process": "p1",
    }  # fmt: skip
    fields.update(more)
    return Accounted(t=t, floor=floor, above=above, delivered=delivered, number=number, epoch=epoch, **fields)  # type: ignore[arg-type]


def two_events() -> list[AnyLine]:
    return [
        publish(1, "invoke"), logged(2, 1), publish(3, "ok"),
        publish(4, "invoke", "e2"), logged(5, 2), publish(6, "ok", "e2"),
    ]  # fmt: skip


def turned(t: int, state: str) -> Turned:
    return Turned(t=t, process="p1", remote="remote", state=state)


def probed(t: int, offset: int, until: int) -> Probed:
    return Probed(
        t=t, process="remote", subscription="s", stream="log", shard=0, offset=offset, id=f"e{offset}", label="a",
        status=200, found=False, sender="p1", until=until,
    )  # fmt: skip


def asked(t: int, offset: int) -> Asked:
    return Asked(t=t, verb="retry", subscription="s", stream="log", shard=0, offset=offset)


def replayed(t: int, offset: int) -> Asked:
    return Asked(t=t, verb="replay", subscription="s", stream="log", shard=0, offset=offset)


def killed(t: int, process: str) -> Fault:
    return Fault(t=t, process=process, scope="process", what=KILLED)


def taken_over(t: int, process: str, epoch: int) -> Accounted:
    return cursor(t, 0, 0, epoch=epoch, number=0, process=process)


def joined(at: int, above: int) -> list[AnyLine]:
    """Event 2 is sent at 8; the type of event 1 comes to be read `at` an instant, when the ledger has these bits."""
    narrow, wide = ((1, ("U",)),), ((1, ("T", "U")),)
    return [
        publish(1, "invoke"), logged(2, 1), publish(3, "invoke", "e2"), logged(4, 2, type="U"),
        cursor(5, 0, 0, types=narrow), called(8, 2),
        cursor(at, 0, above.bit_count(), above=above, epoch=2, number=0, types=wide),
        called(10, 1), called(11, 2, fresh=False), cursor(12, 2, 2, epoch=2, types=wide),
    ]  # fmt: skip


GOOD: list[AnyLine] = [
    *two_events(),
    began(7, 1), called(8, 1), cursor(9, 1, 1), began(10, 2), called(11, 2), cursor(12, 2, 2, number=2),
    Quiet(t=13), Finished(t=14),
]  # fmt: skip

GAPPED: list[AnyLine] = [
    *two_events(), taken_over(7, "p1", 1), began(8, 1), called(9, 1, 422, sender="p1"),
    cursor(10, 1, 0, dead=1, dead_rows=(1,), untold=(1,)), began(11, 2),
]  # fmt: skip
"""The first event is dead, and the attempt of the second has begun."""

SPOILED = Reads("s", "log", ordered=True, effect="keyed", labels=("a",), ailing=frozenset({"k"}))


def spoiled(t: int, count: int, number: int = 1) -> Accounted:
    """So many of the first events have died, all of one fault."""
    dead = tuple(range(1, count + 1))
    return cursor(t, count, 0, number=number, dead=count, dead_rows=dead, spoiled=dead)


BAD: dict[str, tuple[str, list[AnyLine], Reads]] = {
    "an event that never arrives": ("I1", [*two_events(), called(8, 1), cursor(9, 2, 2), Finished(t=10)], READS),
    "an event that was never handed in": ("I2", [logged(1, 1)], READS),
    "a body that changed on its way into the log": ("I2", [publish(1, "invoke"), logged(2, 1, digest="x")], READS),
    "a call for what the log does not have": ("I2", [publish(1, "invoke"), logged(2, 1), called(3, 2)], READS),
    "two effects of one event": (
        "I3", [*two_events(), called(8, 1, fresh=True), called(9, 1, fresh=True, token="other")], READS,
    ),
    "one key for two events": ("I3", [*two_events(), called(8, 1), called(9, 2, token="token-1")], READS),
    "a once call that is sent again unasked": (
        "I3", [*two_events(), called(8, 1, 0, fresh=True), called(9, 1)], ONCE,
    ),
    "two events derived from one": (
        "I3", [logged(1, 1, "x1", via="s", origin="e1"), logged(2, 2, "x2", via="s", origin="e1")], READS,
    ),
    "a late call that undoes a newer one": (
        "I3",
        [*two_events(), called(8, 1), called(9, 2), called(10, 1, fresh=True)],
        NATURAL,
    ),
    "a later event before an earlier one of its key": (
        "I4", [*two_events(), called(8, 2), called(9, 1), cursor(10, 2, 2)], READS,
    ),
    "a later event before the earlier one is durably dead": (
        "I4",
        [*two_events(), called(8, 1, 422), called(9, 2), cursor(10, 2, 1, dead=1, dead_rows=(1,))],
        READS,
    ),
    "an event that came to be read when a later one had been accounted for": ("I4", joined(9, above=0b10), READS),
    "an event that was read already when a later one was sent": ("I4", joined(7, above=0), READS),
    "a former process that sends after its successor": (
        "I4",
        [*two_events(), taken_over(7, "p1", 1), taken_over(8, "p2", 2), called(9, 1, sender="p2"),
         called(10, 1, sender="p1", fresh=False)],
        READS,
    ),
    "a take-over while a living process has a call under way": (
        "I4",
        [*two_events(), taken_over(7, "p1", 1), called(8, 1, sender="p1", until=500_000), taken_over(9, "p2", 2),
         called(10, 1, sender="p2", fresh=False)],
        READS,
    ),
    "a take-over while a natural call of a dead process is under way": (
        "I4",
        [*two_events(), taken_over(7, "p1", 1), called(8, 1, sender="p1", until=500_000), killed(9, "p1"),
         taken_over(10, "p2", 2), called(11, 1, sender="p2")],
        NATURAL,
    ),
    "a later event before one that was put back": (
        "I4",
        [*two_events(), called(7, 1), called(8, 2), cursor(9, 2, 2), replayed(10, 1),
         publish(11, "invoke", "e3"), logged(12, 3), cursor(13, 2, 1, number=2, live=(1,)), began(5_014, 3),
         called(5_015, 3, sender="p1")],
        READS,
    ),
    "a settled event that comes back unasked": (
        "I4",
        [*two_events(), called(7, 1), called(8, 2), cursor(9, 2, 2), cursor(10, 2, 1, number=2, live=(1,))],
        READS,
    ),
    "a replay that derives two events": (
        "I3",
        [logged(1, 1, "e1"), logged(2, 2, "x1", via="s", origin="e1"), replayed(3, 1),
         logged(4, 3, "x2", via="s", origin="e1"), logged(5, 4, "x3", via="s", origin="e1")],
        READS,
    ),
    "a replayed once call that is sent twice": (
        "I3", [*two_events(), called(8, 1), replayed(9, 1), called(10, 1), called(11, 1)], ONCE,
    ),
    "a gap in the log": ("I5", [publish(1, "invoke", "e2"), logged(2, 2)], READS),
    "one identity twice": ("I5", [publish(1, "invoke"), logged(2, 1), logged(3, 2, "e1")], READS),
    "a reader that is told too much": (
        "I5", [*two_events(), Read(t=7, stream="log", shard=0, after=0, upto=2, offsets=(1,))], READS,
    ),
    "a reader that sees what is not durable": (
        "I5", [*two_events(), Read(t=7, stream="log", shard=0, after=0, upto=3, offsets=(1, 2, 3))], READS,
    ),
    "an event that the next process does not find": (
        "I6", [*two_events(), Found(t=7, process="p2", stream="log", shard=0, after=0, ids=("e1",))], READS,
    ),
    "another event where one was durable": (
        "I6", [*two_events(), Found(t=7, process="p2", stream="log", shard=0, after=0, ids=("e1", "e3"))], READS,
    ),
    "an acknowledgement before the commit": ("I6", [publish(1, "invoke"), publish(2, "ok"), logged(3, 1)], READS),
    "an acknowledgement without a commit": ("I6", [publish(1, "invoke"), publish(2, "ok")], READS),
    "a refusal that appears later": ("I7", [publish(1, "invoke"), publish(2, "fail"), logged(3, 1)], READS),
    "an event that is accounted for twice": ("I8", [cursor(1, 2, 3)], READS),
    "an event that fell out of the books": ("I8", [cursor(1, 2, 1)], READS),
    "a dead letter that is not counted": ("I8", [cursor(1, 1, 0, dead_rows=(1,))], READS),
    "a mark that counts more than there is": ("I8", [cursor(1, 5, 0, marks=(("k", 4, 5, 5),))], READS),
    "a floor that goes back": ("I8", [cursor(1, 2, 2), cursor(2, 1, 1, number=2)], READS),
    "a retry that does not wait": (
        "I9", [*two_events(), began(7, 1), called(8, 1, 503), began(400, 1)], READS,
    ),
    "a retry that ignores Retry-After": (
        "I9", [*two_events(), began(7, 1), called(8, 1, 503, retry_after_us=10_000), began(9_000, 1)], READS,
    ),
    "an attempt after the end": ("I9", [*two_events(), called(8, 1), cursor(9, 1, 1), began(10, 1)], READS),
    "more attempts than allowed": (
        "I9",
        [*two_events(), *[called(10_000 * n, 1, 503) for n in range(1, 5)]],
        Reads("s", "log", ordered=True, effect="keyed", labels=("a",), attempts_max=3),
    ),
    "a death by time alone": (
        "I9",
        [*two_events(), began(7, 1), cursor(400_000, 1, 0, dead=1, dead_rows=(1,), exhausted=(1,))],
        Reads("s", "log", ordered=True, effect="keyed", labels=("a",), age_max_us=300_000),
    ),
    "a death by time alone after a person asked": (
        "I9",
        [*two_events(), began(7, 1), asked(8, 1), cursor(200_000, 1, 0, dead=1, dead_rows=(1,), exhausted=(1,))],
        Reads("s", "log", ordered=True, effect="keyed", labels=("a",), age_max_us=300_000),
    ),
    "a delayed event that comes early": (
        "I9",
        [publish(1, "invoke"), logged(2, 1), logged(50, 2, via="s", origin="e1")],
        Reads("s", "log", ordered=True, effect="keyed", labels=(), delay_us=100),
    ),
    "a time that a schedule runs for twice": (
        "I5", [logged(1, 1, via="bell", serial=7), logged(2, 2, via="bell", serial=7)], READS,
    ),
    "a time that a schedule leaves out": (
        "I5", [logged(1, 1, via="bell", serial=7), logged(2, 2, via="bell", serial=9)], READS,
    ),
    "a gap that nobody tells of": (
        "I17", [*GAPPED, called(12, 2, sender="p1"), cursor(13, 2, 1, number=2, dead=1, dead_rows=(1,))], READS,
    ),
    "a gap that is none": (
        "I17", [*two_events(), taken_over(6, "p1", 1), began(7, 2), called(8, 2, sender="p1", gap=(1, 1, 1))], READS,
    ),
    "a gap that is told and counts as untold": (
        "I17",
        [*GAPPED, called(12, 2, sender="p1", gap=(1, 1, 1)),
         cursor(13, 2, 1, number=2, dead=1, dead_rows=(1,), untold=(1,))],
        READS,
    ),
    "a late event where only newer ones are wanted": (
        "I18",
        [publish(1, "invoke"), logged(2, 1, serial=5), publish(3, "invoke", "e2"), logged(4, 2, serial=4),
         taken_over(5, "p1", 1), began(6, 1), called(7, 1), cursor(8, 1, 1), began(9, 2)],
        Reads("s", "log", ordered=True, effect="keyed", labels=("a",), newer=True),
    ),
    "a newer event that is left out": (
        "I1",
        [publish(1, "invoke"), logged(2, 1, serial=5), publish(3, "invoke", "e2"), logged(4, 2, serial=6),
         taken_over(5, "p1", 1), began(6, 1), called(7, 1), cursor(8, 2, 1, filtered=1), Finished(t=9)],
        Reads("s", "log", ordered=True, effect="keyed", labels=("a",), newer=True),
    ),
    "numbers out of order": (
        "I21", [logged(1, 1, via="s", serial=2), logged(2, 2, via="s", serial=1)], NUMBERED,
    ),
    "a number twice": (
        "I21", [logged(1, 1, via="s", serial=1), logged(2, 2, via="s", serial=1)], NUMBERED,
    ),
    "a number that came in time and is missing": (
        "I21",
        [publish(1, "invoke"), logged(2, 1, serial=2), publish(3, "invoke", "e2"), logged(4, 2, serial=1),
         cursor(5, 2, 2), logged(6, 3, via="s", serial=2), Finished(t=7)],
        NUMBERED,
    ),
    "two effects of what could have been asked for": (
        "I3", [*two_events(), called(8, 1, 0, fresh=True), called(9, 1)], PROBE,
    ),
    "an event that counts as delivered and had no effect": (
        "I3", [*two_events(), called(8, 1), cursor(9, 2, 2), Finished(t=10)], PROBE,
    ),
    "an event that is begun and sent while the breaker is open": (
        "I10", [*two_events(), turned(7, "open"), began(8, 1), called(9, 1, sender="p1")], READS,
    ),
    "a call that arrives long after the breaker opened": (
        "I10", [*two_events(), began(7, 1), turned(8, "open"), called(6_000_000, 1, sender="p1")], READS,
    ),
    "a System that is asked while its breaker is open": (
        "I10", [*two_events(), turned(7, "open"), began(8, 1), probed(9, 1, 10)], PROBE,
    ),
    "two probes at once": (
        "I10",
        [*two_events(), turned(7, "half_open"), began(8, 1), called(9, 1, sender="p1", until=20), began(10, 2),
         called(11, 2, sender="p1")],
        READS,
    ),
    "more calls under way than a System takes": (
        "I11", [*two_events(), called(8, 1, sender="p1", until=500_000), called(9, 2, sender="p1", until=21)], BOUNDED,
    ),
    "a call and a question under way at once": (
        "I11", [*two_events(), called(8, 1, sender="p1", until=500_000), probed(9, 2, 21)], BOUNDED,
    ),
    "a lane that reads beyond its window": ("I12", [cursor(1, 0, 1, above=0b100)], BOUNDED),
    "more attempts at once than a lane may run": ("I12", [cursor(1, 2, 0, live=(1, 2), running=(1, 2))], BOUNDED),
    "work that stays": ("I13", [Quiet(t=1), Finished(t=2, pending=("s: e1 is due",))], READS),
    "a run without an end": ("I13", [Quiet(t=1), cursor(2, 0, 0)], READS),
    "two processes that have one store": (
        "I14", [Took(t=1, process="p1"), Took(t=2, process="p2")], READS,
    ),
    "a zombie that writes to a store that another has": (
        "I14",
        [Took(t=1, process="p1"), killed(2, "p1"), Took(t=3, process="p2"), publish(4, "invoke"),
         logged(5, 1, by="p1")],
        READS,
    ),
    "a zombie that settles in a store that another has": (
        "I14",
        [Took(t=1, process="p1"), killed(2, "p1"), Took(t=3, process="p2"), taken_over(4, "p1", 1)],
        READS,
    ),
    "a zombie that acknowledges what its successor wrote": (
        "I14",
        [Took(t=1, process="p1"), killed(2, "p1"), Took(t=3, process="p2"), publish(4, "invoke"),
         logged(5, 1, by="p2"), publish(6, "ok", server="p1")],
        READS,
    ),
    "a settlement under an epoch that is over": ("I14", [taken_over(1, "p2", 2), taken_over(2, "p1", 1)], READS),
    "two processes that settle under one epoch": ("I14", [taken_over(1, "p1", 1), taken_over(2, "p2", 1)], READS),
    "a secret in what is kept": ("I16", [Leaked(t=1, where="the store")], READS),
    "two writes of a cell at one version": (
        "I20",
        [line for serial in (1, 2) for line in (
            Tried(t=serial, kind="invoke", subject="x", serial=serial, what="write", value="v"),
            Tried(t=9, kind="ok", subject="x", serial=serial, what="write", number=1),
        )],
        READS,
    ),
    "a healthy key that waits": (
        "I15", [*two_events(), called(8, 1), cursor(9, 1, 1), called(9_000, 2), cursor(9_001, 2, 2, number=2)], READS,
    ),
    "more deaths of one fault than anybody should see": (
        "I19",
        [*(line for n in range(1, 30) for line in (publish(n, "invoke", f"e{n}"), logged(n, n))), spoiled(40, 29)],
        SPOILED,
    ),
    "a death of what is paused": (
        "I19", [
            publish(1, "invoke"), logged(2, 1),
            Controlled(t=3, subject="control/subscription/s", paused=True, by="interlock"), spoiled(9_000_000, 1),
        ], SPOILED,
    ),
}  # fmt: skip


def test_a_good_history_passes() -> None:
    assert check(GOOD, [READS]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_by_its_invariant(name: str) -> None:
    invariant, lines, reads = BAD[name]
    assert invariant in {violation.invariant for violation in check(lines, [reads], {"bell": True})}


def test_a_replay_is_no_fault_in_itself() -> None:
    replay: list[AnyLine] = [
        *two_events(),
        began(7, 1), called(8, 1), cursor(9, 1, 1), began(10, 2), called(11, 2), cursor(12, 2, 2, number=2),
        publish(13, "invoke", "e3"), logged(14, 3), began(15, 3), replayed(16, 1),
        cursor(17, 2, 1, number=3, live=(1,)), called(18, 3, sender="p1"),
        began(19, 1), called(20, 1, fresh=False, sender="p1"),
        cursor(21, 3, 3, number=4), Quiet(t=22), Finished(t=23),
    ]  # fmt: skip
    assert check(replay, [READS]) == [], "the one that ran goes on, and what was newer had been delivered before"


def test_every_invariant_has_a_bad_history() -> None:
    assert {invariant for invariant, _, _ in BAD.values()} == {
        "I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15", "I16", "I17",
        "I18", "I19", "I20", "I21",
    }  # fmt: skip


def test_a_crash_excuses_an_early_retry_and_a_person_excuses_a_second_once_call() -> None:
    early: list[AnyLine] = [
        *two_events(), began(7, 1), called(8, 1, 503), Fault(t=9, process="p1", scope="process", what="killed"),
        began(10, 1), called(11, 1), cursor(12, 1, 1), called(13, 2), cursor(14, 2, 2, number=2),
    ]  # fmt: skip
    assert check(early, [READS]) == []
    again: list[AnyLine] = [
        *two_events(), called(8, 1, 0, fresh=True),
        asked(9, 1),
        called(10, 1), called(11, 2), cursor(12, 2, 2),
    ]  # fmt: skip
    assert check(again, [ONCE]) == []


def test_the_attempt_that_was_under_way_when_a_person_asked_may_have_been_the_last() -> None:
    last: list[AnyLine] = [
        *two_events(), began(7, 1), began(300_007, 1), asked(300_008, 1),
        cursor(300_009, 1, 0, dead=1, dead_rows=(1,), exhausted=(1,)),
    ]  # fmt: skip
    assert check(last, [Reads("s", "log", ordered=True, effect="keyed", labels=("a",), age_max_us=300_000)]) == []


def test_what_a_process_begins_that_has_lost_its_cursor_is_judged_by_what_it_sends() -> None:
    woken: list[AnyLine] = [
        *two_events(), taken_over(7, "p2", 2), called(8, 1, 503, sender="p2"), began(9, 1),
        called(600, 1, sender="p2"), called(601, 2, sender="p2"),
    ]  # fmt: skip
    assert check(woken, [READS]) == []


def test_an_event_that_came_to_be_read_is_excused_if_the_later_one_was_not_accounted_for() -> None:
    assert check(joined(9, above=0), [READS]) == []


def test_a_call_that_was_let_through_before_the_breaker_opened_may_arrive() -> None:
    calm: list[AnyLine] = [
        *two_events(), began(7, 1), turned(8, "open"), called(9, 1, 503, sender="p1", until=10),
        turned(10_000_000, "half_open"), began(10_000_001, 1), called(10_000_002, 1, sender="p1", until=10_000_003),
        turned(10_000_004, "ramping"), began(10_000_005, 2), called(10_000_006, 2, sender="p1"),
    ]  # fmt: skip
    assert check(calm, [BOUNDED]) == []


def test_a_process_that_was_disturbed_may_have_given_up_a_call_that_is_worked_on() -> None:
    given_up: list[AnyLine] = [
        *two_events(), called(8, 1, sender="p1", until=20), Fault(t=9, process="p1", scope="store", what="failed"),
        called(10, 1, sender="p1", fresh=False, until=21), called(22, 2, sender="p1", until=23),
    ]  # fmt: skip
    assert check(given_up, [BOUNDED]) == []


def test_a_keyed_call_of_a_dead_process_may_arrive_whenever_it_does() -> None:
    late: list[AnyLine] = [
        *two_events(), taken_over(7, "p1", 1), called(8, 1, sender="p1", until=500_000), killed(9, "p1"),
        taken_over(10, "p2", 2), called(11, 1, sender="p2", fresh=False), called(12, 1, sender="p1", fresh=False),
    ]  # fmt: skip
    assert check(late, [READS]) == []


def test_a_natural_call_may_follow_when_the_former_one_is_over() -> None:
    waited: list[AnyLine] = [
        *two_events(), taken_over(7, "p1", 1), called(8, 1, sender="p1", until=500_000), killed(9, "p1"),
        taken_over(10, "p2", 2), called(500_000, 1, sender="p2"), called(500_001, 2, sender="p2"),
    ]  # fmt: skip
    assert check(waited, [NATURAL]) == []


def test_a_history_survives_its_file() -> None:
    history = History()
    for line in GOOD:
        history.add(line)
    assert load(history.dump()) == GOOD


Step = tuple[str, int]


class Model:
    """A correct product in 60 lines: one shard, one lane, no concurrency; it writes the history that a world would."""

    def __init__(self) -> None:
        self.lines: list[AnyLine] = []
        self.t = 0
        self.log: list[str] = []
        self.dead: set[int] = set()
        self.effects: set[int] = set()
        self.failed: set[int] = set()
        self.floor = 0
        self.number = 0

    def tick(self, us: int = 1) -> int:
        self.t += us
        return self.t

    def publish(self, keys: int) -> None:
        offset = len(self.log) + 1
        key = f"k{keys}"
        id = f"e{offset}"
        self.lines.append(Published(t=self.tick(), kind="invoke", stream="log", id=id, key=key, digest="d"))
        self.log.append(key)
        self.lines.append(
            Logged(t=self.tick(), stream="log", shard=0, offset=offset, id=id, key=key, type="T", digest="d")
        )
        if keys % 2:
            self.lines.append(Published(t=self.tick(), kind="ok", stream="log", id=id, key=key, digest="d"))

    def deliver(self, status: int) -> None:
        if self.floor == len(self.log):
            return
        offset = self.floor + 1
        key, id = self.log[offset - 1], f"e{offset}"
        self.tick(1_000 if offset in self.failed else 1)
        self.lines.append(
            Began(t=self.t, process="p1", subscription="s", stream="log", shard=0, offset=offset, id=id, key=key)
        )
        fresh = status in (0, 200) and offset not in self.effects
        if fresh:
            self.effects.add(offset)
        self.lines.append(
            Called(
                t=self.tick(),
                process="r",
                subscription="s",
                stream="log",
                shard=0,
                offset=offset,
                id=id,
                label="a",
                status=status,
                fresh=fresh,
                key=key,
                token=id,
                digest="d",
            )
        )
        if status == 422:
            self.dead.add(offset)
        if status in (200, 422):
            self.floor = offset
        else:
            self.failed.add(offset)
        self.commit()

    def commit(self) -> None:
        self.number += 1
        dead = tuple(sorted(self.dead))
        self.lines.append(
            cursor(self.tick(), self.floor, self.floor - len(dead), number=self.number, dead=len(dead), dead_rows=dead)
        )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(0, 3)),
            st.tuples(st.just("deliver"), st.sampled_from([200, 200, 503, 0, 422])),
        ),
        max_size=60,
    )
)
def test_whatever_a_correct_model_does_passes(steps: list[Step]) -> None:
    model = Model()
    model.commit()
    for what, value in steps:
        if what == "publish":
            model.publish(value)
        else:
            model.deliver(value)
    while model.floor < len(model.log):
        model.deliver(200)
    model.lines += [Quiet(t=model.tick()), Finished(t=model.tick())]
    reads = Reads("s", "log", ordered=True, effect="keyed", labels=("a",), backoff_us=500, attempts_max=100)
    assert check(model.lines, [reads]) == []
