"""Does a history keep the promises? One pass for each invariant (docs/design.md), each in time linear in the lines.

It knows nothing of how the product works: only what clients, remotes and the auditor of the disk have seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from interlock.testing.sim.case import NEVER, Case, CursorName, Place, Violation, case_of, is_over, place_of
from interlock.testing.sim.edited import edited_in_one_commit
from interlock.testing.sim.history import (
    Accounted,
    AnyLine,
    Asked,
    Began,
    Called,
    Fault,
    Finished,
    Logged,
    Published,
    Quiet,
    Read,
    Reads,
    Retired,
)
from interlock.testing.sim.keeping import no_secret_is_told, single_writer, what_is_durable_stays
from interlock.testing.sim.linear import registers_are_linearizable
from interlock.testing.sim.missing import gaps_are_told
from interlock.testing.sim.newer import nothing_late
from interlock.testing.sim.order import no_stale_effect, one_sender_per_key, order_per_key, put_back_goes_first
from interlock.testing.sim.sequence import in_sequence
from interlock.testing.sim.systemic import nothing_dies_while_stopped, stopped_in_time
from interlock.testing.sim.traffic import not_too_much_at_once, nothing_while_open

SLACK_US = 50_000
"""Between the start of an attempt, which a budget counts from, and its function's first line."""
SHOWN_MAX = 20
"""Violations of one invariant that are listed; a broken engine breaks it a thousand times."""


def check(
    lines: Sequence[AnyLine], reads: Iterable[Reads], schedules: Mapping[str, bool] | None = None
) -> list[Violation]:
    """Every violation, in the order of the invariants. `schedules`: which run, and whether for every time."""
    case = case_of(lines, {one.name: one for one in reads}, schedules or {})
    found: list[Violation] = []
    for invariant in INVARIANTS:
        for count, violation in enumerate(invariant(case)):
            if count == SHOWN_MAX:
                break
            found.append(violation)
    return found


def no_loss(case: Case) -> Iterator[Violation]:
    """I1, I6: what was acknowledged was durable by then, and reached each subscription or its dead letters."""
    durable: dict[tuple[str, str], int] = {}
    for line in case.logged.values():
        durable.setdefault((line.stream, line.id), line.t)
    for line in case.lines:
        if isinstance(line, Published) and line.kind == "ok":
            at = durable.get((line.stream, line.id))
            if at is None or at > line.t:
                yield Violation("I6", line.t, f"{line.id} was acknowledged and is not durable")
    end = next((line.t for line in case.lines if isinstance(line, Finished)), None)
    if end is None:
        return
    for reads in case.reads.values():
        # What is put in order is I21.
        for event in () if reads.waits_us else case.expected(reads):
            name = (reads.name, (event.stream, event.shard, event.offset))
            # A schedule goes on after the end.
            if event.t <= end and name not in case.ends and name not in case.buried and not case.is_late(*name, end):
                yield Violation("I1", event.t, f"{event.id} never reached {reads.name} nor its dead letters")


def no_invention(case: Case) -> Iterator[Violation]:
    """I2, I7: what is in the log or was sent had been handed in, unchanged, and not been refused."""
    handed: dict[tuple[str, str], set[str]] = defaultdict(set)
    open_calls: Counter[tuple[str, str]] = Counter()
    for line in case.lines:
        match line:
            case Published(kind="invoke"):
                handed[line.stream, line.id].add(line.digest)
                open_calls[line.stream, line.id] += 1
            case Published(kind="fail"):
                open_calls[line.stream, line.id] -= 1
            case Asked(verb="edit"):
                handed[line.stream, line.id].add(line.digest)
                open_calls[line.stream, line.id] += 1
            case Logged(via=""):
                if line.digest not in handed[line.stream, line.id]:
                    yield Violation("I2", line.t, f"{line.id} is in the log and was never handed in so")
                elif open_calls[line.stream, line.id] <= 0:
                    yield Violation("I7", line.t, f"{line.id} is in the log after it was refused")
            case Called():
                event = case.logged.get(place_of(line))
                if event is None or event.t > line.t or (event.id, event.digest) != (line.id, line.digest):
                    yield Violation("I2", line.t, f"{line.subscription} sent {line.id}, which is not what the log has")
            case _:
                pass


