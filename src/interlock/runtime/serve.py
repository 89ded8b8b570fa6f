"""A running process: the engine with the machine's ports, the data port, the control port, and an orderly end.

This is where settings become objects. What runs in `Lab` and in simulation is `compose.Engine`, without this.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from socket import socket  # noqa: TID251  # its type only: `listen` makes them
from typing import NamedTuple

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from interlock.control.address import Address, announce, withdraw
from interlock.control.tail import Recent
from interlock.core import limits
from interlock.core.errors import InterlockError
from interlock.core.ports import Clock, Disk, Emit, Wakeup
from interlock.edge.problem import rendered
from interlock.journal.memory import MemoryStore
from interlock.journal.ports import Store
from interlock.journal.sqlite.room import disk_room
from interlock.journal.sqlite.store import SqliteOptions, SqliteStore
from interlock.journal.views import Views
from interlock.runtime.admin import AdminServer, Parts, admin_app, admin_server
from interlock.runtime.clock import SystemClock
from interlock.runtime.compose import Engine, World
from interlock.runtime.gauges import readings
from interlock.runtime.listen import base_url, bound, tls_of
from interlock.runtime.ports import LISTEN_BACKLOG, FunctionThreads, SystemNet, SystemRandom, ThreadOffload
from interlock.runtime.receipts import forgettable_before
from interlock.runtime.reload import Parts as ReloadParts
from interlock.runtime.reload import Reload
from interlock.runtime.retention import Keeper
from interlock.runtime.room import DiskWatch
from interlock.runtime.secrets import SourcedSecrets
from interlock.runtime.settings import ListenSettings, Settings, Setup
from interlock.runtime.watchdog import Watchdog
from interlock.security.access import bearers
from interlock.security.tokens import first_token
from interlock.spec.plan import Plan
from interlock.telemetry.emit import Fan, Sink
from interlock.telemetry.log import Lines, Log, LogLine, log_line
from interlock.telemetry.metrics import Metrics
from interlock.telemetry.metrics import Reading as Gauge
from interlock.telemetry.records import QUIET
from interlock.wire.server import Server
from interlock.wire.server_limits import ServerLimits

FUNCTION_THREADS = 8
"""Plain `def` functions that may block at once."""
SWITCH_INTERVAL_SECONDS = 0.0001
"""How long a thread may hold the interpreter while another waits. With the default a busy loop starves the writer, and
a function that computes starves the loop; less than this is lost in the kernel's own timers."""
TOKEN_FILE = "token"  # noqa: S105  # the name of a file


class Ready(NamedTuple):
    """What the start has come to, for the banner."""

    data: str
    control: str
    token_file: Path
    token_is_new: bool
    store: str


def write_stderr(lines: bytes) -> None:
    """Where the log of a process goes that has a standard error of its own."""
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


class Outside(NamedTuple):
    """What a process takes from outside: its time, its log and how a line reads, who else hears, its disk's room.

    `paused`: it is to deliver nothing until subscriptions are resumed.
    """

    clock: Clock = SystemClock()
    write_log: Callable[[bytes], None] = write_stderr
    sinks: Sequence[Sink] = ()
    disk: Disk = disk_room
    log_line: LogLine = log_line
    paused: bool = False


Until = Callable[[], Awaitable[None]]


