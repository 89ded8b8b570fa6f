"""The relay: `POST /events` in, durable, a lane, an HTTP call out to a System that costs next to nothing.

Beside it the same engine with aiohttp at the far end of its layers. A round posts for some seconds, then waits until
the System has got everything: the rate is what was delivered, over the whole time.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from bench.load import CONNECTIONS, LOAD_CORE, generator, load
from bench.measure import Extent, Row, Table, cpu_seconds, ratios, take_turns
from bench.servers import Running, running

ROUNDS = 5
SECONDS = 2.0
DRAIN_SECONDS_MAX = 120
CONTENDERS = ("relay", "relay-aiohttp")


def run(extent: Extent) -> Table:
    """Measure."""
    used: dict[str, float] = dict.fromkeys(CONTENDERS, 0.0)
    delivered: dict[str, int] = dict.fromkeys(CONTENDERS, 0)

    def one(name: str, server: Running, sink: Running) -> float:
        cpu, before, begun = cpu_seconds(server.pid), _taken(sink), time.perf_counter()
        accepted = load(server.port, SECONDS * extent.scale).accepted
        _drained(sink, before + accepted)
        seconds = time.perf_counter() - begun
        used[name] += cpu_seconds(server.pid) - cpu
        delivered[name] += accepted
        return accepted / seconds

    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        sinks = {
            name: stack.enter_context(running("sink", Path(home, name, "sink"), core=LOAD_CORE)) for name in CONTENDERS
        }
        servers = {
            name: stack.enter_context(running(name, Path(home, name), argument=str(sinks[name].port)))
            for name in CONTENDERS
        }
        turns = {name: lambda name=name: one(name, servers[name], sinks[name]) for name in CONTENDERS}
        for turn in turns.values():
            turn()
        figures = take_turns(turns, ROUNDS)
    each = {name: used[name] / max(1, delivered[name]) * 1e6 for name in CONTENDERS}
    return Table(
        f"Relay: HTTP in, durable, HTTP out; {CONNECTIONS} connections, one core",
        [
            Row("our client / aiohttp, delivered", ratios(figures["relay"], figures["relay-aiohttp"]), 4.0),
            Row("CPU an event: aiohttp / our client", [each["relay-aiohttp"] / each["relay"]]),
        ],
        [
            *(
                f"{name}: {max(figures[name]):,.0f}/s at best, {each[name]:.0f} µs of CPU an event"
                for name in CONTENDERS
            ),
            generator(),
        ],
    )


def _taken(sink: Running) -> int:
    with urlopen(f"http://127.0.0.1:{sink.port}/") as answer:
        return int(answer.read())


def _drained(sink: Running, count: int) -> None:
    until = time.monotonic() + DRAIN_SECONDS_MAX
    while (taken := _taken(sink)) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"the System has got {taken} of {count} events")
        time.sleep(0.01)