def no_duplicate_effect(case: Case) -> Iterator[Violation]:
    """I3: one effect for each event and call, one key for all its attempts; `once` is never sent twice unasked.

    What can be asked whether it has happened does so once, too, without a key that is honoured.

    A replay may derive one more event.
    """
    effects: Counter[tuple[str, Place, str]] = Counter()
    sent: Counter[tuple[str, Place, str]] = Counter()
    asked: Counter[tuple[str, Place]] = Counter()
    tokens: dict[str, tuple[str, str, str]] = {}
    derived: dict[tuple[str, str], Place] = {}
    replays: Counter[tuple[str, str]] = Counter()
    gone: Counter[tuple[str, int]] = Counter()
    for line in case.lines:
        match line:
            case Asked(verb="retry" | "restore" | "replay"):
                place = (line.stream, line.shard, line.offset)
                asked[line.subscription, place] += 1
                if line.verb == "replay" and place in case.logged:
                    replays[line.subscription, case.logged[place].id] += 1
            case Logged() if line.via:
                name = (line.via, line.origin)
                stream, shard, offset = derived.get(name, (line.stream, 0, 0))
                if offset > gone[stream, shard]:
                    replays[name] -= 1
                    if replays[name] < 0:
                        yield Violation("I3", line.t, f"{line.via} derived two events from {line.origin}")
                derived[name] = (line.stream, line.shard, line.offset)
            case Retired():
                gone[line.stream, line.shard] = line.upto
            case Called():
                call = (line.subscription, place_of(line), line.label)
                effect = case.reads[line.subscription].effect if line.subscription in case.reads else "keyed"
                named = (line.subscription, line.id, line.label)
                if line.token and tokens.setdefault(line.token, named) != named:
                    yield Violation("I3", line.t, f"the key of {tokens[line.token]} was used for {named}")
                effects[call] += line.fresh and effect in ("keyed", "probe")
                if effects[call] > 1:
                    yield Violation("I3", line.t, f"{line.id} had two effects at {line.process} by {line.subscription}")
                sent[call] += effect == "once" and (line.fresh or line.status == 0)
                if sent[call] > 1 + asked[line.subscription, place_of(line)]:
                    yield Violation("I3", line.t, f"{line.id} was sent {sent[call]} times by {line.subscription}, once")
            case _:
                pass


def no_missing_effect(case: Case) -> Iterator[Violation]:
    """I3: an event that counts as delivered has had the effect of its `probe` calls: nobody believed a wrong answer."""
    if not any(isinstance(line, Finished) for line in case.lines):
        return
    for reads in case.reads.values():
        for event in case.expected(reads) if reads.effect == "probe" else ():
            place = (event.stream, event.shard, event.offset)
            book = case.last[reads.name, event.stream, event.shard]
            delivered = is_over(book, event.offset, event.key) and event.offset not in (
                *book.dead_rows,
                *book.discarded_rows,
            )
            if delivered and (reads.name, place) not in case.ends:
                yield Violation("I3", book.t, f"{event.id} counts as delivered by {reads.name} and had no effect")


def the_log(case: Case) -> Iterator[Violation]:
    """I5: offsets without gaps, an identity once, and readers who are told the truth about what they have seen."""
    heads: Counter[tuple[str, int]] = Counter()
    gone: Counter[tuple[str, int]] = Counter()
    known: dict[tuple[str, str], tuple[int, int]] = {}
    for line in case.lines:
        match line:
            case Logged():
                if line.offset != heads[line.stream, line.shard] + 1:
                    yield Violation("I5", line.t, f"offset {line.offset} follows {heads[line.stream, line.shard]}")
                heads[line.stream, line.shard] = line.offset
                shard, offset = known.get((line.stream, line.id), (0, 0))
                if offset > gone[line.stream, shard]:
                    yield Violation("I5", line.t, f"{line.id} is in the log twice")
                known[line.stream, line.id] = (line.shard, line.offset)
            case Retired():
                gone[line.stream, line.shard] = line.upto
            case Read():
                if line.offsets != tuple(range(line.after + 1, line.upto + 1)):
                    yield Violation("I5", line.t, f"a reader after {line.after} was told it has all up to {line.upto}")
                if line.upto > heads[line.stream, line.shard]:
                    yield Violation("I5", line.t, f"a reader saw {line.upto} before it was durable")
            case _:
                pass


