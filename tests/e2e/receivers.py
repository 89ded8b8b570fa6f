"""A receiver that knows nothing of Interlock: it honours idempotency keys and keeps what took effect, in its order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Decide = Callable[[dict[str, Any]], int]
"""The status for a content that was not seen before; 2xx lets it take effect."""


class Heard(NamedTuple):
    """A call: its header fields, names in lower case, and its content."""

    headers: Mapping[str, str]
    content: dict[str, Any]


class Quiet(ThreadingHTTPServer):
    """A client that was killed in the middle of a call is what these tests are about, and no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None: ...


class Receiver:
    """An HTTP server on a free port, in a thread.

    Attributes:
        effects: the contents that took effect.
        calls: how often it was called.
        heard: the calls themselves.
        decide: what it answers; may be replaced at any time.
        loses_answers: while true, what takes effect is answered 504, as by a proxy that has lost the answer.
    """

    def __init__(self, decide: Decide = lambda _: 201) -> None:
        self.decide = decide
        self.loses_answers = False
        self.effects: list[dict[str, Any]] = []
        self.calls = 0
        self.heard: list[Heard] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        handler = type("Side", (_Side,), {"receive": staticmethod(self._receive)})
        self._server = Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _receive(self, headers: Mapping[str, str], content: dict[str, Any]) -> int:
        key = headers["idempotency-key"]
        with self._lock:
            self.calls += 1
            self.heard.append(Heard(headers, content))
            status = 200 if key in self._seen else self.decide(content)
            if status < 300 and key not in self._seen:
                self._seen.add(key)
                self.effects.append(content)
            return 504 if self.loses_answers and status < 300 else status


class _Side(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receive: Callable[[Mapping[str, str], dict[str, Any]], int]

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(self.receive(headers, content))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  # the base class names it so
