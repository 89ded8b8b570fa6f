"""The ledger's decisions, by tables: they are what every backend asks before it writes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from interlock.core.cursor import Counters, Cursor, CursorId, TypesFrom
from interlock.core.event import Appended, Draft, Event, Shard
from interlock.core.limits import US_PER_DAY
from interlock.journal import decide
from interlock.journal.decide import Held, WorkerLease
from interlock.journal.ports import Cell, CellConflict, CellWrite, IdentityConflict, LeaseLost, Settlement

ID = CursorId("sub", Shard("s", 0))
CURSOR = Cursor(ID, start=0, floor=5, above=0b100, epoch=3, number=7, types=(TypesFrom(1, frozenset({"t@1"})),))
HELD = Held(CURSOR, "w1")
LEASE = WorkerLease(expires_at=100)


def settlement(**changes: Any) -> Settlement:
    fields: dict[str, Any] = {
        "cursor": ID,
        "worker": "w1",
        "epoch": 3,
        "number": 8,
        "floor": 6,
        "above": 0,
        "counters": Counters(),
    }
    return Settlement(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "held", "lease", "now"),
    [
        ({}, None, LEASE, 0),
        ({"worker": "w2"}, HELD, LEASE, 0),
        ({"epoch": 2}, HELD, LEASE, 0),
        ({"epoch": 4}, HELD, LEASE, 0),
        ({"number": 7}, HELD, LEASE, 0),
        ({"number": 9}, HELD, LEASE, 0),
        ({"floor": 4}, HELD, LEASE, 0),
        ({}, HELD, None, 0),
        ({}, HELD, LEASE, 100),
        ({}, HELD, WorkerLease(100, released=True), 0),
        ({}, Held(CURSOR, None), LEASE, 0),
    ],
)
def test_a_settlement_that_does_not_fit_is_refused(changes: Any, held: Any, lease: Any, now: int) -> None:
    assert isinstance(decide.refusal(settlement(**changes), held, lease, now), LeaseLost)


def test_a_settlement_is_accepted_until_the_last_microsecond_of_the_lease() -> None:
    assert decide.refusal(settlement(), HELD, LEASE, 99) is None
    assert decide.refusal(settlement(floor=5), HELD, LEASE, 99) is None


@pytest.mark.parametrize(
    ("worker", "lease", "former", "until"),
    [
        ("w2", WorkerLease(100), "w1", 100),
        ("w2", WorkerLease(100, released=True), None, 0),
        ("w2", None, None, 0),
        ("w1", WorkerLease(100), None, 0),
    ],
)
def test_assigning_names_the_former_holder_unless_it_gave_the_cursor_back(
    worker: str, lease: Any, former: Any, until: int
) -> None:
    held = decide.assigned(HELD, worker, lease, None)
    assert (held.former, held.former_until) == (former, until)
    assert (held.cursor.epoch, held.cursor.number, held.cursor.unclean) == (4, 0, 1)


def test_the_former_holder_whose_lease_ends_last_is_the_one_that_counts() -> None:
    held = decide.assigned(Held(CURSOR, "w2", "w1", 90), "w3", WorkerLease(80), None)
    assert (held.former, held.former_until) == ("w1", 90)
    held = decide.assigned(Held(CURSOR, "w2", "w1", 90), "w3", WorkerLease(95), None)
    assert (held.former, held.former_until) == ("w2", 95)


def test_types_change_above_the_highest_bit_and_not_where_they_are_the_same() -> None:
    t, u = frozenset({"t@1"}), frozenset({"u@1"})
    assert decide.types_from(CURSOR, t) == CURSOR.types
    assert decide.types_from(CURSOR, None) == CURSOR.types
    assert decide.types_from(CURSOR, u) == (TypesFrom(1, t), TypesFrom(9, u))
    assert decide.types_from(Cursor(ID, start=4, floor=4), u) == (TypesFrom(5, u),)


@pytest.mark.parametrize(
    ("write", "found", "answer"),
    [
        (CellWrite("c", b"n", None), None, Cell("c", 1, b"n")),
        (CellWrite("c", b"n", 0), None, Cell("c", 1, b"n")),
        (CellWrite("c", b"n", 1), None, CellConflict("c", None)),
        (CellWrite("c", b"n", 4), Cell("c", 4, b"o"), Cell("c", 5, b"n")),
        (CellWrite("c", b"n", 0), Cell("c", 4, b"o"), CellConflict("c", Cell("c", 4, b"o"))),
        (CellWrite("c", b"n", 0), Cell("c", 4, b"o", 10), Cell("c", 5, b"n")),
        (CellWrite("c", b"n", 4), Cell("c", 4, b"o", 10), CellConflict("c", None)),
        (CellWrite("c", b"n", 4), Cell("c", 4, b"o", 11), Cell("c", 5, b"n")),
        (CellWrite("c", None, 4), Cell("c", 4, b"o"), Cell("c", 4, b"", 10)),
        (CellWrite("c", None, None), None, Cell("c", 0, b"", 10)),
    ],
)
def test_a_cell_write_is_compared_with_what_lives(write: CellWrite, found: Any, answer: Any) -> None:
    assert decide.cell_written(write, found, 10) == answer


def test_dedupe_knows_seven_whole_days() -> None:
    assert decide.first_known_day(10 * US_PER_DAY) == 3
    assert decide.first_known_day(11 * US_PER_DAY - 1) == 3


def draft(id: str, data: bytes = b"1", **more: Any) -> Draft:
    return Draft(**({"stream": "s", "type": "t@1", "source": "src", "id": id, "data": data} | more))


KNOWN = Event(Shard("s", 0), 4, 70, draft("known"))
SAME = Appended(Shard("s", 0), 4, 70, duplicate=True)
OTHER = replace(SAME, conflict=True)


def test_a_known_identity_is_a_duplicate_and_with_another_payload_a_conflict() -> None:
    assert decide.known_as(KNOWN, draft("known", type="u@2", key="k")) == SAME
    assert decide.known_as(KNOWN, draft("known", b"2")) == OTHER


@pytest.mark.parametrize(
    ("drafts", "known", "conflict"),
    [
        ([], [], None),
        ([draft("1"), draft("2")], [None, None], None),
        ([draft("known"), draft("1"), draft("1")], [KNOWN, None, None], None),
        ([draft("1"), draft("known", b"2")], [None, KNOWN], {1: OTHER}),
        ([draft("known", b"2"), draft("known"), draft("known", b"3")], [KNOWN] * 3, {0: OTHER, 2: OTHER}),
        ([draft("1"), draft("1", b"2"), draft("1")], [None] * 3, {1: None}),
        ([draft("1"), draft("1", b"2", stream="u"), draft("1", b"2", source="other")], [None] * 3, None),
    ],
)
def test_a_whole_append_is_refused_for_every_identity_that_has_another_payload(
    drafts: list[Draft], known: list[Event | None], conflict: dict[int, Appended | None] | None
) -> None:
    expected = None if conflict is None else IdentityConflict(conflict)
    assert decide.identity_conflict(drafts, known) == expected
