"""The control port of a running process: the admin API over the engine, and the server that carries it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import NamedTuple, cast

import uvicorn
from starlette.types import ASGIApp

from interlock.control.api import Ports, control_app
from interlock.control.commands import Commands
from interlock.control.ports import BreakerState, LiveLane, LiveSystem, Reloads
from interlock.control.queries import Reading
from interlock.control.table import Admin
from interlock.control.tail import Recent
from interlock.core.ports import DiskLevel, Room
from interlock.journal.views import Views
from interlock.runtime.compose import Engine
from interlock.runtime.rehearsal import Rehearse


class Parts(NamedTuple):
    """What the admin API shows and does besides the engine; `page` gives the metrics, `disk` looks at the disk."""

    views: Views
    recent: Recent
    page: Callable[[str], tuple[bytes, str]]
    hosts: Collection[str]
    reload: Reloads
    disk: Callable[[], tuple[Room, DiskLevel] | None]


def admin_app(engine: Engine, parts: Parts) -> ASGIApp:
    """The application of the control port."""
    world, store = engine.world, engine.store
    live = EngineLive(engine, parts.disk)
    reading = Reading(parts.views, store, store, live, engine.plan, version("interlock"))
    commands = Commands(store, store, live, world.clock, world.random, world.emit)
    admin = Admin(reading, commands, parts.recent, world.clock, parts.reload, store, Rehearse(engine))
    return control_app(admin, Ports(live, parts.page, world.access, world.clock, world.emit, parts.hosts))


def admin_server(app: ASGIApp, tls: ssl.SSLContext | None) -> AdminServer:
    """A server for it that leaves signals and logging to the process."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    return AdminServer(config)


class AdminServer(uvicorn.Server):
    """uvicorn without signals. When it stops, it waits for every client, however slow: `cut` ends that."""

    def cut(self) -> None:
        """Break the connections that are left; their handlers find their clients gone."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class EngineLive:
    """What control sees of the engine."""

    def __init__(self, engine: Engine, disk: Callable[[], tuple[Room, DiskLevel] | None]) -> None:
        self._engine = engine
        self._disk = disk

    def systems(self) -> Sequence[LiveSystem]:
        """Every System as this process sees it."""
        found: list[LiveSystem] = []
        for name in self._engine.plan.systems:
            state = self._engine.systems.state(name)
            breaker = cast("BreakerState", state.breaker.replace("_", "-"))  # the same words, spelled for people
            found.append(
                LiveSystem(name, breaker, state.in_flight, state.waiting, state.retry_at or None, state.paused)
            )
        return found

    def lanes(self) -> Sequence[LiveLane]:
        """Every lane of this process."""
        return [
            LiveLane(state.subscription, state.shard, state.running, state.stragglers, state.paused)
            for state in self._engine.fleet.states()
        ]

    def parts(self) -> Mapping[str, str]:
        """What readiness depends on."""
        lease = self._engine.fleet.lease_until > self._engine.world.clock.monotonic()
        found = self._disk()
        closed = sum(not state.open for state in self._engine.fleet.states())
        return {
            "engine": "ok" if not closed else f"{closed} lanes are not open",
            "store": "ok" if self._engine.app.level != "full" else "the queue before the store is full",
            "lease": "ok" if lease else "the lease has ended",
            "disk": "ok" if found is None or found[1] != "full" else "only the reserve is free; intake is refused",
        }

    def disk(self) -> tuple[Room, DiskLevel] | None:
        """The room of the store's disk, and what it means."""
        return self._disk()

    def acted_on(self, cell: str) -> int:
        """The version of a control cell that this process acts on."""
        return self._engine.acted_on(cell)
