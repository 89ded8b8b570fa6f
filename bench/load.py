"""The load: requests of distinct ids over many connections, by `wrk` if it is installed, else by a program of our own.

The one of our own is an asyncio client in a second process. It is slower than `wrk`, so its figures say more about it
than about a fast server; the table says which one was used.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import quantiles
from typing import NamedTuple

import msgspec
import uvloop

from bench.measure import pin
from bench.orders import KEYS, TOKEN, payload

CONNECTIONS = 64
LOAD_CORE = 0
_runs = itertools.count(1)
_LUA = """
local run, n = nil, 0
function init(arguments) run = arguments[1] end
function request()
  n = n + 1
  return string.format(%s, run, n, n %% %d)
end
"""
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE)
_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0}


class Load(NamedTuple):
    """What came of one run: requests answered 2xx, all answers, seconds, and latencies in ms."""

    accepted: int
    answered: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds


def request_format() -> str:
    """One `POST /events` with three places to fill: run, number (together the id) and the key's number."""
    body = msgspec.json.encode(payload("order-%04d")).decode()
    length = len(body % 0)
    head = (
        "POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: load\r\n"
        f"authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n"
        "ce-specversion: 1.0\r\nce-source: /bench\r\nce-type: order\r\nce-id: %s-%09d\r\n"
        f"content-length: {length}\r\n\r\n"
    )
    return head + body


def load(port: int, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Post events to `/events` from another core for that long."""
    run = f"{time.time_ns():x}-{next(_runs)}"
    return (_wrk if shutil.which("wrk") else _own)(port, seconds, connections, run)


def generator() -> str:
    """Who makes the load."""
    return "load by wrk" if shutil.which("wrk") else "wrk is not installed: load by bench.load, which is itself slow"


def _wrk(port: int, seconds: float, connections: int, run: str) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA % (json.dumps(request_format()).replace("\\r\\n", "\\13\\10"), KEYS))
        script.flush()
        seconds = max(1, round(seconds))  # wrk counts in whole ones
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
        command += ["-s", script.name, f"http://127.0.0.1:{port}/events", "--", run]
        if shutil.which("taskset"):
            command = ["taskset", "-c", str(LOAD_CORE), *command]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    latency = {name: float(value) * _MS[unit] for name, value, unit in _PERCENTILE.findall(told)}
    answered = int(re.search(r"(\d+) requests in ([0-9.]+)(\w+),", told)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    accepted = answered - (int(refused[1]) if refused else 0)
    return Load(accepted, answered, seconds, latency.get("50", 0.0), latency.get("99", 0.0))


def _own(port: int, seconds: float, connections: int, run: str) -> Load:
    command = [sys.executable, "-m", "bench.load", str(port), str(seconds), str(connections), run]
    return msgspec.json.decode(subprocess.run(command, capture_output=True, check=True).stdout, type=Load)


class _Client(asyncio.Protocol):
    """One connection that always has one request under way. It trusts the server's framing: one small answer a read."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._sent_at = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._tally.next_request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, ended, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not ended or (length and len(rest) < int(length[1])):
            return
        self._buffer = b""
        self._tally.latencies.append(time.perf_counter() - self._sent_at)
        self._tally.accepted += head[9:10] == b"2"
        if time.perf_counter() < self._tally.until:
            self._send()


class _Tally:
    def __init__(self, run: str, until: float) -> None:
        self._format = request_format()
        self._run = run
        self._sent = 0
        self.until = until
        self.accepted = 0
        self.latencies: list[float] = []

    def next_request(self) -> bytes:
        self._sent += 1
        return (self._format % (self._run, self._sent, self._sent % KEYS)).encode()


async def _generate(port: int, seconds: float, connections: int, run: str) -> Load:
    tally = _Tally(run, time.perf_counter() + seconds)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(tally), "127.0.0.1", port)
    await asyncio.sleep(seconds + 0.2)
    cuts = quantiles(tally.latencies, n=100) if len(tally.latencies) > 1 else [0.0] * 99
    return Load(tally.accepted, len(tally.latencies), seconds, cuts[49] * 1_000, cuts[98] * 1_000)


if __name__ == "__main__":
    pin(LOAD_CORE)
    port, seconds, connections, run = sys.argv[1:]
    made = uvloop.run(_generate(int(port), float(seconds), int(connections), run))
    sys.stdout.buffer.write(msgspec.json.encode(made))