def serve(
    setup: Setup,
    settings: Settings,
    plan: Plan,
    told: Callable[[Ready], None],
    until: Until | None = None,
    outside: Outside = Outside(),  # noqa: B008  # frozen
) -> bool:
    """Run until SIGTERM or SIGINT, then drain; SIGHUP reads the settings again (`runtime.reload`).

    Args:
        setup: where `settings` and `plan` were loaded from.
        told: called once both ports answer.
        until: awaited from then on; its end ends the run as a signal does.
        outside: what is not the usual.

    Returns:
        Whether a signal came, before the drain or during it.

    Raises:
        InterlockError: if the store, a port, a certificate or the token cannot be had.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    process = Process(setup, settings, plan, outside)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(process.run(told, until))


class Process:
    """Everything that one process holds, from its start to its end."""

    def __init__(self, setup: Setup, settings: Settings, plan: Plan, outside: Outside = Outside()) -> None:  # noqa: B008 - frozen
        self._paused = outside.paused
        self._setup = setup
        self._settings = settings
        self._plan = plan
        self._clock = outside.clock
        self._random = SystemRandom()
        self._net = SystemNet()
        self._threads = {
            "store": ThreadOffload("store"),
            "read": ThreadOffload("read", threads=2),
            "functions": FunctionThreads("functions", FUNCTION_THREADS),
            "log": ThreadOffload("log"),
        }
        self._folder = (settings.store_file() or settings.folder / ".interlock" / "memory").parent
        self._token, self._token_is_new = first_token(self._folder / TOKEN_FILE, os.urandom)  # noqa: TID251  # secrets
        self._lines = Lines(self._threads["log"], outside.write_log)
        # Calls are many; what a lane made of them is what a person follows.
        self._recent = Recent(self._clock, QUIET - {"settlement.committed"})
        self._metrics = Metrics(self._readings, version("interlock"))
        log = Log(self._lines, self._clock.now, line=outside.log_line)
        self._emit: Emit = Fan([log, self._metrics, self._recent, *outside.sinks])
        self._access = bearers(lambda: (self._token,))
        self._views: Views | None = None
        self._disk = outside.disk
        self._disk_watch = DiskWatch(self._folder, self._disk, self._emit) if settings.store_file() else None
        self._secrets = SourcedSecrets(settings, setup.environment)
        world = World(
            self._clock, self._random, self._net, self._threads["functions"], self._emit, self._secrets, self._access
        )
        self.engine = Engine(plan, world, self._open_store)

    async def run(self, told: Callable[[Ready], None], until: Until | None = None) -> bool:
        """From start to the end of the drain, which signals begin, or the end of `until`; whether a signal came."""
        stop, hang_up, signalled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            signalled.set()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, interrupt)
        loop.add_signal_handler(signal.SIGHUP, hang_up.set)
        await self.run_until(stop, hang_up, told, until)
        return signalled.is_set()

    async def run_until(
        self, stop: asyncio.Event, hang_up: asyncio.Event, told: Callable[[Ready], None], until: Until | None = None
    ) -> None:
        """From start to the end of the drain, which `stop` begins; `hang_up` has the settings read again."""
        try:
            await self.engine.start(paused=self._paused)
            # What lives from here on is what the requests make; the rest need not be looked at again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            await self._serve(stop, hang_up, told, until)
        finally:
            await self.engine.stop(self._settings.data.drain_timeout_us)
            self._lines.flush()
            for thread in self._threads.values():
                thread.close()

    async def _serve(
        self, stop: asyncio.Event, hang_up: asyncio.Event, told: Callable[[Ready], None], until: Until | None
    ) -> None:
        data, control = self._settings.data, self._settings.control
        data_tls, control_tls = tls_of(data, self._settings.folder), tls_of(control, self._settings.folder)
        server = Server(
            self.engine.app,
            clock=self._clock,
            emit=self._emit,
            refuse=rendered,
            limits=_server_limits(self._settings),
            hosts=_hosts(data),
        )
        data_socket, control_socket = bound(data.host, data.port), bound(control.host, control.port)
        listening = await asyncio.get_running_loop().create_server(
            server.protocol, sock=data_socket, ssl=data_tls and data_tls.context, backlog=LISTEN_BACKLOG
        )
        certificates = [tls for tls in (data_tls, control_tls) if tls]
        reading = self._threads["read"]
        parts = ReloadParts(self._rebind, self._secrets, certificates, self._emit, reading)
        self._reload = Reload(self._setup, self._settings, parts)
        self._admin = self._control_app()
        ui = admin_server(self._serve_admin, control_tls and control_tls.context)
        serving = asyncio.create_task(ui.serve(sockets=[control_socket]))
        duties = [asyncio.create_task(self._keep()), asyncio.create_task(self._reload_on(hang_up))]
        if self._disk_watch is not None:
            duties.append(asyncio.create_task(self._disk_watch.run(self._clock)))
        ready = self._ready(data_socket, control_socket)
        announce(self._folder, Address(ready.control, ready.data, os.getpid()))
        self._emit("process.ready", data=ready.data, control=ready.control, plan=self._plan.digest)
        self._reload.tell_empty()
        told(ready)
        if until is not None:
            duties.append(asyncio.create_task(_stop_after(until, stop)))
        try:
            with Watchdog(asyncio.get_running_loop(), self._clock, self._emit):
                await stop.wait()
        finally:
            self._emit("process.draining")
            listening.close()
            self.engine.app.drain()
            await server.drain(self._clock.monotonic() + data.drain_timeout_us)
            for duty in duties:
                duty.cancel()
            await self._close_control(ui, serving)
            withdraw(self._folder, os.getpid())

    async def _close_control(self, ui: AdminServer, serving: asyncio.Task[None]) -> None:
        ui.should_exit = True
        self._recent.close()
        timer = self._clock.call_at(self._clock.monotonic() + limits.CONTROL_GRACE_US, ui.cut)
        await serving
        timer.cancel()

    def _ready(self, data: socket, control: socket) -> Ready:
        def url(listen: ListenSettings, listening: socket) -> str:
            return base_url(listen.host, listening.getsockname()[1], is_tls=listen.tls_certificate is not None)

        return Ready(
            url(self._settings.data, data),
            url(self._settings.control, control),
            self._folder / TOKEN_FILE,
            self._token_is_new,
            self._settings.store.url,
        )

    async def _reload_on(self, hang_up: asyncio.Event) -> None:
        while True:
            await hang_up.wait()
            hang_up.clear()
            await self._reload()

    async def _open_store(self, wakeup: Wakeup) -> Store:
        path = self._settings.store_file()
        if path is None:
            memory = MemoryStore(self._clock, wakeup, emit=self._emit)
            self._views = memory.views()
            return memory
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = SqliteOptions(reads=self._threads["read"], disk=self._disk)
        store = await SqliteStore.open_file(path, self._clock, wakeup, self._threads["store"], self._emit, options)
        self._views = store.views()
        return store

    async def _keep(self) -> None:
        """Retention: whole segments of every stream, by age and size, and what Systems need not remember any more."""
        assert self._views is not None, "the store has been opened"
        engine, clock = self.engine, self._clock
        keeper = Keeper(
            engine.store,
            self._views,
            self._plan.streams,
            (clock, self._emit),
            lambda: engine.fleet.lease_until > clock.monotonic(),
        )
        engine.has_room = keeper.has_room
        receipts_at = clock.monotonic() + limits.RETENTION_EVERY_US
        while True:
            await clock.sleep_until(clock.monotonic() + limits.RETENTION_LOOK_US)
            await keeper.look()
            if clock.monotonic() >= receipts_at:
                receipts_at = clock.monotonic() + limits.RETENTION_EVERY_US
                await self._forget_receipts()

    async def _forget_receipts(self) -> None:
        try:
            before = await forgettable_before(self._plan, self.engine.store, self._clock.now())
        except InterlockError as error:
            self._emit("receipts.failed", system="", error=error.code)
        else:
            await self.engine.systems.forget_receipts(before)

    def _rebind(self, plan: Plan) -> Sequence[str]:
        news = self.engine.rebind(plan)
        # What it shows of bindings is the plan's.
        self._admin = self._control_app()
        return news

    async def _serve_admin(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admin(scope, receive, send)

    def _control_app(self) -> ASGIApp:
        assert self._views is not None, "the store has been opened"
        look = self._disk_watch.look if self._disk_watch else lambda: None
        hosts = _hosts(self._settings.control)
        parts = Parts(self._views, self._recent, self._metrics.page, hosts, self._reload, look)
        return admin_app(self.engine, parts)

    def _readings(self) -> Iterable[Gauge]:
        yield from readings(self.engine)
        if self._disk_watch is not None:
            yield Gauge("interlock_store_disk_free_bytes", (), self._disk_watch.look()[0].free_bytes)
        yield Gauge("interlock_log_lines_dropped", (), self._lines.dropped)


async def _stop_after(until: Until, stop: asyncio.Event) -> None:
    try:
        await until()
    finally:
        stop.set()


def _server_limits(settings: Settings) -> ServerLimits:
    data = settings.data
    return ServerLimits(
        header_bytes_max=data.header_bytes_max,
        header_count_max=data.header_count_max,
        connections_max=data.connections_max,
        head_timeout_us=data.head_timeout_us,
        body_timeout_us=data.body_timeout_us,
        keepalive_timeout_us=data.keepalive_timeout_us,
    )


def _hosts(listen: ListenSettings) -> frozenset[str]:
    return frozenset(listen.hosts) or frozenset({"127.0.0.1", "localhost", "[::1]"})
