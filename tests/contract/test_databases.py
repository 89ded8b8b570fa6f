"""What a database is to `once()`, of each backend: through the whole stack of a System, with the real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from tests.contract import postgresql

from interlock.call.effect import CallFailed, CallLabelMissing, Scope
from interlock.core.errors import InterlockError
from interlock.core.limits import RECEIPT_SLICE_ROWS, SQL_ROWS_MAX, US_PER_DAY, US_PER_SECOND
from interlock.core.outcome import Later, Outcome, Reject, Unavailable
from interlock.runtime.clock import SystemClock
from interlock.runtime.ports import FunctionThreads, SystemNet, SystemRandom
from interlock.spec.plan import HttpBinding, Plan, SystemSpec, Where
from interlock.systems.registry import Systems

LEDGER = "shop.ledger"
TABLE = "CREATE TABLE entries (id TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents > 0))"
INSERT = "INSERT INTO entries VALUES ($1, $2)"


class Vault:
    """The Secrets port over a dict."""

    def __init__(self, **secrets: bytes) -> None:
        self.secrets = secrets

    def active(self, name: str) -> list[bytes]:
        return [self.secrets[name]] if name in self.secrets else []


class World:
    """The ports, as the runtime hands them in."""

    def __init__(self, **secrets: bytes) -> None:
        self.net = SystemNet()
        self.clock = SystemClock()
        self.random = SystemRandom()
        self.offload = FunctionThreads("test", 4)
        self.secrets = Vault(**secrets)
        self.records: list[tuple[str, dict[str, object]]] = []

    def emit(self, record: str, /, **fields: object) -> None:
        self.records.append((record, fields))


@dataclass
class Bench:
    """One database behind a System, and attempts for events."""

    url: str
    systems: Systems
    world: World
    others: list[Systems] = field(default_factory=list)

    def use(self, event: str, **scope: Any) -> Any:
        """What `context.use` gives in an attempt for an event."""
        return self.systems.client(LEDGER, self.scope(event, **scope))

    def scope(self, event: str, **given: Any) -> Scope:
        return Scope(identity=("shop", "/test", event), subscription="shop.book", event_id=f"evt_{event}", **given)

    async def book(self, event: str, cents: int = 5, **scope: Any) -> bool:
        """An attempt that writes one entry: whether it was the one that did."""
        async with self.use(event, **scope).once() as tx:
            await tx.execute(INSERT, event, cents)
        return not tx.done

    async def entries(self) -> list[Any]:
        async with self.use(f"look-{len(self.world.records)}").once() as tx:
            return [row[0] for row in await tx.fetch("SELECT id FROM entries ORDER BY id")]
        raise AssertionError


def systems(world: World, url: str, **binding: Any) -> Systems:
    spec = SystemSpec(LEDGER, "shop", "sql", Where("shop.py", 1), True)
    bindings = {LEDGER: HttpBinding(url=url, **binding)}
    return Systems(Plan([], {LEDGER: spec}, bindings, {}, [], {}, [], [], "digest"), world)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        with postgresql.database() as made:
            yield made


@asynccontextmanager
async def bench(url: str, **binding: Any) -> AsyncIterator[Bench]:
    world = World()
    made = Bench(url, systems(world, url, **binding), world)
    try:
        async with made.use("table").once() as tx:
            await tx.execute(TABLE)
        yield made
    finally:
        for each in (made.systems, *made.others):
            await each.close()
        await asyncio.sleep(0)
        world.offload.close()


Test = Callable[[Bench], Coroutine[Any, Any, None]]


def on_each(test: Test) -> Callable[[str], None]:
    """A test of each backend, on a loop of its own."""

    @wraps(test)
    def run(url: str) -> None:
        async def whole() -> None:
            async with bench(url) as made:
                await test(made)

        asyncio.run(whole())

    del run.__wrapped__
    return run


async def outcome_of(work: Coroutine[Any, Any, object]) -> Outcome:
    with pytest.raises(CallFailed) as failed:
        await work
    return failed.value.outcome


# Once.


@on_each
async def test_a_transaction_is_made_once_for_an_event_however_often_it_is_delivered(it: Bench):
    assert await it.book("e-1")
    assert not await it.book("e-1")
    assert await it.book("e-2")
    assert await it.entries() == ["e-1", "e-2"]


@on_each
async def test_the_rest_of_a_block_that_was_committed_before_is_not_run(it: Bench):
    ran: list[str] = []
    for attempt in ("first", "second"):
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            ran.append(attempt)
        ran.append("after")
    assert ran == ["first", "after", "after"]


@on_each
async def test_no_except_of_the_function_stops_the_way_out_of_a_block_that_was_committed_before(it: Bench):
    await it.book("e-1")
    async with it.use("e-1").once() as tx:
        with suppress(Exception):
            await asyncio.gather(tx.fetch("SELECT 1"))
        raise AssertionError("it went on")
    async with it.use("e-1").once() as tx, asyncio.TaskGroup() as group:
        group.create_task(tx.execute(INSERT, "e-1", 5))
    assert tx.done


@on_each
async def test_the_result_of_the_first_time_is_there_every_time(it: Bench):
    for expected in (False, True):
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            tx.result = {"number": 17, "of": ("a", "b")}
        assert tx.done is expected
        assert tx.result == {"number": 17, "of": ["a", "b"]}
    assert (await book_without_result(it)) is None


async def book_without_result(it: Bench) -> object:
    await it.book("e-2")
    async with it.use("e-2").once() as tx:
        await tx.execute(INSERT, "e-2", 5)
    return tx.result


@on_each
async def test_a_result_that_is_no_receipt_rolls_back(it: Bench):
    async def attempt(result: object) -> None:
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            tx.result = result

    for result in ("x" * 5_000, object()):
        with pytest.raises(InterlockError) as refused:
            await attempt(result)
        assert refused.value.code == "call.result-invalid"
    assert await it.book("e-1")


@on_each
async def test_an_exception_of_the_function_rolls_back_both_rows_and_receipt(it: Bench):
    async def attempt() -> None:
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            raise KeyError("e-1")

    with pytest.raises(KeyError):
        await attempt()
    assert await it.entries() == []
    assert await it.book("e-1")
    # A fault of the function says nothing of the database.
    assert it.systems.state(LEDGER).minute.failures == 0


@on_each
async def test_a_cancellation_in_the_block_rolls_back(it: Bench):
    inside = asyncio.Event()

    async def attempt() -> None:
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(attempt())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert it.systems.state(LEDGER).in_flight == 0
    assert await it.book("e-1")


@on_each
async def test_two_transactions_of_one_event_are_told_apart_by_order_or_name(it: Bench):
    for _ in range(2):
        scope = it.scope("e-1")
        client: Any = it.systems.client(LEDGER, scope)
        for each in ("a", "b"):
            async with client.once() as tx:
                await tx.execute(INSERT, each, 5)
        async with client.once(call="last") as tx:
            await tx.execute(INSERT, "c", 5)
    assert await it.entries() == ["a", "b", "c"]
    with pytest.raises(CallLabelMissing):
        async with client.once(), client.once():
            pass


@on_each
async def test_a_memo_of_a_former_attempt_spares_the_question(it: Bench):
    scope = it.scope("e-1")
    client: Any = it.systems.client(LEDGER, scope)
    async with client.once() as tx:
        await tx.execute(INSERT, "e-1", 5)
        tx.result = 17
    calls = it.systems.state(LEDGER).minute.calls
    again: Any = it.systems.client(LEDGER, it.scope("e-1", memo=scope.encode_memo()))
    async with again.once() as tx:
        await tx.execute(INSERT, "e-1", 5)
    assert (tx.done, tx.result) == (True, 17)
    assert it.systems.state(LEDGER).minute.calls == calls


# Zombies.


@on_each
async def test_a_zombie_waits_for_its_successor_and_finds_the_receipt(it: Bench):
    it.others.append(systems(it.world, it.url))
    open_now, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with it.use("e-1").once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            open_now.set()
            await go_on.wait()

    async def second() -> bool:
        client: Any = it.others[0].client(LEDGER, it.scope("e-1"))
        async with client.once() as tx:
            await tx.execute(INSERT, "e-1", 5)
        return tx.done

    holder = asyncio.create_task(first())
    await open_now.wait()
    zombie = asyncio.create_task(second())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.shield(zombie)
    go_on.set()
    await holder
    assert await zombie
    assert await it.entries() == ["e-1"]


@on_each
async def test_many_at_once_write_each_event_once(it: Bench):
    it.others.append(systems(it.world, it.url))

    async def attempt(number: int, which: Systems) -> None:
        client: Any = which.client(LEDGER, it.scope(f"e-{number:02}"))
        async with client.once() as tx:
            await tx.execute(INSERT, f"e-{number:02}", 5)

    await asyncio.gather(*(attempt(number, which) for number in range(30) for which in (it.systems, *it.others)))
    assert len(await it.entries()) == 30


@on_each
async def test_nothing_is_begun_or_committed_once_the_lease_ends(it: Bench):
    lease = [True]
    outcome = await outcome_of(it.book("e-1", may_send=lambda: False))
    assert isinstance(outcome, Unavailable)

    async def ends_inside() -> None:
        async with it.use("e-1", may_send=lambda: lease[0]).once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            lease[0] = False

    outcome = await outcome_of(ends_inside())
    assert isinstance(outcome, Unavailable)
    assert outcome.scope == "lease"
    assert await it.entries() == []


@on_each
async def test_a_paused_system_and_a_full_one_are_asked_for_nothing(it: Bench):
    it.systems.pause(LEDGER)
    outcome = await outcome_of(it.book("e-1"))
    assert isinstance(outcome, Unavailable)
    assert outcome.scope == "paused"
    it.systems.resume(LEDGER)
    one = systems(it.world, it.url, concurrency=1, rate_per_second=0.01)
    it.others.append(one)
    client: Any = one.client(LEDGER, it.scope("e-1"))
    async with client.once() as tx:
        await tx.execute(INSERT, "e-1", 5)
        assert one.available(LEDGER) is not None

    async def second() -> None:
        async with client.once():
            pass

    outcome = await outcome_of(second())
    assert isinstance(outcome, Unavailable)
    assert outcome.scope == "limiter"


# Outcomes.


@on_each
async def test_a_constraint_is_permanent_and_tells_no_values(it: Bench):
    await it.book("e-1")

    async def twice() -> None:
        async with it.use("e-2").once() as tx:
            await tx.execute(INSERT, "e-1", 5)

    outcome = await outcome_of(twice())
    assert isinstance(outcome, Reject)
    assert outcome.reason in ("sql 23505", "sql SQLITE_CONSTRAINT_PRIMARYKEY")
    assert "e-1" not in outcome.detail
    assert isinstance(await outcome_of(it.book("e-3", -5)), Reject)
    assert it.systems.state(LEDGER).minute.failures == 0


@on_each
async def test_a_failure_that_the_function_catches_is_not_committed_all_the_same(it: Bench):
    await it.book("e-1")

    async def swallows() -> None:
        async with it.use("e-2").once() as tx:
            await tx.execute(INSERT, "e-2", 5)
            with suppress(CallFailed):
                await tx.execute(INSERT, "e-1", 5)

    assert isinstance(await outcome_of(swallows()), Reject)
    assert await it.entries() == ["e-1"]


@on_each
async def test_a_statement_that_is_wrong_is_tried_a_few_times_and_is_no_evidence_against_the_database(it: Bench):
    async def wrong(statement: str, *values: object) -> None:
        async with it.use("e-1").once() as tx:
            await tx.execute(statement, *values)

    for statement, values in (
        ("INSERT INTO nowhere VALUES (1)", ()),
        ("inser", ()),
        (INSERT, ("e-1",)),
        (INSERT, ("e-1", 5, 6)),
    ):
        outcome = await outcome_of(wrong(statement, *values))
        assert isinstance(outcome, Later)
        assert (outcome.status, outcome.attempts_max) == (400, 5)
    assert it.systems.state(LEDGER).minute.failures == 0


@on_each
async def test_only_the_block_begins_and_ends_the_transaction(it: Bench):
    async with it.use("e-1").once() as tx:
        for statement in ("COMMIT", " /* so */ rollback", "SAVEPOINT a", f"{TABLE}; COMMIT", "-- x\nBEGIN"):
            with pytest.raises(InterlockError) as refused:
                await tx.execute(statement)
            assert refused.value.code == "call.statement-refused"
        await tx.execute("INSERT INTO entries VALUES ('; COMMIT', 5);")
    with pytest.raises(InterlockError) as refused:
        await tx.execute(INSERT, "e-2", 5)
    assert refused.value.code == "call.transaction-over"
    assert await it.entries() == ["; COMMIT"]


@on_each
async def test_statements_give_counts_and_rows_in_the_order_of_their_numbers(it: Bench):
    async with it.use("e-1").once() as tx:
        assert await tx.execute("INSERT INTO entries (cents, id) VALUES ($2, $1)", "a", 5) == 1
        assert await tx.execute("INSERT INTO entries VALUES ('$1', 6)") == 1
        assert await tx.fetch("UPDATE entries SET cents = cents + $1 WHERE id = $2 RETURNING cents", 1, "a") == [(6,)]
        assert await tx.execute("UPDATE entries SET cents = cents + 1") == 2
        assert await tx.execute("SELECT * FROM entries") == 0
        assert await tx.fetch("SELECT id, cents FROM entries ORDER BY id") == [("$1", 7), ("a", 7)]
        await tx.fetch("SELECT $1", Decimal("1.5")) if it.url.startswith("sqlite") else None


@on_each
async def test_rows_have_a_bound(it: Bench):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) SELECT i FROM n"
    async with it.use("e-1").once() as tx:
        assert len(await tx.fetch(endless, SQL_ROWS_MAX)) == SQL_ROWS_MAX
        with pytest.raises(InterlockError) as refused:
            await tx.fetch(endless, SQL_ROWS_MAX + 1)
        assert refused.value.code == "call.rows-too-many"


@on_each
async def test_a_call_past_its_deadline_is_rolled_back_and_counts_against_the_database(it: Bench):
    it.others.append(systems(it.world, it.url, deadline_us=US_PER_SECOND // 2))
    slow: Any = it.others[0].client(LEDGER, it.scope("e-1"))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

    async def attempt() -> None:
        async with slow.once() as tx:
            await tx.execute(INSERT, "e-1", 5)
            await tx.fetch(endless)

    outcome = await outcome_of(attempt())
    assert isinstance(outcome, Later)
    assert outcome.reason == "timeout"
    assert it.others[0].state(LEDGER).minute.failures == 1
    assert await it.book("e-1")


# The inbox.


@on_each
async def test_receipts_are_removed_by_age_in_slices(it: Bench):
    now = it.world.clock.now()
    many = RECEIPT_SLICE_ROWS + 5
    async with it.use("old").once() as tx:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)"
        old = f"{endless} SELECT 'old-' || i, $2, $3 FROM n"
        values = (many, b"", now - US_PER_DAY)
        types = old if it.url.startswith("sqlite") else old.replace("$2", "$2::bytea").replace("$3", "$3::bigint")
        await tx.execute(f"INSERT INTO interlock_inbox {types}", *values)
    await it.book("e-1")
    await it.systems.forget_receipts(now - US_PER_DAY + 1)
    assert ("receipts.forgotten", {"system": LEDGER, "count": many}) in it.world.records
    assert not await it.book("e-1")
    it.systems.pause(LEDGER)
    await it.systems.forget_receipts(now + US_PER_DAY)
    it.systems.resume(LEDGER)
    assert not await it.book("e-1")


@on_each
async def test_an_inbox_that_was_made_beforehand_is_used_as_it_is(it: Bench):
    async with it.use("e-1").once() as tx:
        await tx.execute("ALTER TABLE interlock_inbox ADD COLUMN note TEXT")
    again = systems(it.world, it.url)
    it.others.append(again)
    client: Any = again.client(LEDGER, it.scope("e-2"))
    async with client.once() as tx:
        assert await tx.fetch("SELECT note FROM interlock_inbox WHERE note IS NOT NULL") == []
