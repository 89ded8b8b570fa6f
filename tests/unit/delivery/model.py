"""A tiny ledger to run a `Turn` against: it applies settlements and checks the conservation equation by recounting."""

from __future__ import annotations

from random import Random

from interlock.core.cursor import Attempt, Counters, Cursor, CursorId, Mark, Past, Row, TypesFrom
from interlock.core.event import Draft, Event, Shard
from interlock.core.limits import US_PER_HOUR, US_PER_SECOND
from interlock.core.outcome import Later, Reject, Unavailable
from interlock.core.requests import LaneRequest
from interlock.delivery import replay
from interlock.delivery.deadletter import Ask
from interlock.delivery.passing import Passing
from interlock.delivery.schedule import Terms
from interlock.delivery.start import Failed, Start
from interlock.delivery.turn import Turn
from interlock.journal.ports import Batch, Opened, Settlement
from interlock.spec.plan import OnDead, RetryPolicy

SHARD = Shard("orders", 0)
ID = CursorId("orders.book", SHARD)
TYPES = frozenset({"order@1"})


def event(offset: int, key: str | None, type: str = "order@1") -> Event:
    return Event(SHARD, offset, 1_000_000 + offset, Draft("orders", type, "/shop", f"id-{offset}", b"{}", key))


class Log:
    """A shard that only grows."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.before: dict[int, int] = {}
        """The offset of the event of the same key that comes before it."""
        last: dict[str | None, int] = {}
        for e in events:
            if e.draft.type in TYPES:
                if e.draft.key in last:
                    self.before[e.offset] = last[e.draft.key]
                last[e.draft.key] = e.offset

    def read(self, after: int, limit: int, types: frozenset[str] | None) -> Batch:
        part = self.events[after : after + limit]
        return Batch([e for e in part if types is None or e.draft.type in types], after + len(part))


class LedgerModel:
    """What is durable, and what was settled how."""

    def __init__(self) -> None:
        self.cursor = Cursor(ID, 0, 0, types=(TypesFrom(1, TYPES),))
        self.rows: dict[int, Row] = {}
        self.marks: dict[str, Mark] = {}

    def open(self) -> Opened:
        c = self.cursor
        self.cursor = Cursor(
            c.id, c.start, c.floor, c.above, c.epoch + 1, 0, c.counters, c.types, None, c.unclean + 1, c.effects
        )
        live = [row for row in self.rows.values() if row.state in ("running", "due", "held")]
        return Opened(self.cursor, live, list(self.marks.values()))

    def apply(self, s: Settlement) -> None:
        c = self.cursor
        assert s.epoch == c.epoch
        assert s.number == c.number + 1
        assert s.floor >= c.floor, "the floor never goes back"
        assert s.above.bit_length() <= 1024
        self.cursor = Cursor(
            c.id,
            c.start,
            s.floor,
            s.above,
            c.epoch,
            s.number,
            s.counters,
            c.types,
            None,
            c.unclean,
            c.effects | s.effects,
        )
        for row in s.put:
            self.rows[row.offset] = row
        for offset in s.clear:
            self.rows.pop(offset, None)
        for mark in s.marks:
            if mark.count:
                self.marks[mark.key] = mark
            else:
                self.marks.pop(mark.key, None)
        self.check()

    def check(self) -> None:
        c, n = self.cursor, self.cursor.counters
        stragglers = sum(row.state != "discarded" for row in self.rows.values())
        behind = sum(mark.count for mark in self.marks.values())
        left = c.floor - c.start + c.above.bit_count()
        assert left == n.delivered + n.filtered + n.discarded + stragglers + behind
        assert n.dead == sum(row.state == "dead" for row in self.rows.values())
        assert n.discarded == sum(row.state == "discarded" for row in self.rows.values())
        assert not c.above & 1, "the floor moves over bits"


class Driver:
    """Runs one turn against the model, with a seeded choice of everything, and keeps what was settled."""

    def __init__(self, log: Log, seed: int, on_dead: OnDead, ordered: bool = True) -> None:
        self.log, self.chance = log, Random(seed)
        self.ledger = LedgerModel()
        self.ordered = ordered
        self.terms = Terms(RetryPolicy(), on_dead)
        self.now = 10_000_000
        self.sent: Settlement | None = None
        self.turn = self._open(crashed=False)
        self.passing = Passing(self.turn)
        self.running: list[Start] = []
        self.delivered: set[int] = set()
        self.bad = 0.0
        self.slow: frozenset[str] = frozenset()
        self.replays = 0.0
        self.put_back: set[int] = set()
        self.ever_put_back: set[int] = set()
        self.jobs = 0

    def _open(self, *, crashed: bool) -> Turn:
        self.sent = None
        return Turn(self.ledger.open(), self.terms, self.ordered, self.now, crashed)

    def crash(self) -> None:
        """Maybe with a commit whose answer was lost."""
        if self.sent is not None and self.chance.random() < 0.5:
            self.ledger.apply(self.sent)
        self.running = []
        self.turn = self._open(crashed=False)
        self.passing = Passing(self.turn)
        # What was put back and not committed is settled as before; what was delivered again may be delivered once more.
        live = {offset for offset, row in self.ledger.rows.items() if row.state in ("running", "due", "held")}
        self.delivered |= {offset for offset in self.ever_put_back if offset not in self.ledger.rows}
        self.put_back = {offset for offset in live if self.ledger.rows[offset].trigger == "replay"}
        self.delivered -= self.put_back

    def read(self) -> None:
        room = self.turn.room()
        if room > 0 and self.turn.read_to < len(self.log.events):
            batch = self.log.read(self.turn.read_to, min(room, self.chance.randint(1, 1024)), TYPES)
            self.turn.offer(batch.events, batch.upto, self.now)

    def start(self) -> None:
        while (start := self.turn.next_start(self.now)) is not None:
            if start.event is None:
                start.event = self.log.events[start.offset - 1]
            self.may_start(start)
            self.running.append(start)
            if self.chance.random() < 0.1:
                break

    def may_start(self, start: Start) -> None:
        """The oracle of order: everything lower of that key is settled, as far as this process and the ledger know."""
        assert start.event is not None
        key = start.event.draft.key
        if not self.ordered or key is None:
            return
        assert all(other.event is None or other.event.draft.key != key for other in self.running), "one at a time"
        back = [offset for offset in self.put_back if self.log.events[offset - 1].draft.key == key]
        assert start.offset <= min(back, default=start.offset), f"{start.offset} overtakes {back}, which were put back"
        lower = self.log.before.get(start.offset)
        assert lower is None or self.is_settled(lower), f"{start.offset} overtakes {lower} of {key}"

    def is_settled(self, offset: int) -> bool:
        row = self.ledger.rows.get(offset)
        return offset in self.delivered or (row is not None and row.state in ("dead", "discarded"))

    def end(self) -> None:
        ready = [start for start in self.running if (start.event and start.event.draft.key) not in self.slow]
        if not ready:
            return
        start = self.chance.choice(ready)
        self.running.remove(start)
        roll = self.chance.random()
        if roll < self.bad:
            outcome = self.chance.choice(
                [Later("http 503"), Reject("http 422"), Unavailable("limiter", US_PER_SECOND), Later("timeout")]
            )
            row = self.turn.failed(start, Failed(outcome, attempt(start, self.now)), self.now, self.chance.random())
            if row is not None and row.state == "dead":
                self.put_back.discard(start.offset)
        else:
            self.delivered.add(start.offset)
            self.put_back.discard(start.offset)
            self.turn.done(start, self.now, 200, None)

    def settle(self) -> None:
        if self.sent is None:
            self.sent = self.turn.settlement("w", self.now)

    def answer(self) -> None:
        if self.sent is not None:
            self.ledger.apply(self.sent)
            number, self.sent = self.sent.number, None
            self.turn.committed(number)

    def claim(self) -> None:
        turn = self.turn
        for line in [line for line in turn.marks.claims.values() if line.count and not line.claimed]:
            if line.passed:
                some = list(line.passed)[: self.chance.randint(1, 50)]
                turn.claimed(line, [self.log.events[offset - 1] for offset in some])
        turn.marks.claims = {key: line for key, line in turn.marks.claims.items() if line.count and not line.claimed}
        at = turn.marks.scan_from()
        if at is not None:
            batch = self.log.read(at - 1, self.chance.randint(1, 500), TYPES)
            turn.marks.scanned(batch.events, at, batch.upto)

    def replay(self) -> None:
        """A person asks for something that may be settled. The records of a model's ledger are its memory."""
        offset = self.chance.randint(1, max(1, self.turn.read_to))
        self.jobs += 1
        ask = Ask(LaneRequest("replay", (offset,), "ann", "a test", self.now), f"job_{self.jobs}", self.now)
        found = self.log.events[offset - 1] if offset <= len(self.log.events) else None
        if found is None or replay.answered(self.turn, ask, offset, found) is not None:
            return
        if replay.put_back(self.turn, ask, found, Past(1), self.ledger.rows.get(offset)) == "replayed":
            assert offset in self.delivered, "only what was settled comes back"
            self.delivered.discard(offset)
            self.put_back.add(offset)
            self.ever_put_back.add(offset)

    def step(self) -> None:
        self.now += self.chance.randint(0, US_PER_SECOND)
        action = self.chance.choice(
            [self.read, self.start, self.start, self.end, self.end, self.settle, self.answer, self.claim]
        )
        action()
        if self.replays and self.chance.random() < self.replays:
            self.replay()
        self.turn.fire(self.now, lambda _: False)
        left, right = self.turn.equation()
        assert left == right
        if self.chance.random() < 0.2 and not self.turn.ready:
            self.passing.make_room(self.now, len(self.log.events))

    def drain(self) -> None:
        """After the last fault everything that can be settled is."""
        self.bad, self.slow = 0.0, frozenset()
        for _ in range(40 * len(self.log.events) + 2000):
            self.now += US_PER_HOUR
            for action in (self.read, self.claim, self.start):
                action()
            for _ in range(len(self.running)):
                self.end()
            self.settle()
            self.answer()
            self.turn.fire(self.now, lambda _: False)
            if not self.turn.ready_now(self.now):
                self.passing.make_room(self.now, len(self.log.events))
            if self.ledger.cursor.floor == len(self.log.events) and not self.running and not self.turn.changes.any:
                live = [row for row in self.ledger.rows.values() if row.state != "dead"]
                if not self.ledger.marks and not live:
                    return
        raise AssertionError(
            f"does not drain: {self.ledger.cursor} {list(self.ledger.rows.values())[:3]} {self.ledger.marks}"
        )


def attempt(start: Start, now: int) -> Attempt:
    return Attempt("att_x", start.offset, 1, start.started_at, now - start.started_at, "later")


__all__ = ["ID", "SHARD", "TYPES", "Counters", "Driver", "LedgerModel", "Log", "event"]
