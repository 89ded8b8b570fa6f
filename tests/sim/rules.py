"""`python -m tests.sim.rules [--seeds 600]`: take each rule of docs/design.md out of the engine; a seed must fail.

A rule is taken out by replacing what carries it out, in this process only. A rule that no seed misses is a missing
test: the command then exits with 1. Rules 11, 13 and 14 are not for simulation: 11 has no code of its own (attempts are
tasks), 13 is a bound that unit tests meet, 14 is PostgreSQL's.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from interlock.call.breaker import Breaker
from interlock.core.cursor import Cursor, TypesFrom
from interlock.core.errors import StoreError
from interlock.core.event import Draft
from interlock.delivery import attempt as attempt_module
from interlock.delivery import deadletter, schedule
from interlock.delivery import lane as lane_module
from interlock.delivery import sequences as sequences_module
from interlock.delivery.gaps import Gaps
from interlock.delivery.guard import Cause, Guard
from interlock.delivery.keys import Line
from interlock.delivery.lane import Lane
from interlock.delivery.newest import NewestByKey
from interlock.delivery.requests import Requests
from interlock.delivery.turn import Turn
from interlock.edge.source import Position
from interlock.journal import decide
from interlock.journal.bodies import Bodies
from interlock.journal.memory_disk import MemoryTx
from interlock.journal.ports import Committed, LeaseLost
from interlock.journal.sqlite import backend as backend_module
from interlock.journal.sqlite.log import Log
from interlock.journal.store import GroupStore
from interlock.spec.newness import Newness
from interlock.spec.patterns import resequence as pattern
from interlock.systems.fields import Fields
from interlock.testing.sim.guard import sealed
from interlock.testing.sim.run import simulate

SEED_SECONDS_MAX = 60
"""Of processor time for one seed, a hundred times what it needs: without a rule a step may go round in circles."""


class Removal(NamedTuple):
    """A rule, what is done without it, and how."""

    rule: str
    without: str
    take_out: Callable[[], None]


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner.__name__}.{name} is gone: see where the rule went, and follow it"
    setattr(owner, name, value)


def _no_wall() -> None:
    _replace(Turn, "_wall", lambda self, line: None)


def _start_beyond_the_lease() -> None:
    _replace(Lane, "_lease_lasts", lambda self, now: True)


def _send_beyond_the_lease() -> None:
    work = lane_module.Work

    def careless(event: Any, row: Any, deadline: int, _may_send: Any, *rest: Any) -> Any:
        return work(event, row, deadline, lambda: True, *rest)

    _replace(lane_module, "Work", careless)


def _ignore_the_lease() -> None:
    _start_beyond_the_lease()
    _send_beyond_the_lease()


def _wait_for_nothing() -> None:
    _replace(attempt_module, "due_at", lambda event: 0)


def _settle_the_time_first() -> None:
    committed = Position.committed

    async def careless(self: Position, cursor: Cursor, drafts: Sequence[Draft], token: str | None) -> bool:
        if not drafts:
            return await committed(self, cursor, drafts, token)
        if not await committed(self, cursor, (), token):
            return False
        settled = await self.opened()
        return settled is not None and await committed(self, settled, drafts, None)

    _replace(Position, "committed", careless)


def _pass_by_the_mark() -> None:
    def head(self: Line) -> int | None:
        lowest = min([*self.rows[:1], *list(self.window)[:1]], default=None)
        return lowest if lowest is not None else self.first if self.count else None

    def enter(self: Turn, event: Any) -> None:
        key = event.draft.key if self.ordered else None
        line = self.line(key, event.offset)
        self.window[event.offset] = event
        line.window.append(event.offset)
        self._queue(line)

    _replace(Line, "head", head)
    _replace(Turn, "_enter", enter)


def _forget_bare_marks() -> None:
    original = Turn._enter_stragglers

    def enter(self: Turn, *args: Any) -> None:
        original(self, *args)
        for line in list(self.ready):
            if line.count and not line.rows:
                self.ready.remove(line)

    _replace(Turn, "_enter_stragglers", enter)


def _keep_nothing() -> None:
    _replace(MemoryTx, "_wanted", lambda self, *event: False)


def _keep_rows_only() -> None:
    def wanted(self: MemoryTx, event: Any) -> bool:
        ledgers = self.disk.ledgers.items()
        return any(id.shard == event.shard and event.offset in ledger.rows for id, ledger in ledgers)

    _replace(MemoryTx, "_wanted", wanted)


def _read_with_the_types_of_today() -> None:
    def types_after(self: Turn, after: int) -> tuple[frozenset[str] | None, int | None]:
        return (self.types[-1].types if self.types else None), None

    _replace(Turn, "types_after", types_after)


def _record_types_at_the_floor() -> None:
    def types_from(cursor: Any, types: frozenset[str] | None) -> Any:
        return cursor.types if types is None else (TypesFrom(1, types),)

    _replace(decide, "types_from", types_from)


def _restore_what_was_edited() -> None:
    latest = deadletter.latest

    def forgetful(turn: Any, offset: int, stored: Any) -> Any:
        row = latest(turn, offset, stored)
        return row and msgspec.structs.replace(row, edited=None)

    _replace(deadletter, "latest", forgetful)


def _die_by_time() -> None:
    original = Turn.fire

    def fire(self: Turn, now: int, is_paused: Callable[[str], bool]) -> None:
        for offset, row in list(self.rows.items()):
            bound = None if row.since is None else schedule.bound_at(row.since, self.terms) - 1
            if row.state == "due" and bound is not None and now >= bound and offset not in self.running:
                line = self.line(row.key if self.ordered else None, offset)
                self.place(line, schedule.dead(row, "exhausted", now), accounted=True, now=now)
        original(self, now, is_paused)

    _replace(Turn, "fire", fire)


def _begin_once_without_a_row() -> None:
    async def at_once(self: Lane, turn: Turn, start: Any, call: str | None) -> bool:
        return True

    _replace(Lane, "_durable_start", at_once)


def _forget_that_a_call_was_under_way() -> None:
    _replace(schedule, "ambiguous_after_crash", lambda row, now, terms: schedule.put_back(row, now))


def _announce_no_effect() -> None:
    _replace(Turn, "announce", lambda self, effect: None)


def _announce_an_effect_too_late() -> None:
    original = Turn.announce

    def announce(self: Turn, effect: Any) -> None:
        original(self, effect)

    _replace(Turn, "announce", announce)


def _believe_a_lost_answer() -> None:
    original = GroupStore.commit

    async def commit(self: GroupStore, settlements: Sequence[Any]) -> Sequence[Any]:
        try:
            return await original(self, settlements)
        except StoreError:
            return [Committed(settlement.number) for settlement in settlements]

    refusal = decide.refusal

    def lenient(settlement: Any, held: Any, lease: Any, now: int) -> LeaseLost | None:
        lost = refusal(settlement, held, lease, now)
        return None if lost is not None and "does not follow" in lost.why else lost

    _replace(GroupStore, "commit", commit)
    _replace(decide, "refusal", lenient)


def _no_fence() -> None:
    _replace(decide, "refusal", lambda settlement, held, lease, now: None)


def _reopen_at_once() -> None:
    async def ended(self: Lane) -> None:
        return None

    _replace(Lane, "ended", ended)
    _replace(Turn, "_must_wait", staticmethod(lambda opened, now: False))


def _give_back_what_was_cut_off() -> None:
    _replace(Turn, "cut_off", lambda self, now: None)


def _never_count_crashes() -> None:
    original = Turn.__init__

    def init(self: Turn, opened: Any, terms: Any, ordered: bool, now: int, crashed: bool) -> None:
        original(self, opened, terms, ordered, now, False)

    _replace(Turn, "__init__", init)


def _apply_while_it_runs() -> None:
    original = Requests.answer

    async def answer(self: Requests, turn: Turn, is_current: Callable[[], bool]) -> None:
        running, turn.running = turn.running, {}
        try:
            await original(self, turn, is_current)
        finally:
            turn.running = running | turn.running

    _replace(Requests, "answer", answer)


def _never_stop() -> None:
    _replace(Guard, "bad", lambda self, cursor, offset, cause: None)


def _let_die_what_is_held() -> None:
    original = Turn.fire

    def fire(self: Turn, now: int, _is_paused: Callable[[str], bool]) -> None:
        paused, self.paused = self.paused, False
        try:
            original(self, now, lambda _: False)
        finally:
            self.paused = paused

    _replace(Turn, "fire", fire)


def _let_die_what_is_under_way() -> None:
    def spares(self: Lane, outcome: Any, record: Any) -> bool:
        self.crew.trips(self.id, record.offset, Cause(record.error, record.status, None, ""))
        return False

    _replace(Lane, "_spares", spares)


def _forget_gaps() -> None:
    _replace(Gaps, "may_be", lambda self, key: False)


def _tell_gaps_again() -> None:
    _replace(Turn, "_told", lambda self, start: None)


def _forget_the_newest() -> None:
    _replace(NewestByKey, "take", lambda self, now: iter(()))


def _count_what_failed_as_newest() -> None:
    original = Turn.failed

    def failed(self: Turn, start: Any, *args: Any) -> Any:
        if start.event is not None and self.newest._asked:
            serial = msgspec.json.decode(start.event.draft.data)["serial"]
            self.newest.delivered(start.line.key, start.offset, Newness("number", serial))
        return original(self, start, *args)

    _replace(Turn, "failed", failed)


def _forget_the_sequence() -> None:
    _replace(sequences_module.SequencesByKey, "take", lambda self, now: iter(()))


def _resequence(change: Callable[[Any], Any], after: Callable[[Any], Any]) -> None:
    original = pattern.resequence

    def resequence(before: Any, came: Any, looked_at: Any, now: int, how: Any) -> Any:
        return after(original(before, came, looked_at, now, change(how)))

    _replace(pattern, "resequence", resequence)


def _never_look() -> None:
    _resequence(lambda how: how, lambda step: step._replace(look_at=None))


def _wait_for_no_number() -> None:
    _resequence(lambda how: msgspec.structs.replace(how, gap_after_us=1), lambda step: step)


def _never_ask_first() -> None:
    original = Lane.open

    def opens(self: Lane, opened: Any, *, crashed: bool) -> None:
        original(self, opened, crashed=crashed)
        self._openings = 0

    _replace(Lane, "open", opens)


def _pass_an_open_breaker() -> None:
    _replace(Breaker, "wait_us", lambda self, event, now: 0)


def _read_without_end() -> None:
    _replace(Turn, "room", lambda self: 1_000)


def _refer_to_what_is_not_durable() -> None:
    _replace(Bodies, "sync", lambda self: None)


def _collect_what_is_old() -> None:
    _replace(MemoryTx, "collect", lambda self, names: self.disk.bodies.remove(names))


def _tell_secrets() -> None:
    _replace(Fields, "hidden", lambda self: ())


def _write_whatever_version_is_there() -> None:
    original = decide.cell_written

    def careless(write: Any, found: Any, now: int) -> Any:
        return original(msgspec.structs.replace(write, expected=None), found, now)

    _replace(decide, "cell_written", careless)


def _take_any_payload_for_the_same() -> None:
    original = decide.known_as

    def careless(known: Any, draft: Draft) -> Any:
        return msgspec.structs.replace(original(known, draft), conflict=False)

    _replace(decide, "known_as", careless)


class _NoLock:
    def __init__(self, path: Path) -> None:
        pass

    def release(self) -> None:
        pass


def _share_the_file() -> None:
    _replace(backend_module, "FileLock", _NoLock)


def _sync_at_checkpoints_only() -> None:
    connect = backend_module.connect_writer

    def careless(path: Path, vfs: str | None) -> Any:
        connection = connect(path, vfs)
        connection.pragma("synchronous", "NORMAL")
        return connection

    _replace(backend_module, "connect_writer", careless)


def _believe_the_kernel() -> None:
    _replace(backend_module, "secure_wal", lambda path, vfs: None)


def _index_once_for_several_segments() -> None:
    original = Log.load

    def load(self: Log, connection: Any) -> None:
        original(self, connection)
        for stream in self.streams.values():
            query = "SELECT shard, max(n) FROM places WHERE stream = ? GROUP BY shard"
            for shard, n in connection.execute(query, (stream.number,)):
                stream.indexed[shard] = n

    _replace(Log, "load", load)


REMOVALS = (
    Removal("1", "a death need not be durable before the key goes on", _no_wall),
    Removal("2", "attempts start that may outlive the lease, and are sent", _ignore_the_lease),
    Removal("2 (send)", "the lease is not looked at when a call is sent", _send_beyond_the_lease),
    Removal("3 (head)", "events of a marked key start past its mark", _pass_by_the_mark),
    Removal("3 (claim)", "a mark without rows is not claimed at open", _forget_bare_marks),
    Removal("4", "retired events are not kept", _keep_nothing),
    Removal("4 (marks)", "retired events are kept for rows only", _keep_rows_only),
    Removal("5", "a second reading uses the types of today", _read_with_the_types_of_today),
    Removal("5 (record)", "the types that held before are forgotten", _record_types_at_the_floor),
    Removal("6", "a request is applied while its event runs", _apply_while_it_runs),
    Removal("6 (edit)", "an edited letter is restored", _restore_what_was_edited),
    Removal("7", "a budget ends by time", _die_by_time),
    Removal("8", "a once call is sent before its row is durable", _begin_once_without_a_row),
    Removal("8 (found)", "a once call found under way is made again", _forget_that_a_call_was_under_way),
    Removal("8 (effect)", "a take-over is not told of natural calls", _announce_no_effect),
    Removal("8 (late)", "a natural call is sent before that is durable", _announce_an_effect_too_late),
    Removal("9", "a lost answer is taken for a success", _believe_a_lost_answer),
    Removal("9 (fence)", "any settlement is written", _no_fence),
    Removal("10", "a lane opens while former attempts may run", _reopen_at_once),
    Removal("10 (drain)", "a drain gives back what it had to cut off", _give_back_what_was_cut_off),
    Removal("12", "deaths of the process are not counted", _never_count_crashes),
    Removal("guard", "what dies of one cause goes on dying", _never_stop),
    Removal("guard (held)", "what is held dies while its subscription is paused", _let_die_what_is_held),
    Removal("guard (back)", "what is under way when it is paused dies", _let_die_what_is_under_way),
    Removal("gaps", "nobody is told of what died before", _forget_gaps),
    Removal("gaps (told)", "that it was told is not noted", _tell_gaps_again),
    Removal("newest", "the newest event of a key is forgotten", _forget_the_newest),
    Removal("newest (failed)", "what failed counts as the newest", _count_what_failed_as_newest),
    Removal("sequence", "which number is next is forgotten, and what waits", _forget_the_sequence),
    Removal("sequence (look)", "nothing brings a waiting key the time", _never_look),
    Removal("sequence (wait)", "a resequencer waits for nothing", _wait_for_no_number),
    Removal("probe", "a lane that was lost does not ask whether it was done", _never_ask_first),
    Removal("breaker", "an open breaker lets everything through", _pass_an_open_breaker),
    Removal("window", "a lane reads on without a bound", _read_without_end),
    Removal("bodies", "a commit refers to a file whose name is not durable", _refer_to_what_is_not_durable),
    Removal("bodies (collect)", "files are collected by their age alone", _collect_what_is_old),
    Removal("due", "a delayed event is appended at once", _wait_for_nothing),
    Removal("secrets", "an excerpt shows what a System says back", _tell_secrets),
    Removal("cells", "a cell is written whatever version is there", _write_whatever_version_is_there),
    Removal("identity", "another payload is taken for the same", _take_any_payload_for_the_same),
    Removal("file (lock)", "two processes have the file", _share_the_file),
    Removal("file (sync)", "a commit is not synced", _sync_at_checkpoints_only),
    Removal("file (kernel)", "what a failed sync has left is built on", _believe_the_kernel),
    Removal("file (index)", "a segment is read by the index of the one before", _index_once_for_several_segments),
    Removal("time", "a schedule settles its time before its events are durable", _settle_the_time_first),
)


def _never_ends(*_: object) -> None:
    # Not an error that a lane would take for its own, and go round again.
    raise KeyboardInterrupt


def _first_failing(index: int, seeds: int) -> tuple[int | None, str]:
    """The first seed that misses the rule, and the invariants that it breaks."""
    REMOVALS[index].take_out()
    signal.signal(signal.SIGVTALRM, _never_ends)
    for seed in range(1, seeds + 1):
        gc.collect()
        signal.setitimer(signal.ITIMER_VIRTUAL, SEED_SECONDS_MAX)
        try:
            with sealed():
                verdict = simulate(seed)
        except KeyboardInterrupt:
            return seed, "a step does not end"
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if verdict.failed:
            invariants = {violation.invariant: None for violation in verdict.violations}
            return seed, " ".join([*invariants, *verdict.bugs[:1]])[:80]
    return None, ""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=600, help="give a rule up after so many seeds")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--rule", help="only the rules whose name begins so")
    options = parser.parse_args()
    missed = 0
    # A fresh process for each rule: what was taken out of one must not be missing in the next.
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        chosen = [index for index, removal in enumerate(REMOVALS) if removal.rule.startswith(options.rule or "")]
        results = [(REMOVALS[index], pool.submit(_first_failing, index, options.seeds)) for index in chosen]
        for removal, result in results:
            first, invariants = result.result()
            missed += first is None
            verdict = f"seed {first} fails ({invariants})" if first else f"NOT NOTICED in {options.seeds} seeds"
            sys.stdout.write(f"rule {removal.rule:<12} {removal.without:<58} {verdict}\n")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        command = [sys.executable, "-m", "tests.sim.rules", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())