def conservation(case: Case) -> Iterator[Violation]:
    """I8: the equation, at every commit of every cursor; and nothing of a cursor goes back."""
    before: dict[CursorName, Accounted] = {}
    for line in case.lines:
        if not isinstance(line, Accounted):
            continue
        name = (line.subscription, line.stream, line.shard)
        accounted = line.floor - line.start + line.above.bit_count()
        behind = sum(mark[3] for mark in line.marks)
        settled = line.delivered + line.filtered + line.discarded
        if accounted != settled + len(line.live) + len(line.dead_rows) + behind:
            yield Violation(
                "I8",
                line.t,
                f"{name}: {accounted} accounted for, but {settled} settled + {len(line.live)} live "
                f"+ {len(line.dead_rows)} dead + {behind} behind",
            )
        if line.dead != len(line.dead_rows):
            yield Violation("I8", line.t, f"{name}: counts {line.dead} dead and has {len(line.dead_rows)}")
        for key, first, last, count in line.marks:
            if not 1 <= count <= last - first + 1:
                yield Violation("I8", line.t, f"{name}: the mark of {key} counts {count} in {first}..{last}")
        last = before.get(name)
        if last is not None and (line.floor < last.floor or (line.epoch, line.number) < (last.epoch, last.number)):
            yield Violation("I8", line.t, f"{name} went back")
        before[name] = line


def bounded(case: Case) -> Iterator[Violation]:
    """I12: at every commit a cursor accounts for no more above its floor, and runs no more at once, than it may."""
    for line in case.lines:
        if not isinstance(line, Accounted) or line.subscription not in case.reads:
            continue
        reads, above = case.reads[line.subscription], line.above.bit_length()
        if reads.window_max is not None and above > reads.window_max:
            yield Violation("I12", line.t, f"{line.subscription} has read {above} offsets beyond its floor")
        if reads.running_max is not None and len(line.running) > reads.running_max:
            yield Violation("I12", line.t, f"{line.subscription} runs {len(line.running)} events at once")


def retry_discipline(case: Case) -> Iterator[Violation]:
    """I9: a refusal is waited out, a settled event is left alone, and attempts have an end.

    A crash forgets what was not committed, and a network may lose the answer that asked for a wait: a wait is only
    demanded where neither came between. What a process begins that has lost its cursor is judged by what it sends (I4).
    """
    waits: dict[tuple[str, Place], tuple[int, int]] = {}
    first: dict[tuple[str, Place], int] = {}
    refused: Counter[tuple[str, Place]] = Counter()
    cursors: dict[CursorName, Accounted] = {}
    holders: dict[CursorName, str] = {}
    asked: dict[tuple[str, Place], None] = {}
    begun: dict[tuple[str, Place], tuple[int, int]] = {}
    disturbed = 0
    broken: set[str] = set()
    answers_lost = any(isinstance(line, Fault) and line.scope == "network" for line in case.lines)
    for line in case.lines:
        match line:
            case Fault(scope="process" | "store" | "deploy"):
                disturbed += 1
                broken.add(line.process)
            case Asked():
                name = (line.subscription, (line.stream, line.shard, line.offset))
                asked[name] = None
                for known in (waits, first, refused):
                    known.pop(name, None)
            case Accounted():
                cursor_name = (line.subscription, line.stream, line.shard)
                if cursor_name not in cursors or line.epoch > cursors[cursor_name].epoch:
                    holders[cursor_name] = line.process
                cursors[cursor_name] = line
            case Called(status=status) if status >= 300 and line.subscription in case.reads:
                reads, name = case.reads[line.subscription], (line.subscription, place_of(line))
                # Where connections break, the attempt may have ended before its request was even looked at.
                wait = reads.backoff_us if answers_lost else max(line.retry_after_us, reads.backoff_us)
                began_at, faults_then = begun.get(name, (line.t, disturbed))
                refused[name] += 1
                waits[name] = ((began_at if answers_lost else line.t) + wait, faults_then)
                if refused[name] > reads.attempts_max and not disturbed:
                    yield Violation("I9", line.t, f"{line.id} was tried {refused[name]} times by {reads.name}")
            case Began() if holders.get((line.subscription, line.stream, line.shard), line.process) == line.process:
                name = (line.subscription, place_of(line))
                not_before, faults = waits.get(name, (0, 0))
                last = _last_due(first.setdefault(name, line.t), case.reads.get(line.subscription))
                # A person's retry is applied when no attempt runs, so one that was under way may still fail before it.
                if line.t < min(not_before, last) and faults == disturbed and name not in asked:
                    yield Violation("I9", line.t, f"{line.id} was tried {not_before - line.t} µs too early")
                begun[name] = (line.t, disturbed)
                cursor = cursors.get((line.subscription, line.stream, line.shard))
                if name in asked or line.process in broken or cursor is None:
                    continue
                if is_over(cursor, line.offset, line.key):
                    yield Violation("I9", line.t, f"{line.id} was begun by {line.subscription} after it was settled")
            case _:
                pass


