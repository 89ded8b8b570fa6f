"""Identities and cells of the store in memory beside two dictionaries. `test_store_model.py` adds SQLite."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.contract.store_contract import ONE, Recorder, draft

from interlock.core.limits import DEDUPE_WINDOW_US, US_PER_DAY
from interlock.journal.memory import MemoryStore
from interlock.journal.ports import Cell, CellConflict, CellWrite
from interlock.testing.clock import FakeClock

CELLS = ("x", "y")


class Known(NamedTuple):
    """The last event of an identity."""

    offset: int
    data: bytes
    accepted_at: int


class Record(NamedTuple):
    """A cell: its version goes on when it is deleted or expires."""

    version: int
    value: bytes | None
    expires_at: int | None


class StoreAgainstDictionaries(RuleBasedStateMachine):
    """Each identity once within the window; each cell at its version."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock, Recorder(), emit=lambda *_, **__: None)
        self.runner.run(self.store.make_stream("s", 1))
        self.events: dict[tuple[str, str], Known] = {}
        self.head = 0
        self.cells: dict[str, Record] = {}

    @rule(
        ids=st.lists(st.sampled_from("123"), min_size=1, max_size=3),
        source=st.sampled_from(["one", "two", "on"]),
        data=st.sampled_from([b"1", b"2"]),
    )
    def append(self, ids: list[str], source: str, data: bytes) -> None:
        drafts = [draft(id, source=source, data=data) for id in ids]
        for id, answer in zip(ids, self.runner.run(self.store.append(drafts)), strict=True):
            known = self.events.get((source, id))
            first_day = (self.clock.now() - DEDUPE_WINDOW_US) // US_PER_DAY
            if known is None or known.accepted_at // US_PER_DAY < first_day:
                self.head += 1
                known = self.events[source, id] = Known(self.head, data, self.clock.now())
                assert not answer.duplicate
            else:
                assert (answer.duplicate, answer.conflict) == (True, known.data != data)
            assert answer.offset == known.offset

    @rule(
        key=st.sampled_from(CELLS),
        value=st.sampled_from([None, b"", b"1"]),
        expected=st.sampled_from([None, 0, 1, 2, 3]),
        lasts_us=st.sampled_from([None, 0, US_PER_DAY]),
    )
    def write(self, key: str, value: bytes | None, expected: int | None, lasts_us: int | None) -> None:
        expires_at = None if lasts_us is None else self.clock.now() + lasts_us
        (answer,) = self.runner.run(self.store.put([CellWrite(key, value, expected, expires_at)]))
        record = self.cells.get(key, Record(0, None, None))
        there = record.version if self.lives(record) else 0
        if expected not in (None, there):
            assert isinstance(answer, CellConflict)
            assert (answer.found.version if answer.found else 0) == there
        elif value is None:
            self.cells[key] = Record(record.version, None, None)
        else:
            self.cells[key] = Record(record.version + 1, value, expires_at)
            assert isinstance(answer, Cell)
            assert answer.version == record.version + 1

    @rule(days=st.sampled_from([0.4, 1, 3, 7]))
    def pass_time(self, days: float) -> None:
        self.runner.run(self.clock.advance(int(days * US_PER_DAY)))

    def lives(self, record: Record) -> bool:
        return record.value is not None and (record.expires_at is None or record.expires_at > self.clock.now())

    @invariant()
    def the_log_has_what_was_accepted(self) -> None:
        assert self.store.bounds(ONE)[1] == self.head

    @invariant()
    def the_cells_are_those_that_live(self) -> None:
        found = self.runner.run(self.store.get(CELLS))
        assert {key: (cell.version, cell.value) for key, cell in found.items()} == {
            key: (record.version, record.value) for key, record in self.cells.items() if self.lives(record)
        }

    def teardown(self) -> None:
        self.runner.close()


TestStoreAgainstDictionaries = StoreAgainstDictionaries.TestCase
