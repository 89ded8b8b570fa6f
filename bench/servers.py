"""Programs that are measured, each a process of its own: `python -m bench.servers NAME FOLDER CORE [ARGUMENT]`.

Each prints its port when it answers, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.composed import Composed
from bench.measure import pin
from bench.orders import TOKEN, Shop, plan, shop, subscribed
from bench.peers import aiohttp_transport
from interlock.core.event import Draft
from interlock.edge import cloudevents
from interlock.journal.ports import Store
from interlock.security.access import bearers
from interlock.spec.plan import HttpBinding

SERVER_CORE = 1
BURN_SECONDS = 1.0


class Running(NamedTuple):
    """A server that was started: its port and its process."""

    port: int
    pid: int


@contextmanager
def running(name: str, folder: Path, *, core: int | None = SERVER_CORE, argument: str = "") -> Iterator[Running]:
    """Start a program of this module and end it. `core` None: it may use all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bench.servers", name, str(folder), "" if core is None else str(core), argument]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None, "piped"
        assert process.stdout is not None, "piped"
        try:
            yield Running(int(process.stdout.readline() or b"0"), process.pid)
        finally:
            process.stdin.close()
            process.wait(timeout=60)


# The programs.

Serving = Callable[[Path, str], AsyncIterator[int]]


@asynccontextmanager
async def interlock(folder: Path, argument: str) -> AsyncIterator[int]:
    """Intake as it ships: durable."""
    async with Composed(plan(shop()), folder) as composed:
        yield await composed.listen()


@asynccontextmanager
async def burning(folder: Path, argument: str) -> AsyncIterator[int]:
    """Intake beside a subscriber whose plain function computes without end, on one event after the other."""
    own = shop()

    def burn(event, context) -> None:
        until = time.monotonic() + BURN_SECONDS
        while time.monotonic() < until:
            sum(range(1_000))

    subscribed(own, "burn", burn)
    async with Composed(plan(own), folder) as composed:
        await composed.engine.store.append([own.draft(number, "one-key") for number in range(10_000)])
        composed.grace_us = 0
        yield await composed.listen()


@asynccontextmanager
async def no_store(folder: Path, argument: str) -> AsyncIterator[int]:
    """The same server, which answers 202 and keeps nothing: the ceiling."""
    async with Composed(plan(shop()), None) as composed:
        yield await composed.listen()


@asynccontextmanager
async def starlette(folder: Path, argument: str) -> AsyncIterator[int]:
    """The same work on uvicorn (uvloop, httptools) and Starlette: our checks of the event, our store behind them."""
    own = shop()
    async with AsyncExitStack() as stack:
        composed = Composed(plan(own), folder)
        stack.callback(composed.close)
        store = await composed.open_store(Deaf())
        stack.push_async_callback(store.close)
        await store.make_stream("shop", 8)
        app = Starlette(routes=[Route("/events", _accepting(own, store), methods=["POST"])])
        config = uvicorn.Config(
            app, port=0, loop="none", http="httptools", log_config=None, access_log=False, lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        await serving


def _accepting(own: Shop, store: Store) -> Callable[[Request], Awaitable[JSONResponse]]:
    """Asks for the token, reads and validates the event, appends it, answers with its id; no telemetry."""
    spec = own.order.spec
    access = bearers(lambda: (TOKEN,))

    async def accept(request: Request) -> JSONResponse:
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        if access([value for name, value in fields if name == "authorization"]) is None:
            return JSONResponse({"code": "access.denied"}, status_code=401)
        event = cloudevents.binary(fields, await request.body())
        source, id = event.attributes["source"], event.attributes["id"]
        draft = Draft(spec.stream, spec.id, source, id, event.data, spec.key(spec.decode(event.data)))
        appended = await store.append([draft])
        ids = [one.id for one in appended]
        return JSONResponse({"id": ids[0], "ids": ids, "duplicate": appended[0].duplicate}, status_code=202)

    return accept


class Deaf:
    """Nobody waits for what commits."""

    def appended(self, shard: object, events: object) -> None: ...
    def changed(self, cells: object) -> None: ...


@asynccontextmanager
async def relay(folder: Path, argument: str) -> AsyncIterator[int]:
    """HTTP in, durable, one lane a shard, HTTP out with our own client; `argument` is the sink's port."""
    own = _relaying()
    async with Composed(plan(own, _sink(argument)), folder) as composed:
        yield await composed.listen()


@asynccontextmanager
async def relay_aiohttp(folder: Path, argument: str) -> AsyncIterator[int]:
    """The same engine, with aiohttp at the far end of its layers."""
    own = _relaying()
    async with (
        aiohttp_transport(f"http://127.0.0.1:{argument}") as transport,
        Composed(plan(own, _sink(argument)), folder, transport) as composed,
    ):
        yield await composed.listen()


def _sink(port: str) -> dict[str, HttpBinding]:
    return {"shop.sink": HttpBinding(url=f"http://127.0.0.1:{port}", concurrency=64)}


def _relaying() -> Shop:
    own = shop()
    sink = own.integration.http("sink")

    async def relay(event, context) -> None:
        await context.use(sink).post("/in", json=event.payload)

    subscribed(own, "relay", relay)
    return own


@asynccontextmanager
async def sink(folder: Path, argument: str) -> AsyncIterator[int]:
    """A receiver that costs next to nothing. `GET` answers how many posts it has taken."""
    tally = [0]
    server = await asyncio.get_running_loop().create_server(lambda: _Sink(tally), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class _Sink(asyncio.Protocol):
    """Finds the end of each request by its content-length, and nothing else."""

    def __init__(self, tally: list[int]) -> None:
        self._tally = tally
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if head.startswith(b"get"):
                count = str(self._tally[0]).encode()
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(count), count))
            else:
                self._tally[0] += 1
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


PROGRAMS = {
    "interlock": interlock,
    "burning": burning,
    "no-store": no_store,
    "starlette": starlette,
    "relay": relay,
    "relay-aiohttp": relay_aiohttp,
    "sink": sink,
}


async def _serve(name: str, folder: Path, argument: str) -> None:
    async with PROGRAMS[name](folder, argument) as port:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        print(port, flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()


if __name__ == "__main__":
    name, folder, core, argument = sys.argv[1:]
    if core:
        pin(int(core))
    uvloop.run(_serve(name, Path(folder), argument))
