"""What only a server can do to `once()`: refuse, go away, lose an answer, find a deadlock, allow no table."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.contract import postgresql
from tests.contract.test_databases import INSERT, LEDGER, TABLE, Bench, World, bench, outcome_of, systems

from interlock.core.errors import SpecError
from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Later, Unavailable
from interlock.spec.database import PostgresAddress
from interlock.systems.postgres import PostgresDatabase, PostgresTerms
from interlock.testing.clock import FakeClock

pytestmark = pytest.mark.services


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql.database() as made:
        yield made


def at(port: int, name: str = "nowhere", user: str = "root") -> str:
    return f"postgresql://{user}@127.0.0.1:{port}/{name}"


def alone(url: str, **secrets: bytes) -> Bench:
    world = World(**secrets)
    return Bench(url, systems(world, url), world)


class Lossy:
    """Between a client and the server: it forwards, and breaks the connection when a commit has been forwarded."""

    def __init__(self) -> None:
        self.losing = False
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
        await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())  # type: ignore[arg-type]
        from_server, to_server = await asyncio.open_unix_connection(f"{postgresql.SOCKETS}/.s.PGSQL.5432")
        back = asyncio.create_task(self._pump(from_server, writer))
        while data := await reader.read(65_536):
            if self.losing and b"COMMIT" in data:
                back.cancel()
                await asyncio.wait([back])
                to_server.write(data)
                await from_server.read(65_536)
                break
            to_server.write(data)
        for each in (to_server, writer):
            each.close()
            with suppress(OSError):
                await each.wait_closed()
        await asyncio.wait([back])

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)


def test_a_commit_whose_answer_is_lost_is_tried_again_and_found(url: str):
    async def whole() -> None:
        lossy = Lossy()
        async with lossy.listening() as port, bench(at(port, urlsplit(url).path[1:])) as it:
            lossy.losing = True
            outcome = await outcome_of(it.book("e-1"))
            assert isinstance(outcome, Later)
            assert outcome.reason == "commit-unknown"
            lossy.losing = False
            assert not await it.book("e-1")
            assert await it.entries() == ["e-1"]

    asyncio.run(whole())


def test_a_server_that_is_not_there_or_refuses_is_a_failure_that_may_pass(url: str):
    async def whole() -> None:
        for where, reason in (
            (at(1), "connect"),
            (at(5432), "sql 3D000"),
            (at(5432, user="nobody"), "sql 28000"),
            ("postgresql://root@nowhere.invalid/x?sslmode=disable", "dns"),
        ):
            it = alone(where)
            outcome = await outcome_of(it.book("e-1"))
            assert isinstance(outcome, Later), outcome
            assert outcome.reason == reason
            assert it.systems.state(LEDGER).minute.failures == 1

    asyncio.run(whole())


def test_without_its_password_nothing_is_tried():
    async def whole() -> None:
        it = alone("postgresql://root:secret:ledger@127.0.0.1:1/x")
        outcome = await outcome_of(it.book("e-1"))
        assert isinstance(outcome, Unavailable)
        assert ("system.secret-missing", {"system": LEDGER, "secret": "ledger"}) in it.world.records
        it.world.secrets.secrets["ledger"] = b"found"
        assert isinstance(await outcome_of(it.book("e-1")), Later)

    asyncio.run(whole())


def test_connections_that_died_while_idle_are_no_failure(url: str):
    async def whole() -> None:
        async with bench(url) as it:
            await asyncio.gather(*(it.book(f"e-{number}") for number in range(4)))
            await asyncio.to_thread(
                postgresql.ask,
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'interlock%'",
            )
            assert await it.book("e-9")
            assert it.systems.state(LEDGER).minute.failures == 0

    asyncio.run(whole())


def test_a_server_that_ends_the_transaction_loses_all_of_it_and_nothing_else(url: str):
    async def whole() -> None:
        async with bench(url) as it:

            async def attempt() -> None:
                async with it.use("e-1").once() as tx:
                    await tx.execute(INSERT, "e-1", 5)
                    await tx.fetch("SELECT pg_terminate_backend(pg_backend_pid())")

            outcome = await outcome_of(attempt())
            assert isinstance(outcome, Later)
            assert outcome.status is None
            assert await it.entries() == []
            assert await it.book("e-1")

    asyncio.run(whole())


def test_a_deadlock_is_tried_again_and_no_evidence_against_the_database(url: str):
    async def whole() -> None:
        async with bench(url) as it:
            await it.book("a")
            await it.book("b")
            both = asyncio.Barrier(2)

            async def attempt(event: str, first: str, second: str) -> None:
                async with it.use(event).once() as tx:
                    await tx.execute("UPDATE entries SET cents = cents + 1 WHERE id = $1", first)
                    await both.wait()
                    await tx.execute("UPDATE entries SET cents = cents + 1 WHERE id = $1", second)

            ended = await asyncio.gather(attempt("e-1", "a", "b"), attempt("e-2", "b", "a"), return_exceptions=True)
            (outcome,) = [each.outcome for each in ended if each is not None]  # type: ignore[union-attr]
            assert isinstance(outcome, Later)
            assert (outcome.reason, outcome.status) == ("sql 40P01", 409)
            assert it.systems.state(LEDGER).minute.failures == 0

    asyncio.run(whole())


def test_a_process_that_stands_still_inside_a_transaction_holds_its_successor_up_no_longer_than_a_call(url: str):
    async def whole() -> None:
        async with bench(url) as it:
            it.others.append(systems(it.world, url, deadline_us=US_PER_SECOND // 2))
            stalled: Any = it.others[0].client(LEDGER, it.scope("e-1"))
            block = stalled.once()
            tx = await block.__aenter__()
            await tx.execute(INSERT, "e-1", 5)
            # Nothing more comes from it; its successor waits for the receipt until the server ends the transaction.
            assert await it.book("e-1")
            await block.__aexit__(ValueError, ValueError(), None)

    asyncio.run(whole())


def test_an_inbox_is_made_by_many_at_once_and_may_be_made_beforehand_for_those_who_may_not(url: str):
    async def whole() -> None:
        world = World()
        several = [systems(world, url) for _ in range(8)]
        every = [Bench(url, each, world) for each in several]

        async def nothing(number: int, it: Bench) -> None:
            async with it.use(f"e-{number}").once():
                pass

        await asyncio.gather(*(nothing(number, it) for number, it in enumerate(every)))
        for each in several:
            await each.close()

    asyncio.run(whole())
    role = urlsplit(url).path[1:] + "_app"
    name = urlsplit(url).path[1:]
    for statement in (
        TABLE,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON interlock_inbox, entries TO {role}",
    ):
        postgresql.ask(url, statement)

    async def may_not_create() -> None:
        it = alone(f"postgresql://{role}@127.0.0.1/{name}")
        assert await it.book("new")
        assert not await it.book("new")
        await it.systems.close()
        await asyncio.sleep(0)

    try:
        asyncio.run(may_not_create())
    finally:
        postgresql.ask(url, f"DROP OWNED BY {role}")
        postgresql.ask(url, f"DROP ROLE {role}")


def test_a_commit_is_durable_also_where_the_server_was_told_not_to_care(url: str):
    postgresql.ask(url, f'ALTER DATABASE "{urlsplit(url).path[1:]}" SET synchronous_commit = off')

    async def whole() -> None:
        async with bench(url) as it, it.use("e-1").once() as tx:
            assert await tx.fetch("SELECT current_setting('synchronous_commit')") == [("on",)]

    asyncio.run(whole())


def test_idle_connections_are_closed_after_a_while(url: str):
    clock = FakeClock()

    async def whole() -> None:
        address = PostgresAddress(postgresql.SOCKETS, 5432, "root", None, urlsplit(url).path[1:], "disable")
        database = PostgresDatabase(
            PostgresTerms(LEDGER, address, US_PER_SECOND, US_PER_SECOND), clock, World().secrets
        )
        opened = [await database.begin("a"), await database.begin("b")]
        for each in opened:
            assert not isinstance(each, bytes)
            await each.close()
        await clock.advance(59 * US_PER_SECOND)
        assert len(database._idle) == 2
        await clock.advance(US_PER_SECOND)
        assert database._idle == []
        await asyncio.sleep(0)

    asyncio.run(whole())


def test_without_the_driver_the_start_says_what_to_install():
    there = sys.modules["asyncpg"]
    sys.modules["asyncpg"] = None  # type: ignore[assignment]
    try:
        with pytest.raises(SpecError) as refused:
            alone(at(1))
    finally:
        sys.modules["asyncpg"] = there
    assert refused.value.code == "system.driver-missing"
