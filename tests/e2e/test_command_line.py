"""The command line against a real process: what a person does in an ordinary and in a bad hour."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
WAIT_SECONDS = 30
PROJECT = """
from dataclasses import dataclass

from interlock import Integration

shop = Integration("shop", owner="shop-team", purpose="Paid orders reach the ledger")
ledger = shop.http("ledger", honours_keys=True)

@dataclass
class Paid:
    order: str
    cents: int

paid = shop.event("order.paid", Paid, key=lambda p: p.order)

@shop.subscribe(paid, on_dead="skip", start="beginning")
async def book(event, context) -> None:
    await context.use(ledger).post("/entries", json={"order": event.payload.order, "cents": event.payload.cents})
"""


class Ledger(ThreadingHTTPServer):
    """Takes entries of positive amounts, refuses others for good."""

    daemon_threads = True

    def __init__(self) -> None:
        self.entries: list[Any] = []
        ledger = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                entry = json.loads(self.rfile.read(int(self.headers["content-length"])))
                good = entry["cents"] > 0
                if good:
                    ledger.entries.append(entry)
                self.send_response(201 if good else 422)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def interlock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "interlock", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=WAIT_SECONDS)


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "interlock", "-C", str(folder), "run"]
    with (folder / "log.jsonl").open("a") as log:
        process = subprocess.Popen(command, stderr=log, text=True, env=ENVIRONMENT)
    until(lambda: (folder / ".interlock" / "process.json").exists() or process.poll() is not None)
    assert process.poll() is None, (folder / "log.jsonl").read_text()
    return process


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    server = Ledger()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path, ledger: Ledger) -> Path:
    (tmp_path / "shop.py").write_text(PROJECT)
    (tmp_path / "interlock.toml").write_text(
        '[app]\nmodules = ["shop"]\n[data]\nport = 0\n[control]\nport = 0\n'
        f'[systems."shop.ledger"]\nurl = "http://127.0.0.1:{ledger.server_port}"\n'
    )
    return tmp_path


def get(folder: Path, path: str, *, token: bool = True) -> tuple[int, bytes]:
    address = json.loads((folder / ".interlock" / "process.json").read_bytes())
    parts = urlsplit(address["control"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"authorization": f"Bearer {(folder / '.interlock' / 'token').read_text().strip()}"} if token else {}
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_an_ordinary_and_a_bad_hour(folder: Path, ledger: Ledger) -> None:
    process = start(folder)
    try:
        assert get(folder, "/readyz", token=False)[0] == 200
        assert get(folder, "/metrics", token=False)[0] == 401

        sent = interlock(folder, "send", "order.paid", '{"order":"o-1","cents":5}', "--count", "3", "-o", "id")
        ids = sent.stdout.split()
        assert len(ids) == 3, sent.stderr
        until(lambda: len(ledger.entries) == 3)

        wrong = interlock(folder, "send", "order.paid", '{"order":1}')
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "error[" in wrong.stderr

        bad = interlock(folder, "send", "order.paid", '{"order":"o-2","cents":-5}', "-o", "id").stdout.strip()
        until(lambda: interlock(folder, "dead", "ls", "-o", "id").stdout.startswith("fp_"))
        shown = json.loads(interlock(folder, "events", "show", bad, "-o", "json").stdout)
        assert shown["subscriptions"][0]["state"] == "dead"
        fingerprint = interlock(folder, "dead", "ls", "-o", "id").stdout.strip()
        assert interlock(folder, "dead", "retry", fingerprint).returncode == 2
        assert interlock(folder, "dead", "discard", fingerprint[:6], "--yes").stdout.startswith("applied 1 of 1")
        assert interlock(folder, "dead", "ls", "-o", "id").stdout == ""
        assert interlock(folder, "dead", "restore", fingerprint, "--yes").stdout.startswith("applied 1 of 1")

        paused = interlock(folder, "systems", "pause", "shop.ledger", "--yes", "--reason", "moving")
        assert "applied by 1 of 1" in paused.stdout
        interlock(folder, "send", "order.paid", '{"order":"o-3","cents":7}')
        assert interlock(folder, "subscriptions", "rename", "shop.book", "shop.booked").returncode == 1
        assert len(ledger.entries) == 3
        assert interlock(folder, "systems", "resume", "shop.ledger").returncode == 0
        until(lambda: len(ledger.entries) == 4)

        doctor = interlock(folder, "doctor")
        assert doctor.returncode == 0, doctor.stdout
        status, page = get(folder, "/metrics")
        assert status == 200
        until(lambda: b'interlock_events_delivered_total{subscription="shop.book"} 4.0' in get(folder, "/metrics")[1])
        assert b'interlock_breaker_state{state="closed",system="shop.ledger"} 1.0' in page
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
    assert not (folder / ".interlock" / "process.json").exists()
    log = [line for line in (folder / "log.jsonl").read_text().splitlines() if line.startswith("{")]
    assert all(json.loads(line)["record"] for line in log)

    stopped = interlock(folder, "events", "ls", "-o", "id")
    assert len(stopped.stdout.split()) == 5 + 4  # the events, and the audit of four commands
    assert interlock(folder, "systems", "ls").returncode == 4
    assert interlock(folder, "subscriptions", "rename", "shop.book", "shop.booked").returncode == 0
    refused = interlock(folder, "run")
    assert (refused.returncode, "plan.forgets" in refused.stderr) == (1, True)
    assert interlock(folder, "subscriptions", "rename", "shop.booked", "shop.book").returncode == 0
    again = start(folder)
    again.send_signal(signal.SIGTERM)
    assert again.wait(WAIT_SECONDS) == 0


def test_tail_shows_what_comes_and_ends_with_130_on_interrupt(folder: Path) -> None:
    process = start(folder)
    command = [sys.executable, "-m", "interlock", "-C", str(folder), "tail", "--json"]
    tail = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        # What came before the tail began is not shown, so it is sent until something is.
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.append(tail.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        until(lambda: bool(interlock(folder, "send", "order.paid", '{"order":"o-1","cents":5}').stdout and lines))
        # An event, or the settlement of one that came just before the tail began.
        assert json.loads(lines[0])["what"] in ("accepted", "settlement.committed")
    finally:
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=WAIT_SECONDS)
        assert tail.returncode == 130
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_help_loads_no_verb_and_costs_little_more_than_the_package_and_its_parser() -> None:
    heavy = ("rich", "starlette", "uvicorn", "apsw", "prometheus_client", "interlock.runtime", "interlock.control")
    code = "import sys; from interlock.cli.main import run; run(['--help'])"
    script = f"{code}; sys.exit(any(name.startswith({heavy}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True).returncode == 0

    def best(script: str) -> float:
        took: list[float] = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, check=True)
            took.append(time.perf_counter() - began)
        return min(took)

    # Before the first line of the command line runs, Python has imported the package with its public vocabulary.
    assert best(code) < 1.7 * best("import interlock, click")
