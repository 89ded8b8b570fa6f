"""The other sides, each a process of its own: a tracker that is flaky and a chat that limits its callers.

Both honour idempotency keys, as good receivers do, and keep what they took: `GET /taken`, in its order.
Usage: python systems.py tracker|chat PORT     (ends when its standard input does)
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Answer = Literal["take", "refuse", "take and lose the answer"]
CHAT_CALLS_PER_SECOND = 20


@dataclass
class Tracker:
    """1 call in 12 is refused; 1 in 20 takes effect and loses its answer, which is why idempotency keys matter."""

    chance: random.Random = field(default_factory=lambda: random.Random(10))
    refusal: int = 503

    def decide(self) -> Answer:
        roll = self.chance.random()
        if roll < 1 / 12:
            return "refuse"
        return "take and lose the answer" if roll < 1 / 12 + 1 / 20 else "take"


@dataclass
class Chat:
    """So many calls a second; the others of that second are refused."""

    second: int = 0
    calls: int = 0
    refusal: int = 429

    def decide(self) -> Answer:
        now = int(time.time())
        self.calls = self.calls + 1 if now == self.second else 1
        self.second = now
        return "refuse" if self.calls > CHAT_CALLS_PER_SECOND else "take"


class Books:
    """What a System did, by idempotency key: the same key again gets the same answer and does nothing."""

    def __init__(self, decide: Callable[[], Answer]) -> None:
        self.decide = decide
        self.lock = threading.Lock()
        self.keys: set[str] = set()
        self.taken: list[object] = []
        self.counts: Counter[str] = Counter(calls=0, refused=0, repeated=0)

    def receive(self, key: str, content: object) -> Answer:
        """Decide about a call, and write it down."""
        with self.lock:
            self.counts["calls"] += 1
            if key in self.keys:
                self.counts["repeated"] += 1
                return "take"
            answer = self.decide()
            if answer == "refuse":
                self.counts["refused"] += 1
            else:
                self.keys.add(key)
                self.taken.append(content)
            return answer

    def page(self) -> bytes:
        """Everything, as JSON."""
        with self.lock:
            return json.dumps({"taken": self.taken, "counts": self.counts}).encode()


class Side(BaseHTTPRequestHandler):
    """A System's HTTP; `books` and `refusal` are set by `main`."""

    protocol_version = "HTTP/1.1"
    books: Books
    refusal: int

    def do_GET(self) -> None:
        self.answer(200, self.books.page())

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        match self.books.receive(self.headers["idempotency-key"], content):
            case "take":
                self.answer(201, b"{}")
            case "refuse":
                self.answer(self.refusal, b"{}", retry_after="1")
            case "take and lose the answer":
                self.close_connection = True

    def answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Says nothing; what it took can be asked for."""


def end_with_input() -> None:
    """Whoever started this process may be killed; its end of the pipe closes then."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    system = {"tracker": Tracker, "chat": Chat}[sys.argv[1]]()
    Side.books, Side.refusal = Books(system.decide), system.refusal
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Side)
    threading.Thread(target=end_with_input, daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
