"""One key's line beside a reference that keeps every offset of it: heads, marks, and what is remembered of them."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.delivery.model import event

from interlock.delivery.keys import Line
from interlock.delivery.marks import Marks
from interlock.testing.sim.swarm import limited


class LineAgainstLists(RuleBasedStateMachine):
    """Offsets of the key come ascending; each is in the window, has a row, or stands behind the mark."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = ExitStack()
        self.bounds.enter_context(limited({"PASSED_OFFSETS_PER_KEY": 2, "PASSED_OFFSETS_PER_LANE": 3}))
        self.line = Line("k")
        self.marks = Marks({"k": self.line})
        self.read_to = 0
        self.window: list[int] = []
        self.rows: set[int] = set()
        self.behind: list[int] = []

    @rule(gap=st.integers(1, 3))
    def read(self, gap: int) -> None:
        self.read_to += gap
        if self.behind:
            self.marks.fold(self.line, self.read_to)
            self.behind.append(self.read_to)
        else:
            self.line.window.append(self.read_to)
            self.window.append(self.read_to)

    @precondition(lambda self: self.window)
    @rule()
    def fail(self) -> None:
        """The first of the window has failed and has a row."""
        offset = self.line.window.popleft()
        assert offset == self.window.pop(0)
        self.line.add_row(offset)
        self.rows.add(offset)

    @rule(offset=st.integers(1, 60))
    def put_row(self, offset: int) -> None:
        """A row that a person put back, maybe once more."""
        if offset <= self.read_to and offset not in self.window and offset not in self.behind:
            self.line.add_row(offset)
            self.rows.add(offset)

    @rule(offset=st.integers(1, 60))
    def drop_row(self, offset: int) -> None:
        self.line.drop_row(offset)
        self.rows.discard(offset)

    @precondition(lambda self: self.window)
    @rule()
    def pass_all(self) -> None:
        """The window is full: everything that waits goes behind the mark."""
        while self.line.window:
            self.marks.fold(self.line, self.line.window.popleft())
        self.behind += self.window
        self.window = []

    @precondition(lambda self: self.line.passed)
    @rule(count=st.integers(1, 3))
    def fetch(self, count: int) -> None:
        some = list(self.line.passed or ())[:count]
        self.marks.claimed(self.line, [event(offset, "k") for offset in some])

    @precondition(lambda self: self.line.claimed)
    @rule()
    def settle_the_first(self) -> None:
        self.marks.consume(self.line)
        self.behind.pop(0)

    @precondition(lambda self: self.behind)
    @rule()
    def forget(self) -> None:
        """A restart: only the mark is left of what stands behind it."""
        mark = self.line.mark
        assert mark.first <= self.behind[0]
        rows = list(self.line.rows)
        self.line = Line("k")
        self.marks = Marks({"k": self.line})
        for offset in rows:
            self.line.add_row(offset)
        self.marks.enter(self.line, mark)
        self.window = []
        self.read_to = max(self.read_to, mark.last)

    @precondition(lambda self: self.behind and not self.line.passed and not self.line.claimed)
    @rule(length=st.integers(1, 20))
    def scan(self, length: int) -> None:
        self.marks.claims = {"k": self.line}
        first = self.marks.scan_from()
        assert first is not None
        last = first + length - 1
        self.marks.scanned([event(offset, "k") for offset in self.behind if first <= offset <= last], first, last)

    @invariant()
    def the_head_is_the_lowest_unsettled(self) -> None:
        head = self.line.head()
        others = [*self.rows, *self.window]
        if self.behind:
            # A mark knows where its first event cannot be before.
            assert head is not None
            assert head == min([*others, self.line.first])
            assert self.line.first <= self.behind[0]
        else:
            assert head == min(others, default=None)
            assert self.line.count == 0

    @invariant()
    def what_is_remembered_is_the_front_of_what_stands_behind(self) -> None:
        known = [each.offset for each in self.line.claimed or ()] + list(self.line.passed or ())
        assert known == self.behind[: len(known)]
        assert (self.line.count, self.marks.count) == (len(self.behind), bool(self.behind))
        assert self.marks.remembered == len(self.line.passed or ())
        if self.behind:
            assert self.line.last == self.behind[-1]

    def teardown(self) -> None:
        self.bounds.close()


TestLineAgainstLists = LineAgainstLists.TestCase


def test_what_a_scan_has_not_seen_is_not_taken_for_known_when_it_is_folded_later() -> None:
    line = Line("k")
    marks = Marks({"k": line})
    with limited({"PASSED_OFFSETS_PER_LANE": 1}):
        marks.fold(line, 5)
        line.passed = None
        line.known_to, marks.remembered = 4, 0
        marks.claims = {"k": line}
        marks.scanned([event(5, "k")], 5, 25)
        marks.fold(line, 7)
        marks.claimed(line, [event(5, "k")])
        marks.fold(line, 8)
    assert not line.passed, "8 is behind 7, which nobody remembers"