def not_before_due(case: Case) -> Iterator[Violation]:
    """I9: what is delayed is in the log once it is due, and not before."""
    at: dict[str, int] = {}
    for line in case.lines:
        if not isinstance(line, Logged):
            continue
        at.setdefault(line.id, line.t)
        reads = case.reads.get(line.via)
        if reads is not None and line.t < at.get(line.origin, NEVER) + reads.delay_us:
            yield Violation("I9", line.t, f"{line.id} is in the log before it was due")


def each_time_once(case: Case) -> Iterator[Violation]:
    """I5: a schedule runs for its times in their order, for none twice, and where it has to catch up for all."""
    last: dict[str, int] = {}
    for line in case.lines:
        if isinstance(line, Logged) and line.via in case.schedules:
            before = last.get(line.via, line.serial - 1)
            if line.serial <= before or (case.schedules[line.via] and line.serial != before + 1):
                yield Violation("I5", line.t, f"{line.via} ran for time {line.serial} after {before}")
            last[line.via] = line.serial


def death_by_attempt(case: Case) -> Iterator[Violation]:
    """I9: a budget ends only by an attempt at its end; time alone, or an outage, kills nothing (rule 7)."""
    began: dict[tuple[str, Place], list[int]] = defaultdict(list)
    before: dict[tuple[str, Place], list[int]] = {}
    known: set[tuple[str, Place]] = set()
    disturbed = any(isinstance(line, Fault) and line.scope in ("process", "store", "deploy") for line in case.lines)
    live: dict[CursorName, tuple[int, ...]] = defaultdict(tuple)
    for line in case.lines:
        if isinstance(line, Accounted):
            live[line.subscription, line.stream, line.shard] = line.live
        match line:
            case Began():
                began[line.subscription, place_of(line)].append(line.t)
            case Asked(verb="replay", offset=offset) if offset in live[line.subscription, line.stream, line.shard]:
                pass  # It is not settled: the request is refused, and its budget goes on.
            case Asked():
                name = (line.subscription, (line.stream, line.shard, line.offset))
                before[name] = began.pop(name, [])
            case Accounted() if line.exhausted and not disturbed and line.subscription in case.reads:
                reads = case.reads[line.subscription]
                for offset in line.exhausted:
                    name = (line.subscription, (line.stream, line.shard, offset))
                    # The attempt that was under way when a person asked may have been the last one.
                    times = began[name] or before.get(name) or [0]
                    lasted = times[-1] - times[0] >= (reads.age_max_us or 0) - SLACK_US
                    if name not in known and not lasted and len(times) < reads.attempts_max:
                        yield Violation("I9", line.t, f"offset {offset} of {line.subscription} died without an attempt")
                    known.add(name)
            case _:
                pass


def liveness(case: Case) -> Iterator[Violation]:
    """I13: when everything works again, everything is settled in the end."""
    quiet = next((line for line in case.lines if isinstance(line, Quiet)), None)
    end = next((line for line in case.lines if isinstance(line, Finished)), None)
    if quiet is not None and end is None:
        yield Violation("I13", quiet.t, "the run did not come to its end")
    for pending in end.pending if end is not None else ():
        yield Violation("I13", end.t if end else 0, f"still not settled: {pending}")


def isolation(case: Case) -> Iterator[Violation]:
    """I15: where no process, store, operator or deploy was in the way, the healthy are delivered promptly."""
    if any(isinstance(line, Fault) and line.scope in ("process", "store", "operator", "deploy") for line in case.lines):
        return
    for reads in case.reads.values():
        if reads.prompt_us is None:
            continue
        for event in case.expected(reads):
            end = case.ends.get((reads.name, (event.stream, event.shard, event.offset)))
            if event.key not in reads.ailing and end is not None and end > event.t + reads.prompt_us:
                yield Violation("I15", end, f"{event.id} waited {end - event.t} µs in {reads.name}, which was healthy")


INVARIANTS: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    no_loss,
    what_is_durable_stays,
    single_writer,
    no_invention,
    no_duplicate_effect,
    no_missing_effect,
    no_stale_effect,
    order_per_key,
    one_sender_per_key,
    put_back_goes_first,
    gaps_are_told,
    edited_in_one_commit,
    nothing_late,
    in_sequence,
    the_log,
    conservation,
    bounded,
    nothing_while_open,
    not_too_much_at_once,
    retry_discipline,
    not_before_due,
    each_time_once,
    death_by_attempt,
    liveness,
    isolation,
    stopped_in_time,
    nothing_dies_while_stopped,
    no_secret_is_told,
    registers_are_linearizable,
)


def _last_due(first: int, reads: Reads | None) -> int:
    """The budget's end, counted from the first attempt: the last attempt is made then, however short its wait is."""
    return NEVER if reads is None or reads.age_max_us is None else first + reads.age_max_us
