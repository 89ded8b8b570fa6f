"""Plays the story: a project in a folder, its systems, `interlock run`'s own process on it, the shop; then counts."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copytree, ignore_patterns
from signal import SIGINT, SIGTERM
from socket import socket  # noqa: TID251  # its type only: `listen` makes them
from typing import Any, Final, NamedTuple

import msgspec
import uvloop
from starlette.types import ASGIApp

from interlock.cli.demo import books
from interlock.cli.demo.books import Account, Figures, Seen, Told
from interlock.cli.demo.scenes import ENDS_US, SYSTEMS
from interlock.cli.demo.shop import CONNECTIONS, Shop
from interlock.cli.demo.story import Line, Story
from interlock.cli.demo.systems import System
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.session import Session
from interlock.control import shapes, table
from interlock.control.endpoint import Endpoint
from interlock.core.limits import US_PER_MINUTE, US_PER_SECOND
from interlock.runtime.admin import admin_server
from interlock.runtime.clock import SystemClock
from interlock.runtime.listen import bound
from interlock.runtime.load import load
from interlock.runtime.ports import SystemRandom, ThreadOffload
from interlock.runtime.scaled import ScaledClock
from interlock.runtime.serve import SWITCH_INTERVAL_SECONDS, Outside, Process, Ready
from interlock.runtime.settings import Setup, process_environment

PROJECT: Final = Path(__file__).parent / "project"
HOST: Final = "127.0.0.1"
PATIENCE_US: Final = 5 * US_PER_MINUTE
"""How long everything that was accepted may take to settle once the shop has closed, in the story's time."""
LEAVING_US: Final = 2 * US_PER_SECOND
"""How long somebody who pressed Ctrl-C waits for it, in theirs."""


class Show(NamedTuple):
    """What is played: `speed` times as fast as it says, in `folder`; to its end, or until somebody has seen enough."""

    folder: Path
    seed: int
    speed: float
    has_end: bool


class Count(NamedTuple):
    """How it ended: the books by System and in all, and what did not hold or was not shown.

    `is_whole`: it was played to its end; `doctor` is what that says of the equation.
    """

    accounts: Mapping[str, Account]
    total: Account
    doctor: str
    broken: Sequence[str]
    unshown: Sequence[str]
    is_whole: bool


def play(show: Show, began: Callable[[Ready], None], tell: Callable[[Line], None], systems: Sequence[System]) -> Count:
    """Play the story and count.

    Args:
        began: called once the process answers.
        tell: called with each line of the story.
        systems: those that receive, one for each name.
    """
    copytree(PROJECT, show.folder, dirs_exist_ok=True, ignore=ignore_patterns("__pycache__"))
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    stage = Stage(show, tell, systems)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(stage.play(began))
    finally:
        stage.close()


