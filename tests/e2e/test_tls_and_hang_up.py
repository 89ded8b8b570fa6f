"""A process that serves TLS on both ports, and takes new secrets and certificates over on SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.unit.runtime.certificates import self_made

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
PATIENCE_SECONDS = 30
CODE = """
from dataclasses import dataclass
from interlock import Integration

shop = Integration("shop", owner="shop-team", purpose="Paid orders are kept")

@dataclass
class Paid:
    order: str

ledger = shop.http("ledger", honours_keys=True)
paid = shop.event("order.paid", Paid, key=lambda p: p.order)
"""
TLS = 'port = 0\ntls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
TOML = f'[app]\nmodules = ["shop"]\n[data]\n{TLS}[control]\nhost = "::1"\n{TLS}[secrets]\n"psp.hook" = "file:hook"\n'
TOML += '[systems."shop.ledger"]\nurl = "https://ledger.example"\n'


class Running:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self_made(folder, "localhost")
        (folder / "shop.py").write_text(CODE)
        (folder / "interlock.toml").write_text(TOML)
        command = [sys.executable, "-m", "interlock", "-C", str(folder), "run"]
        with (folder / "log.jsonl").open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, env=ENVIRONMENT)
        self.until(lambda: bool(self.told("process.ready")) or self.process.poll() is not None)
        assert self.process.poll() is None, (folder / "log.jsonl").read_text()

    def told(self, record: str) -> list[dict[str, Any]]:
        lines = (self.folder / "log.jsonl").read_text().splitlines(keepends=True)
        # What is being written has no end yet.
        whole = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        return [line for line in map(json.loads, whole) if record in line.values()]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "interlock", "-C", str(self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE_SECONDS)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_SECONDS) == 0
    finally:
        running.process.kill()
        running.process.wait()


def served(url: str) -> str:
    parts = urlsplit(url)
    return ssl.get_server_certificate((parts.hostname or "", parts.port or 0), timeout=10)


def test_both_ports_serve_tls_and_a_hang_up_takes_over_what_was_renewed(running: Running) -> None:
    address = json.loads((running.folder / ".interlock" / "process.json").read_bytes())
    assert address["data"].startswith("https://127.0.0.1:")
    assert address["control"].startswith("https://[::1]:")
    first = (running.folder / "cert.pem").read_text()
    assert served(address["data"]) == served(address["control"]) == first
    running.until(lambda: [record["names"] for record in running.told("secrets.empty")] == [["psp.hook"]])

    sent = running.cli("send", "order.paid", '{"order":"o-1"}', "-o", "id")
    assert sent.stdout.startswith("evt_"), sent.stderr
    assert sent.stdout.strip() in running.cli("events", "ls", "-o", "id").stdout

    self_made(running.folder, "renewed")
    (running.folder / "hook").write_text("s3cret")
    (running.folder / "interlock.toml").write_text(TOML.replace("ledger.example", "books.example"))
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: bool(running.told("settings.reloaded")))
    assert "https://books.example" in running.cli("systems", "ls", "-o", "json").stdout
    assert served(address["data"]) == served(address["control"]) == (running.folder / "cert.pem").read_text() != first
    assert len(running.told("secrets.empty")) == 1
    assert running.cli("doctor").returncode == 0

    (running.folder / "interlock.toml").write_text(TOML)
    dry = running.cli("config", "reload", "--dry-run", "-o", "json")
    assert json.loads(dry.stdout) == {"systems": ["shop.ledger"], "certificates": 2, "waiting": [], "empty": []}
    assert "https://books.example" in running.cli("systems", "ls", "-o", "json").stdout
    done = running.cli("config", "reload", "--reason", "back again")
    assert (done.returncode, "shop.ledger" in done.stdout) == (0, True)
    assert "https://ledger.example" in running.cli("systems", "ls", "-o", "json").stdout
    running.until(lambda: len(running.told("settings.reloaded")) == 2)

    (running.folder / "interlock.toml").write_text(TOML + "typo = 1\n")
    refused = running.cli("config", "reload")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "error[config.refused]" in refused.stderr
    assert "settings.unknown-key at" in refused.stderr
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: len(running.told("settings.refused")) == 2)
    assert "s3cret" not in (running.folder / "log.jsonl").read_text()
