"""Durable intake over HTTP at 64 connections, on SQLite with synchronous=FULL: one `POST /events`, one event.

Beside it, on the same core and in the same rounds: uvicorn with Starlette before the same store; the same server
without a store, which is what HTTP, routing, access and validation cost by themselves; and a server that answers
anything at once (`sink`), which is what the kernel and the loop cost: no server in Python can be cheaper.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.composed import Composed
from bench.load import CONNECTIONS, generator, load
from bench.measure import Extent, Row, Table, cpu_seconds, progress, ratios, take_turns
from bench.orders import plan, shop
from bench.servers import Running, running

ROUNDS = 5
SECONDS = 2.0
CONTENDERS = ("interlock", "starlette", "no-store", "sink")


def run(extent: Extent) -> Table:
    """Measure."""
    used: dict[str, float] = dict.fromkeys(CONTENDERS, 0.0)
    taken: dict[str, int] = dict.fromkeys(CONTENDERS, 0)
    slowest: dict[str, float] = dict.fromkeys(CONTENDERS, 0.0)

    def one(name: str, server: Running) -> float:
        before = cpu_seconds(server.pid)
        made = load(server.port, SECONDS * extent.scale)
        used[name] += cpu_seconds(server.pid) - before
        taken[name] += made.accepted
        slowest[name] = max(slowest[name], made.p99_ms)
        if made.accepted < made.answered:
            progress(f"{name} refused {made.answered - made.accepted} of {made.answered}")
        return made.rate

    with tempfile.TemporaryDirectory() as home:
        with ExitStack() as stack:
            servers = {name: stack.enter_context(running(name, Path(home, name))) for name in CONTENDERS}
            for server in servers.values():
                load(server.port, 0.5)
            figures = take_turns({name: lambda name=name: one(name, servers[name]) for name in CONTENDERS}, ROUNDS)
        kept = {name: asyncio.run(_kept(Path(home, name))) for name in ("interlock", "starlette")}
    for name, count in kept.items():
        assert count >= taken[name], f"{name} answered 202 to {taken[name]} events, and {count} are in its log"
    each = {name: used[name] / max(1, taken[name]) * 1e6 for name in CONTENDERS}
    notes = [
        f"{name}: {max(figures[name]):,.0f}/s at best, {each[name]:.0f} µs of CPU a request, p99 {slowest[name]:.0f} ms"
        for name in CONTENDERS
    ]
    return Table(
        f"Durable intake: POST /events, {CONNECTIONS} connections, SQLite FULL",
        [
            Row("interlock / uvicorn + Starlette, same store", ratios(figures["interlock"], figures["starlette"]), 3.0),
            Row("interlock / the same server without a store", ratios(figures["interlock"], figures["no-store"]), 0.35),
            Row("CPU a request: uvicorn + Starlette / interlock", [each["starlette"] / each["interlock"]]),
        ],
        [*notes, generator()],
    )


async def _kept(folder: Path) -> int:
    """How many events are in the log of a server that has ended."""
    composed = Composed(plan(shop()), folder)
    await composed.engine.start()
    total = sum(composed.engine.store.bounds(shard)[1] for shard in composed.shards)
    await composed.engine.stop()
    composed.close()
    return total
