"""A project in a folder of its own, run and asked as a user does: by the command line, over real sockets."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from tests.e2e.receivers import Receiver
from tests.terminal import Seen, at_terminal

SECRET = b"e2e-only"
PATIENCE_SECONDS = 30.0
DECLARED = """
from dataclasses import dataclass
from datetime import timedelta

from interlock import Integration, github

orders = Integration("orders", owner="shop-team", purpose="Paid orders reach the books and the shelf in a minute")
books = orders.http("books", honours_keys=True)
shelf = orders.http("shelf", honours_keys=True)


@dataclass
class Paid:
    order: str
    cents: int


paid = orders.event("order.paid", Paid, version=1, key=lambda it: it.order)
"""
ACCEPTED = """

@orders.webhook("POST /hooks/shop", verify=github(secret="orders.hook"))
def accept(hook):
    return [paid.draft(hook.json(Paid), id=hook.id)]
"""
CODE = (
    DECLARED
    + ACCEPTED
    + """

@orders.subscribe(paid, on_dead="skip", start="beginning", freshness=timedelta(minutes=1))
async def to_books(event, context):
    body = {"id": event.source_id, "order": event.payload.order, "cents": event.payload.cents}
    await context.use(books).post("/entries", json=body)


@orders.subscribe(paid, on_dead="skip", start="beginning", freshness=timedelta(minutes=1))
async def to_shelf(event, context):
    body = {"id": event.source_id, "order": event.payload.order, "cents": event.payload.cents}
    await context.use(shelf).post("/picks", json=body)
"""
)
BINDINGS = """
[app]
modules = ["shop"]
[data]
port = 0
[control]
port = 0
[secrets]
"orders.hook" = "env:SHOP_SECRET"
[systems."orders.books"]
url = "{books}"
[systems."orders.shelf"]
url = "{shelf}"
"""


class Told(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Following(NamedTuple):
    """A command that goes on, and the pipes that it writes to."""

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]


class Answered(NamedTuple):
    """An answer over HTTP; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Project:
    """The folder, its two receivers, and whatever runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.books, self.shelf = Receiver(), Receiver()
        self.environment = {**os.environ, "SHOP_SECRET": SECRET.decode(), "NO_COLOR": "1"}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log.jsonl"
        self.write(CODE)
        (folder / "interlock.toml").write_text(BINDINGS.format(books=self.books.url, shelf=self.shelf.url))

    def write(self, code: str) -> None:
        """Deploy this code; the next start runs it."""
        (self.folder / "shop.py").write_text(code)

    # The process.

    @contextmanager
    def running(self, *flags: str) -> Iterator[Project]:
        """`interlock run` until the block ends; then SIGTERM, which has to end it well."""
        self.start(*flags)
        try:
            yield self
            assert self.stop() == 0, self.log.read_text()[-3000:]
        finally:
            self.kill()

    def start(self, *flags: str) -> None:
        """`interlock run`, until it answers."""
        self._address.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self.process = self.spawn("run", *flags, stdout=log, stderr=log)
        process = self.process
        self.until(lambda: self._address.exists() or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()[-3000:]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and give the exit code."""
        assert self.process is not None, "it was started"
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Nothing of it is left running."""
        self.kill()
        self.books.close()
        self.shelf.close()

    @property
    def _address(self) -> Path:
        return self.folder / ".interlock" / "process.json"

    @property
    def data(self) -> str:
        """The base URL of the data port."""
        return json.loads(self._address.read_text())["data"]

    @property
    def control(self) -> str:
        """The base URL of the control port."""
        return json.loads(self._address.read_text())["control"]

    @property
    def token(self) -> str:
        """The bearer token of both ports."""
        return (self.folder / ".interlock" / "token").read_text().strip()

    def records(self) -> list[dict[str, Any]]:
        """The log of the process, without what was said to people."""
        lines = self.log.read_text().splitlines(keepends=True)
        # What is being written has no end yet.
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    # The command line.

    def spawn(self, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        """`interlock ...`, and do not wait."""
        command = [str(Path(sys.executable).with_name("interlock")), *arguments]
        return subprocess.Popen[bytes](
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, **streams
        )

    def cli(self, *arguments: str, code: int = 0) -> Told:
        """`interlock ...`, which has to end with `code`."""
        with self.spawn(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
        told = Told(process.returncode, out.decode(), err.decode())
        assert told.code == code, f"{arguments} ended with {told.code}: {told.out}{told.err}"
        return told

    @contextmanager
    def following(self, *arguments: str) -> Iterator[Following]:
        """`interlock ...`, which goes on until the block ends; at the end of patience at the latest."""
        process = self.spawn(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        # A read from a pipe has no end of its own.
        patience = threading.Timer(PATIENCE_SECONDS, process.kill)
        patience.start()
        try:
            yield Following(process, process.stdout, process.stderr)
        finally:
            patience.cancel()
            process.kill()
            process.communicate()

    def terminal(self, *arguments: str, width: int = 120, keys: str = "", **environment: str) -> Seen:
        """`interlock ...` at a terminal, which has colours unless they are forbidden."""
        own = {name: value for name, value in self.environment.items() if name not in ("NO_COLOR", "CI")}
        return at_terminal(self.folder, *arguments, environment=own | environment, width=width, keys=keys)

    def json(self, *arguments: str) -> Any:
        """`interlock ... -o json`."""
        return self.cli(*arguments, "-o", "json").json

    # HTTP.

    def ask(self, url: str, token: str | None = None, method: str = "GET", body: bytes | None = None) -> Answered:
        """One request, with the token unless another one (or "" for none) is given."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)
        token = self.token if token is None else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
        response = connection.getresponse()
        answered = Answered(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        connection.close()
        return answered

    def hook(self, id: str, order: str, cents: int) -> int:
        """One signed webhook on a connection of its own; gives the status."""
        body = json.dumps({"order": order, "cents": cents}).encode()
        parts = urlsplit(self.data)
        with closing(
            http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)
        ) as connection:
            connection.request("POST", "/hooks/shop", body, signed(id, body))
            with connection.getresponse() as response:
                return response.status

    def raw(self, request: bytes) -> bytes:
        """Bytes to the data port as they are; what comes back until it closes, or falls silent after an answer."""
        parts = urlsplit(self.data)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(65_536):
                received += part
            return received

    # Time.

    def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something, with an end to patience."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s in vain"
            time.sleep(0.02)


def signed(id: str, body: bytes) -> dict[str, str]:
    """Headers as GitHub sends them."""
    return {
        "content-type": "application/json",
        "x-github-event": "order",
        "x-github-delivery": id,
        "x-hub-signature-256": "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest(),
    }
