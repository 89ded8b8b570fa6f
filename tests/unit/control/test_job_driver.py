"""The driver of jobs: each step is one commit with the job's cell, and what a person does in between wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.unit.control.stage import CURSOR, Stage

from interlock.control.audit import Who
from interlock.control.commands import Terms
from interlock.control.job_driver import JobDriver
from interlock.core.errors import StoreError
from interlock.core.jobs import decode_job, job_key
from interlock.core.limits import US_PER_DAY
from interlock.core.requests import request_prefix

ANN = Who("ann", "a test")


class Between:
    """A store that lets something happen once, after a look and before the commit that follows from it."""

    def __init__(self, stage: Stage, act: Callable[[], Awaitable[object]]) -> None:
        self._store = stage.store
        self._act: Callable[[], Awaitable[object]] | None = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, drafts: Any, cells: Any = ()) -> Any:
        act, self._act = self._act, None
        if act is not None:
            await act()
        return await self._store.append(drafts, cells)


async def paced(stage: Stage, offsets: list[int]) -> str:
    """A job that has released its first event and may release the next one."""
    stage.process.deaf = True
    terms = Terms(per_second=1.0)
    name = (await stage.drive(stage.commands.begin("retry", {CURSOR: offsets}, ANN, terms, 0))).job
    stage.clock.jump(1_500_000)
    return name


async def driven(stage: Stage, store: Any, seconds: float = 0.2) -> None:
    driver = JobDriver(store, stage.clock, stage.records)
    task = asyncio.ensure_future(driver.run())
    for _ in range(int(seconds * 10)):
        await stage.clock.settle()
        await stage.clock.advance(100_000)
    task.cancel()
    await stage.clock.settle()


async def job_in(stage: Stage, name: str) -> Any:
    return decode_job((await stage.store.get([job_key(name)]))[job_key(name)].value)


def on_stage(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Stage()
        await stage.history()
        await story(stage)

    asyncio.run(run())


def test_a_pause_between_the_look_and_the_commit_releases_nothing() -> None:
    async def story(stage: Stage) -> None:
        name = await paced(stage, [2, 3, 4])

        async def pause() -> None:
            await stage.commands.steer(name, ANN, paused=True)

        await driven(stage, Between(stage, pause), 3)
        job = await job_in(stage, name)
        assert (job.state, job.released) == ("paused", 1)
        assert len(await stage.store.list(request_prefix(CURSOR))) == 1

    on_stage(story)


def test_a_store_that_fails_is_asked_again() -> None:
    async def story(stage: Stage) -> None:
        name = await paced(stage, [2, 3, 4])

        async def fail() -> None:
            raise StoreError("store.failed", "the disk", "try again")

        await driven(stage, Between(stage, fail), 15)
        assert (await job_in(stage, name)).released == 3

    on_stage(story)


def test_what_no_lane_took_for_a_day_is_passed_over_and_the_job_ends() -> None:
    async def story(stage: Stage) -> None:
        stage.process.deaf = True
        terms = Terms()
        name = (await stage.drive(stage.commands.begin("retry", {CURSOR: [2, 3]}, ANN, terms, 0))).job
        stage.clock.jump(US_PER_DAY + 1)
        await driven(stage, stage.store, 1)
        job = await job_in(stage, name)
        assert (job.state, job.succeeded, job.passed_over) == ("done", 0, (0, 1))

    on_stage(story)


def test_a_job_that_is_done_frees_its_set_and_is_forgotten_in_the_end() -> None:
    async def story(stage: Stage) -> None:
        name = (await stage.drive(stage.commands.begin("discard", {CURSOR: [2, 3]}, ANN, Terms()))).job
        stage.process.answer = "discarded"
        await driven(stage, stage.store, 1)
        assert (await job_in(stage, name)).state == "done"
        assert await stage.store.list("jobset/") == []
        stage.clock.jump(31 * US_PER_DAY)
        assert await stage.store.get([job_key(name)]) == {}

    on_stage(story)
