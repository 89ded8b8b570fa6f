"""What one lane decides: what is accounted for, what may start, what a settlement holds. Pure; now is an argument.

`lane.py` does all the awaiting. The rules cited by number are those of docs/design.md; the window's bitmap, rows and
marks keep the conservation equation at every moment, not only at commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.cursor import Attempt, Counters, CursorId, Row, Success, types_after
from interlock.core.event import Event
from interlock.core.handler import Effect
from interlock.core.outcome import Unavailable, Unknown
from interlock.delivery import gaps, schedule
from interlock.delivery.changes import Changes
from interlock.delivery.gaps import Gaps
from interlock.delivery.keys import Line
from interlock.delivery.marks import Marks
from interlock.delivery.newest import NewestByKey
from interlock.delivery.ready import Ready
from interlock.delivery.sequences import SequencesByKey
from interlock.delivery.start import Failed, Start
from interlock.delivery.timers import Timers
from interlock.journal.ports import Opened, Settlement


class Turn:
    """The memory of a lane between two openings of its cursor.

    Args:
        opened: the cursor as the ledger gave it.
        terms: what the subscription says about failure.
        ordered: whether events of one key go one at a time.
        now: µs since the epoch.
        crashed: the former holder was another process that did not close cleanly (rule 12 counts).
    """

    def __init__(self, opened: Opened, terms: schedule.Terms, ordered: bool, now: int, crashed: bool) -> None:
        cursor = opened.cursor
        self.id: CursorId = cursor.id
        self.epoch = cursor.epoch
        self.number = cursor.number
        self.start_offset = cursor.start
        self.floor = cursor.floor
        self.above = cursor.above
        self.read_to = cursor.floor
        self.resume_to = cursor.floor + cursor.above.bit_length()
        self.types = cursor.types
        self.announced = dict.fromkeys(cursor.effects, 0)
        self.terms = terms
        self.ordered = ordered
        self.opened_at = now
        # Unclean openings are counted with this one, so two former ones make three.
        self.careful = crashed and cursor.unclean >= 3
        self.unclean = cursor.unclean
        self.crashed = crashed

        self.delivered = cursor.counters.delivered
        self.filtered = cursor.counters.filtered
        self.discarded = cursor.counters.discarded
        self.dead = cursor.counters.dead
        self.late = cursor.counters.late
        self.gaps = Gaps(opened.gaps)
        self.newest = NewestByKey(cursor.id, self.accounts_for, asked=False)
        self.sequences = SequencesByKey(cursor.id, self.accounts_for, asked=False)

        self.lines: dict[str | int, Line] = {}
        self.window: dict[int, Event] = {}
        self.rows: dict[int, Row] = {}
        self.running: dict[int, Start] = {}
        self.ready = Ready()
        self.marks = Marks(self.lines)
        self.timers = Timers()
        self.paused = False
        self.stopping = False
        self.cut = False
        self.held_until = opened.former_until if self._must_wait(opened, now) else 0
        self.gated_until = 0
        self.solo: Line | None = None

        self.changes = Changes()
        self.ages_us: list[int] = []
        self.walls: deque[tuple[int, Line]] = deque()
        self.in_flight: int | None = None
        self.filtered_at: int | None = None
        self._enter_stragglers(opened, now, crashed)

    @staticmethod
    def _must_wait(opened: Opened, now: int) -> bool:
        """A former holder may still act: unless it is proven dead and all its calls were harmless to repeat."""
        if opened.former_until <= now:
            return False
        return not opened.former_dead or bool(opened.cursor.effects)

    def _enter_stragglers(self, opened: Opened, now: int, crashed: bool) -> None:
        for row in opened.rows:
            line = self.line(row.key if self.ordered else None, row.offset)
            line.add_row(row.offset)
            self.rows[row.offset] = row
            if row.state == "running":
                row = schedule.recovered(replace(row, epoch=self.epoch), now, self.terms, crashed=crashed)
                self.place(line, row, accounted=True, now=now)
            elif row.due_at is not None:
                self.timers.add(row.due_at, row.offset)
            self._queue(line)
        for mark in opened.marks:
            line = self.line(mark.key, mark.first)
            self.marks.enter(line, mark)
            self._queue(line)

    # What comes in from the log.

    def room(self) -> int:
        """How many further offsets may be read now."""
        self.advance()
        if self.stopping or self.systemic:
            return 0
        return self.floor + limits.WINDOW_OFFSETS - self.read_to

    @property
    def systemic(self) -> bool:
        """So many keys are blocked that the fault is not theirs (rule 13)."""
        return len(self.rows) + self.marks.count >= limits.BLOCKED_KEYS_MAX

    def types_after(self, after: int) -> tuple[frozenset[str] | None, int | None]:
        """The types that hold at `after + 1`, and the last offset that they hold for (None: open end) (rule 5)."""
        return types_after(self.types, after)

    def offer(self, events: Sequence[Event], upto: int, now: int) -> None:
        """Take what was read after `read_to`, up to and with `upto`; offsets without an event were filtered."""
        if self.read_to < self.resume_to:
            self._offer_again(events, upto, now)
            return
        seen = self.read_to
        for event in events:
            offset = event.offset
            if offset != seen + 1:
                self._filter(seen + 1, offset - 1, now)
            seen = offset
            self._enter(event)
        if upto > seen:
            self._filter(seen + 1, upto, now)
        self.read_to = upto

    def _offer_again(self, events: Sequence[Event], upto: int, now: int) -> None:
        """After an opening, offsets over the floor that have their bit are passed over."""
        found = {event.offset: event for event in events}
        for offset in range(self.read_to + 1, upto + 1):
            if self.above >> (offset - self.floor - 1) & 1:
                continue
            event = found.get(offset)
            if event is None:
                self._filter(offset, offset, now)
            else:
                self._enter(event)
        self.read_to = upto

    def _enter(self, event: Event) -> None:
        key = event.draft.key if self.ordered else None
        index = event.offset if key is None else key
        line = self.lines.get(index)
        if line is None:
            line = self.lines[index] = Line(key, event.draft.tenant)
        elif line.count:
            self.fold(line, event.offset)
            return
        self.window[event.offset] = event
        line.window.append(event.offset)
        if line.running is None:
            self._queue(line)

    def _filter(self, first: int, last: int, now: int) -> None:
        count = last - first + 1
        self.above |= ((1 << count) - 1) << (first - self.floor - 1)
        self.filtered += count
        if self.filtered_at is None:
            self.filtered_at = now

    # What may start.

    def next_start(self, now: int) -> Start | None:
        """The next attempt that may run now, or None. It counts as running from here on."""
        if not self.may_start(now):
            return None
        ready = self.ready
        while ready and self.solo is None:
            line = ready.pop()
            line.queued = False
            if line.running is None and not line.wall:
                start = self._start(line, now)
                if start is not None:
                    return self._begin(start)
        return self._start_alone(now)

    def _begin(self, start: Start) -> Start:
        self.running[start.offset] = start
        start.line.running = start.offset
        self.ready.started(start.line.tenant)
        return start

    def may_start(self, now: int) -> bool:
        """Whether anything at all may start now."""
        return not (
            self.stopping
            or self.paused
            or now < self.held_until
            or now < self.gated_until
            or len(self.running) >= (1 if self.solo is not None else limits.RUNNING_MAX)
        )

    def _start(self, line: Line, now: int) -> Start | None:
        head = line.head()
        if head is None:
            return None
        if line.rows and line.rows[0] == head:
            row = self.rows[head]
            if row.state != "due" or (row.due_at is not None and row.due_at > now):
                return None
            if schedule.is_suspect(row) and self.solo is None:
                self.solo = line
                return None
            return Start(head, line, "row", None, row, now)
        if line.window and line.window[0] == head:
            line.window.popleft()
            return Start(head, line, "window", self.window.pop(head), None, now)
        if not line.claimed:
            self.marks.claims[line.key or ""] = line
            return None
        return Start(line.claimed[0].offset, line, "mark", line.claimed[0], None, now)

    def _start_alone(self, now: int) -> Start | None:
        """A suspect runs alone, so that the next death of the process names it (rule 12)."""
        line = self.solo
        if line is None or self.running:
            return None
        start = self._start(line, now)
        if start is None:
            self.solo = None
            return None
        return self._begin(start)

    def _queue(self, line: Line) -> None:
        if not line.queued:
            line.queued = True
            self.ready.push(line)

    def look_again(self, line: Line) -> None:
        """An attempt of the line's key has ended: its next event may start, or its key may be forgotten."""
        if line is self.solo:
            self.solo = None
        if line.window or line.rows or line.count:
            self._queue(line)
        elif line.idle:
            self._forget(line)

    def _forget(self, line: Line) -> None:
        if line.key is not None:
            self.lines.pop(line.key, None)

    # How attempts end.

    def done(self, start: Start, now: int, status: int, attempt: Attempt | None, filtered: bool = False) -> None:
        """The attempt succeeded. `attempt` is the whole record that a straggler's success gets."""
        self._end(start)
        line, offset = start.line, start.offset
        if start.origin == "mark":
            self._consume(line)
        elif offset in self.rows:
            self._clear(line, offset)
        else:
            self.above |= 1 << (offset - self.floor - 1)
            if line.key is None:
                self.lines.pop(offset, None)
        if filtered:
            self.filtered += 1
        else:
            self.delivered += 1
            if start.missing:
                self._told(start)
            if start.event is not None and not start.is_replay:
                self.changes.ages_us.append(now - start.event.accepted_at)
        if attempt is not None:
            self.changes.attempt(attempt)
        else:
            self.changes.successes.append(Success(offset, start.started_at, now - start.started_at, status, filtered))
            self.changes.any = True
        self.look_again(line)

    def _told(self, start: Start) -> None:
        """The receiver has heard of what its key misses: that is durable before it hears of the rest."""
        for row in gaps.told(start):
            if row.offset in self.rows:
                self.rows[row.offset] = row
            self.changes.put(row)
        self._wall(start.line)

    def failed(self, start: Start, failed: Failed, now: int, chance: float) -> Row | None:
        """The attempt did not succeed; gives the row that it leaves, or None if it is as if it had never started."""
        self._end(start)
        outcome = failed.outcome
        if isinstance(outcome, Unavailable) and not failed.memo:
            self._take_back(start, outcome, now)
            return None
        row = replace(self.row_of(start), memo=failed.memo, epoch=self.epoch, crashes=0)
        if isinstance(outcome, Unavailable):
            row = replace(row, state="due", due_at=now + (outcome.after_us or 0), call=None)
        else:
            if failed.attempt is not None:
                row = replace(row, system=failed.attempt.system, fingerprint=failed.attempt.fingerprint)
            after = schedule.after_outage if failed.down else schedule.after_failure
            before, row = row, after(row, outcome, start.started_at, now, self.terms, chance)
            if row.state != "due" and not isinstance(outcome, Unknown) and failed.spares and failed.spares():
                row = schedule.held_back(before, outcome, start.started_at, now, self.terms, chance)
        if failed.attempt is not None:
            self.changes.attempt(failed.attempt)
        self._leave(start, row, now)
        return row

    def postpone(self, start: Start, due_at: int, now: int) -> None:
        """The event is not due yet: it waits as a row, and nothing has been tried."""
        self._end(start)
        row = replace(self.row_of(start), state="due", due_at=due_at, call=None, epoch=self.epoch, crashes=0)
        self._leave(start, row, now)

    def _leave(self, start: Start, row: Row, now: int) -> None:
        """The attempt leaves a row behind."""
        if start.origin == "mark":
            self._consume(start.line)
        accounted = start.origin != "window" or start.offset in self.rows
        self.place(start.line, row, accounted=accounted, now=now)
        self.look_again(start.line)

    def unstart(self, start: Start, wait_us: int, now: int) -> None:
        """A System has no room for it yet: as if it had not been started, and nothing is for a while."""
        self._end(start)
        self._give_back(start)
        self.gated_until = max(self.gated_until, now + max(wait_us, 1))
        self.look_again(start.line)

    def _end(self, start: Start) -> None:
        del self.running[start.offset]
        start.line.running = None
        self.ready.ended(start.line.tenant)

    def _take_back(self, start: Start, outcome: Unavailable, now: int) -> None:
        """Nothing was sent and nothing is known: the event stands where it stood."""
        row = self.rows.get(start.offset)
        if row is not None and row.state == "running":
            start.origin = "row"
            self.place(start.line, replace(row, state="due", due_at=now, call=None), accounted=True, now=now)
        self._give_back(start)
        if outcome.after_us:
            self.gated_until = max(self.gated_until, now + outcome.after_us)
        self.look_again(start.line)

    def _give_back(self, start: Start) -> None:
        if start.origin == "window" and start.event is not None and start.offset not in self.rows:
            self.window[start.offset] = start.event
            start.line.window.appendleft(start.offset)

    def row_of(self, start: Start) -> Row:
        """The row of an attempt's event as it is, or a new one."""
        return self.rows.get(start.offset) or start.row or start.fresh_row()

    # Stragglers.

    def place(self, line: Line, row: Row, *, accounted: bool, now: int) -> None:
        """Write a row, and put it where its state says: among the live ones, or among the dead (rule 1)."""
        offset = row.offset
        if not accounted:
            self.above |= 1 << (offset - self.floor - 1)
        self.changes.put(row)
        if line.running is not None:
            gaps.noted(self.running.get(line.running), row)
        if row.state in ("dead", "discarded"):
            if line.key is not None and row.is_missing:
                self.gaps.opens(line.key)
            self.rows.pop(offset, None)
            line.drop_row(offset)
            self.dead += row.state == "dead"
            self.discarded += row.state == "discarded"
            self._wall(line)
            if line.key is None:
                self.lines.pop(offset, None)
            return
        # The memo rides only in the write: in memory it would be kept for as long as the event waits.
        self.rows[offset] = replace(row, memo=b"") if row.memo else row
        line.add_row(offset)
        if row.due_at is not None and row.state != "running":
            self.timers.add(row.due_at, offset)
            if row.due_at <= now:
                self._queue(line)

    def _clear(self, line: Line, offset: int) -> None:
        del self.rows[offset]
        line.drop_row(offset)
        self.changes.clear(offset)
        if line.key is None:
            self.lines.pop(offset, None)

    def _wall(self, line: Line) -> None:
        """A death or discard is durable before the key's next event is sent (rule 1)."""
        self.changes.urgent = True
        line.wall = self.number + 1
        self.walls.append((line.wall, line))

    def begin_durably(self, start: Start, call: str | None, now: int) -> int:
        """Put the `running` row of an attempt before it goes on (rules 8 and 12).

        Gives the number of the settlement that must be durable first.
        """
        row = replace(self.row_of(start), state="running", due_at=None, call=call, epoch=self.epoch, memo=b"")
        if start.origin == "mark":
            self._consume(start.line)
            start.origin = "row"
        accounted = start.origin == "row" or start.offset in self.rows
        self.place(start.line, row, accounted=accounted, now=now)
        start.origin = "row"
        self.changes.urgent = True
        return self.number + 1

    def announce(self, effect: Effect) -> int | None:
        """Note that calls have an effect other than `keyed`, so that a take-over waits for them (rule 8).

        Gives the number of the settlement that must be durable before the first such call leaves; None if it is.
        """
        number = self.announced.get(effect)
        if number is None:
            number = self.announced[effect] = self.number + 1
            self.changes.effect(effect)
        return None if self._is_durable(number) else number

    def _is_durable(self, number: int) -> bool:
        """Whether a settlement has been committed, and it is known to have been."""
        return number <= self.number and number != self.in_flight

    @property
    def in_doubt(self) -> bool:
        """Calls may be under way that are not harmless to repeat: none leaves before its effect is durable (rule 8)."""
        return bool(self.running) and any(map(self._is_durable, self.announced.values()))

    def cut_off(self, now: int) -> None:
        """What runs is ended. If something that was sent may be under way, the cursor is not given back (rule 10)."""
        self.cut |= self.in_doubt or self.held_until > now

    # Marks.

    def ready_now(self, now: int) -> bool:
        """Something in the ready queue would start if asked (or might: it may turn out to be blocked)."""
        return bool(self.ready) and self.may_start(now)

    def fold(self, line: Line, offset: int) -> None:
        """Count an event that was read behind its key's mark, and account for it."""
        self.marks.fold(line, offset)
        self.above |= 1 << (offset - self.floor - 1)
        self.changes.mark(line)

    def _consume(self, line: Line) -> None:
        self.marks.consume(line)
        self.changes.mark(line)

    def claimed(self, line: Line, events: Sequence[Event]) -> None:
        """The next events of the key's mark have been fetched."""
        self.marks.claimed(line, events)
        self._queue(line)

    # Time.

    def fire(self, now: int, is_paused: Callable[[str], bool]) -> None:
        """Queue what is due, and end what was held long enough (rule 7: only `held` ends by a timer).

        Nothing ends while its subscription, or the System that it failed at, is paused.
        """
        self.gated_until = 0 if self.gated_until <= now else self.gated_until
        self.held_until = 0 if self.held_until <= now else self.held_until
        if self._floor_is_due(now):
            # Rule 15. From here on it is a change like any other, and needs no timer.
            self.changes.any, self.filtered_at = True, None
        for due_at, offset in self.timers.take(now):
            row = self.rows.get(offset)
            if row is None or row.due_at != due_at:
                continue
            if row.state == "held" and (self.paused or (row.system is not None and is_paused(row.system))):
                self.timers.stop(due_at, offset)
                continue
            line = self.line(row.key if self.ordered else None, offset)
            if row.state == "held" and self.terms.on_dead.kind != "halt":
                self.place(line, schedule.dead(row, row.reason or "exhausted", now), accounted=True, now=now)
            self._queue(line)

    def _floor_is_due(self, now: int) -> bool:
        """The floor has passed nothing but filtered events for a while (rule 15)."""
        return self.filtered_at is not None and now - self.filtered_at >= limits.FLOOR_IDLE_US

    def next_timer(self) -> int | None:
        """When `fire` or `next_start` next has something to do by itself."""
        times = [] if self.timers.next_at is None else [self.timers.next_at]
        times += [at for at in (self.gated_until, self.held_until) if at > 0 and (self.ready or self.rows)]
        if self.filtered_at is not None:
            times.append(self.filtered_at + limits.FLOOR_IDLE_US)
        return min(times, default=None)

    # Settlements.

    def settlement(self, worker: str, now: int, *, release: bool = False) -> Settlement | None:
        """What is to be committed, once; None if nothing is, or if one is in flight (rule 9)."""
        if self.in_flight is not None or not (self.changes.any or release or self._floor_is_due(now)):
            return None
        self.advance()
        self.number += 1
        self.in_flight = self.number
        self.ages_us = self.changes.ages_us
        for write in (*self.newest.take(now), *self.sequences.take(now)):
            self.changes.cell(write, urgent=False)
        clean = release or (self.unclean > 0 and now - self.opened_at > limits.LEASE_TTL_US)
        settlement = Settlement(
            cursor=self.id,
            worker=worker,
            epoch=self.epoch,
            number=self.number,
            floor=self.floor,
            above=self.above,
            counters=Counters(self.delivered, self.filtered, self.discarded, self.dead, self.late),
            clean=clean,
            release=release and not self.cut,
            **self.changes.take(),
        )
        self.unclean = 0 if clean else self.unclean
        self.filtered_at = None
        return settlement

    def committed(self, number: int) -> None:
        """The settlement is durable: what waited for it may start."""
        self.in_flight = None
        self.changes.committed()
        self.newest.committed()
        self.sequences.committed()
        while self.walls and self.walls[0][0] <= number:
            line = self.walls.popleft()[1]
            if line.wall <= number:
                line.wall = 0
                if line.idle:
                    self._forget(line)
                else:
                    self._queue(line)

    def must_look_back(self, key: str | None) -> bool:
        """Whether an event of the key needs something of the store about those before it."""
        return self.gaps.may_be(key) or not (self.newest.knows(key) and self.sequences.knows(key))

    def accounts_for(self, offset: int) -> bool:
        """Whether the subscription covers the event and has passed it, settled or not."""
        passed = offset <= self.floor or bool(self.above >> (offset - self.floor - 1) & 1)
        return passed and offset > self.start_offset

    def equation(self) -> tuple[int, int]:
        """Both sides of the conservation equation as they stand in memory."""
        behind = sum(line.count for line in self.marks)
        left = self.floor - self.start_offset + self.above.bit_count()
        return left, self.delivered + self.filtered + self.discarded + self.dead + len(self.rows) + behind

    def advance(self) -> None:
        """Move the floor over the bits that stand right above it."""
        if self.above & 1:
            run = (~self.above & (self.above + 1)).bit_length() - 1
            self.above >>= run
            self.floor += run

    def line(self, key: str | None, offset: int) -> Line:
        """The line of a key, or of one keyless event."""
        index = offset if key is None else key
        line = self.lines.get(index)
        if line is None:
            line = self.lines[index] = Line(key)
        return line
