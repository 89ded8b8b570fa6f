"""The three Systems, pretended, so that there is somebody to talk to: `python systems.py`. Ctrl-C stops them.

The warehouse refuses every SKU that begins with `S-9`. Stop this program to see what an outage does.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORTS = {"erp": 9101, "crm": 9102, "warehouse": 9103}


def status_of(system: str, content: dict[str, Any]) -> int:
    """What a System answers to a call."""
    unknown = any(pick["sku"].startswith("S-9") for pick in content.get("picks", []))
    return 422 if system == "warehouse" and unknown else 201


class Pretended(BaseHTTPRequestHandler):
    """One call: read, answered, printed."""

    system = ""

    def do_POST(self) -> None:
        """Every call is a POST of JSON."""
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = status_of(self.system, content)
        # The line with its end at once: three Systems print at the same time.
        print(f"{self.system:<10} {status}  {json.dumps(content)}\n", end="", flush=True)
        body = b"{}" if status == 201 else b'{"error": "unknown sku"}'
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What happened has been printed."""


def main() -> None:
    """Run all three until Ctrl-C."""
    for system, port in PORTS.items():
        server = ThreadingHTTPServer(("127.0.0.1", port), type(system, (Pretended,), {"system": system}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"{system:<10} http://127.0.0.1:{port}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
