"""The queue before the writer: what goes into which commit, and what becomes of a commit that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from interlock.core.errors import StoreBusy, StoreError
from interlock.core.limits import WRITER_GROUP_ITEMS_MAX, WRITER_QUEUE_ITEMS_MAX, WRITER_RESERVE_ITEMS
from interlock.journal.writer import Writer
from interlock.testing.clock import FakeClock


class Slow:
    """An Offload whose calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def run(self, function: Callable[[], Any]) -> Awaitable[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.calls.append((function, future))
        return future

    async def end(self, error: BaseException | None = None) -> None:
        function, future = self.calls.pop(0)
        if error is None:
            future.set_result(function())
        else:
            future.set_exception(error)
        for _ in range(3):
            await asyncio.sleep(0)


class Table:
    """Commits by adding to a list; remembers the groups."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.told: list[Any] = []
        self.records: list[str] = []
        self.committed: list[dict[str, object]] = []
        self.offload = Slow()
        self.clock = FakeClock()
        self.writer: Writer[Table] = Writer(self.offload, self.commit, self.told.append, self.emit, self.clock)

    def commit(self, runs: Sequence[Callable[[Table], Any]]) -> tuple[Sequence[Any], Any]:
        self.groups.append(len(runs))
        return [run(self) for run in runs], len(self.groups)

    def emit(self, record: str, /, **fields: object) -> None:
        if record != "store.committed":
            self.records.append(record)
        else:
            self.committed.append(fields)


def test_what_is_queued_during_a_commit_shares_the_next_one() -> None:
    async def scenario() -> None:
        table = Table()
        answers: list[Any] = []
        for number in range(3):
            table.writer.submit(lambda _, number=number: number, answers.append, 1, 10)
        await asyncio.sleep(0)
        for number in range(3, 8):
            table.writer.submit(lambda _, number=number: number, answers.append, 1, 10)
        await table.offload.end()
        assert answers == [0, 1, 2]
        await table.offload.end()
        assert answers == list(range(8))
        assert table.groups == [3, 5]
        assert table.told == [1, 2]
        assert table.offload.calls == []

    asyncio.run(scenario())


def test_the_next_commit_is_under_way_before_the_answers_are_given() -> None:
    async def scenario() -> None:
        table = Table()
        under_way: list[int] = []
        table.writer.submit(lambda _: 1, lambda _: under_way.append(len(table.offload.calls)), 1, 1)
        await asyncio.sleep(0)
        table.writer.submit(lambda _: 2, lambda _: None, 1, 1)
        await table.offload.end()
        assert under_way == [1]

    asyncio.run(scenario())


def test_one_commit_takes_a_bounded_number_of_items_but_always_one_request() -> None:
    async def scenario() -> None:
        table = Table()
        for items in (WRITER_GROUP_ITEMS_MAX + 1, WRITER_GROUP_ITEMS_MAX - 1, 1, 1):
            table.writer.submit(lambda _: 0, lambda _: None, items, 1)
        await asyncio.sleep(0)
        while table.offload.calls:
            await table.offload.end()
        assert table.groups == [1, 2, 1]

    asyncio.run(scenario())


def test_a_full_queue_refuses_intake_and_takes_everything_else() -> None:
    async def scenario() -> None:
        table = Table()
        answers: list[Any] = []
        table.writer.submit(lambda _: 0, answers.append, 1, 1)
        await asyncio.sleep(0)
        for _ in range(WRITER_QUEUE_ITEMS_MAX + 2):
            table.writer.submit(lambda _: 0, answers.append, 1, 1)
        control = table.writer.call(lambda _: "control")
        await asyncio.sleep(0)
        assert [type(answer) for answer in answers] == [StoreBusy, StoreBusy]
        assert table.records == ["store.writer-busy", "store.writer-busy"]
        while table.offload.calls:
            await table.offload.end()
        assert await control == "control"
        table.writer.submit(lambda _: "room again", answers.append, 1, 1)
        await asyncio.sleep(0)
        await table.offload.end()
        assert answers[-1] == "room again"

    asyncio.run(scenario())


def test_what_people_ask_for_has_a_reserve_that_intake_cannot_fill() -> None:
    async def scenario() -> None:
        table = Table()
        answers: list[Any] = []
        for _ in range(WRITER_QUEUE_ITEMS_MAX + 1):
            table.writer.submit(lambda _: 0, answers.append, 1, 1)
        command = table.writer.append(lambda _: "command", 1, 1, reserved=True)
        rest = table.writer.append(lambda _: "the rest of the reserve", WRITER_RESERVE_ITEMS - 1, 1, reserved=True)
        over = table.writer.append(lambda _: "too much", 1, 1, reserved=True)
        await asyncio.sleep(0)
        assert [type(answer) for answer in answers] == [StoreBusy]
        with pytest.raises(StoreBusy):
            await over
        while table.offload.calls:
            await table.offload.end()
        assert await command == "command"
        assert await rest == "the rest of the reserve"

    asyncio.run(scenario())


def test_a_commit_tells_how_long_it_took_and_what_was_in_it() -> None:
    async def scenario() -> None:
        table = Table()
        table.writer.submit(lambda _: 0, lambda _: None, 3, 100)
        table.writer.submit(lambda _: 0, lambda _: None, 2, 50)
        await asyncio.sleep(0)
        await table.clock.advance(4_000)
        await table.offload.end()
        assert table.committed == [{"duration_us": 4_000, "requests": 2, "items": 5, "bytes": 150}]

    asyncio.run(scenario())


def test_a_commit_that_fails_leaves_its_requests_in_doubt_and_the_next_goes_on() -> None:
    async def scenario() -> None:
        table = Table()
        failing = table.writer.append(lambda _: 0, 1, 1)
        await asyncio.sleep(0)
        following = table.writer.call(lambda _: "fine")
        await table.offload.end(OSError(5, "input/output error"))
        with pytest.raises(StoreError) as doubt:
            await failing
        assert doubt.value.code == "store.in-doubt"
        assert isinstance(doubt.value.__cause__, OSError)
        assert isinstance(table.told[0], StoreError)
        await table.offload.end()
        assert await following == "fine"

    asyncio.run(scenario())


def test_closing_waits_for_what_was_queued_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        table = Table()
        first = table.writer.call(lambda _: 1)
        await asyncio.sleep(0)
        second = table.writer.call(lambda _: 2)
        closing = asyncio.ensure_future(table.writer.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreError) as refused:
            await table.writer.call(lambda _: 3)
        assert refused.value.code == "store.closed"
        await table.offload.end()
        assert not closing.done()
        await table.offload.end()
        await closing
        assert (await first, await second) == (1, 2)

    asyncio.run(scenario())


def test_a_caller_that_has_gone_costs_nobody_an_answer() -> None:
    async def scenario() -> None:
        table = Table()
        gone, there = table.writer.call(lambda _: 1), table.writer.call(lambda _: 2)
        await asyncio.sleep(0)
        gone.cancel()
        await table.offload.end()
        assert await there == 2

    asyncio.run(scenario())


def test_a_callback_that_raises_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        table = Table()
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
        error = ValueError("a callback's fault")

        def refuse(answer: object) -> None:
            raise error

        table.writer.submit(lambda _: 1, refuse, 1, 1)
        there = table.writer.call(lambda _: 2)
        await asyncio.sleep(0)
        await table.offload.end()
        assert await there == 2
        assert raised == [error]

    asyncio.run(scenario())
