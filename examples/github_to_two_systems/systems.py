"""The other sides, each a process of its own: a tracker that is flaky and a chat that limits its callers.

Both honour idempotency keys, as good receivers do, and keep what they accepted: `GET /accepted`, in order.
Usage: python systems.py tracker|chat PORT
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
ACCEPTED: list[dict[str, object]] = []
ANSWERS: dict[str, int] = {}
CALLS = {"calls": 0, "refused": 0, "repeated": 0}
CHANCE = random.Random(7)
RATE_PER_SECOND = 40
WINDOW = {"second": 0, "calls": 0}


def tracker() -> tuple[int, bool]:
    """15 in 100 are refused; 3 in 100 take effect and lose their answer, which is why keys matter."""
    roll = CHANCE.random()
    return (503, False) if roll < 0.15 else (201, roll < 0.18)


def chat() -> tuple[int, bool]:
    """So many calls a second, then 429 until the next."""
    second = int(time.time())
    if WINDOW["second"] != second:
        WINDOW.update(second=second, calls=0)
    WINDOW["calls"] += 1
    return (429, False) if WINDOW["calls"] > RATE_PER_SECOND else (200, False)


class Side(BaseHTTPRequestHandler):
    """One System's HTTP."""

    protocol_version = "HTTP/1.1"
    decide = staticmethod(tracker)

    def do_GET(self) -> None:
        with LOCK:
            body = json.dumps({"accepted": ACCEPTED, **CALLS}).encode()
        self.answer(200, body)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["idempotency-key"]
        with LOCK:
            CALLS["calls"] += 1
            if key in ANSWERS:
                CALLS["repeated"] += 1
                status, is_lost = ANSWERS[key], False
            else:
                status, is_lost = self.decide()
                if status < 300:
                    ANSWERS[key] = status
                    ACCEPTED.append(content)
                else:
                    CALLS["refused"] += 1
        if is_lost:
            self.close_connection = True
            return
        self.answer(status, b"{}", retry_after="1" if status in (429, 503) else None)

    def answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """It tells what it accepted when asked."""


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    Side.decide = staticmethod({"tracker": tracker, "chat": chat}[name])
    server = ThreadingHTTPServer(("127.0.0.1", port), Side)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