class Stage:
    """Everything that plays: the systems, the process, the shop, and an operator who asks the process at the end."""

    def __init__(self, show: Show, tell: Callable[[Line], None], systems: Sequence[System]) -> None:
        self._show = show
        self._clock = ScaledClock(SystemClock(), show.speed)
        self._systems = {system.name: system for system in systems}
        self._threads = {"shop": ThreadOffload("shop", CONNECTIONS), "operator": ThreadOffload("operator")}
        secret = "whsec_" + b64encode(SystemRandom().bytes(24)).decode()
        self._shop = Shop(show.seed, secret, self._clock, self._threads["shop"])
        self._story = Story(self._clock, self._shop, self._systems, tell)
        self._log = (show.folder / "interlock.log").open("ab", buffering=0)
        self._sockets = {name: bound(HOST, 0) for name in self._systems}
        self._environment = {
            **process_environment(),
            "NORDWIND_WEBHOOK_SECRET": secret,
            **{f"INTERLOCK_SYSTEMS__SHOP_{name.upper()}__URL": _url(each) for name, each in self._sockets.items()},
        }
        self._operator = Session(folder=str(show.folder), overlay=None, quiet=True, no_input=True)

    def close(self) -> None:
        """End what the loop does not own."""
        for thread in self._threads.values():
            thread.close()
        for each in self._sockets.values():
            each.close()
        self._log.close()

    async def play(self, began: Callable[[Ready], None]) -> Count:
        """The story, from the first server to the count."""
        leave = asyncio.Event()
        for number in (SIGINT, SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, leave.set)
        async with AsyncExitStack() as stack:
            process, ready = await stack.enter_async_context(self._process())
            self._story.began = self._clock.monotonic()
            for name, system in self._systems.items():
                app = system.app(self._clock, self._story.began)
                await stack.enter_async_context(_served(app, self._sockets[name]))
            began(ready)
            until_us = ENDS_US if self._show.has_end else None
            selling = asyncio.create_task(self._shop.send(ready.data, self._story.began, until_us))
            is_whole = await self._until_the_end(process, selling, leave)
            self._shop.close()
            await selling
            patience_us = PATIENCE_US if is_whole else int(LEAVING_US * self._show.speed)
            rows = await self._settled(process, self._clock.monotonic() + patience_us)
            return await self._count(rows, is_whole)

    async def _until_the_end(self, process: Process, selling: asyncio.Task[None], leave: asyncio.Event) -> bool:
        """Tell what happens, second by second; whether the story was played to its end."""
        patience_ends = self._story.began + ENDS_US + PATIENCE_US
        while not selling.done():
            self._story.tick(_retrying(process))
            if leave.is_set():
                return False
            if self._show.has_end and self._clock.monotonic() > patience_ends:
                self._shop.close()
            await self._next_second()
        return True

    async def _settled(self, process: Process, until: int) -> Mapping[str, shapes.SubscriptionRow]:
        """Wait until nothing is due, for so long; every subscription by the System that it sends to."""
        while True:
            found: shapes.Subscriptions = await self._ask(table.SUBSCRIPTIONS, shapes.Nothing())
            rows = {row.name.rpartition("_")[2]: row for row in found.subscriptions}
            self._story.tick(_retrying(process))
            if not any(map(_unsettled, rows.values())) or self._clock.monotonic() > until:
                return rows
            await self._next_second()

    async def _count(self, rows: Mapping[str, shapes.SubscriptionRow], is_whole: bool) -> Count:
        doctor: shapes.Doctor = await self._ask(table.DOCTOR, shapes.Nothing())
        (balance,) = [check for check in doctor.checks if check.name == "conservation"]
        groups, dead = await self._dead()
        told = {name: Told(row.delivered, _unsettled(row), dead[row.name]) for name, row in rows.items()}
        taken = {name: system.taken for name, system in self._systems.items()}
        refused = self._shop.refused if is_whole else 0
        seen = Seen(list(self._shop.accepted.values()), taken, told, balance.ok, refused)
        figures = Figures(
            self._shop.duplicates,
            self._story.was_open,
            self._story.breakers["erp"] in ("ramping", "closed"),
            self._systems["crm"].answers[429],
            groups,
        )
        accounts = {name: books.account(seen, name) for name in SYSTEMS}
        broken, unshown = list(books.broken(seen)), list(books.unshown(seen, figures))
        return Count(accounts, books.total(seen), balance.says, broken, unshown, is_whole)

    async def _dead(self) -> tuple[int, Mapping[str, set[books.Fate]]]:
        """How many causes there are, and the dead letters of each subscription."""
        found: shapes.DeadGroups = await self._ask(table.DEAD, shapes.DeadAsked())
        dead: defaultdict[str, set[books.Fate]] = defaultdict(set)
        for group in found.groups:
            asked = shapes.DeadShow(fingerprint=group.fingerprint, limit=shapes.PAGE_MAX)
            letters: shapes.DeadLetters = await self._ask(table.DEAD_SHOW, asked)
            dead[group.subscription] |= {(letter.type, letter.key or "") for letter in letters.letters}
        return len(found.groups), dead

    async def _ask(self, endpoint: Endpoint[Any], taken: msgspec.Struct) -> Any:  # Any: what the endpoint gives.
        """Ask the process over HTTP, as the commands do."""
        return await self._threads["operator"].run(lambda: self._operator.ask(endpoint, taken))

    def _write_log(self, lines: bytes) -> None:
        self._log.write(lines)

    async def _next_second(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + US_PER_SECOND)

    @asynccontextmanager
    async def _process(self) -> AsyncGenerator[tuple[Process, Ready]]:
        """The process that `interlock run` is, on the clock of the story, until the block ends: then it drains."""
        setup = Setup(self._show.folder, None, self._environment)
        loaded = load(setup)
        if loaded.plan is None:
            raise Exit(FINDINGS)
        outside = Outside(self._clock, self._write_log, [self._story])
        process = Process(setup, loaded.settings, loaded.plan, outside)
        stop = asyncio.Event()
        ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(process.run_until(stop, asyncio.Event(), ready.set_result))
        try:
            await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            yield process, ready.result()
        finally:
            stop.set()
            await running


@asynccontextmanager
async def _served(app: ASGIApp, listening: socket) -> AsyncGenerator[None]:
    """A System's server, until the block ends."""
    server = admin_server(app, None)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        server.cut()
        await serving


def _url(listening: socket) -> str:
    return f"http://{HOST}:{listening.getsockname()[1]}"


def _unsettled(row: shapes.SubscriptionRow) -> int:
    """Events of a subscription that the engine has yet to deliver."""
    return row.lag + row.behind + sum(count for state, count in row.stragglers.items() if state != "dead")


def _retrying(process: Process) -> int:
    turns = [lane.turn for lane in process.engine.fleet.lanes() if lane.turn is not None]
    return sum(row.state == "due" for turn in turns for row in turn.rows.values())
