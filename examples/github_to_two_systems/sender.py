"""GitHub's part, independent of Interlock: signs each payload as GitHub documents it and posts it over HTTP.

Usage: python sender.py URL [--flip] [--round N]     with GITHUB_WEBHOOK_SECRET in the environment
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import sys
import uuid
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

PAYLOADS = Path(__file__).parent / "payloads"


def deliveries(round: str) -> list[tuple[str, str, bytes]]:
    """Kind, delivery id and body of every payload. Sending the same round again repeats its ids, as GitHub does."""
    return [
        (path.name.split(".")[0], str(uuid.uuid5(uuid.NAMESPACE_URL, f"{round}/{path.name}")), path.read_bytes())
        for path in sorted(PAYLOADS.glob("*.json"))
    ]


def post(connection: http.client.HTTPConnection, secret: bytes, kind: str, id: str, body: bytes, sent: bytes) -> int:
    """Post `sent` with the signature of `body`; gives the status."""
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-event": kind,
        "x-github-delivery": id,
        "x-hub-signature-256": f"sha256={signature}",
    }
    connection.request("POST", "/hooks/github", sent, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def main() -> None:
    url, arguments = urlsplit(sys.argv[1]), sys.argv[2:]
    secret = os.environ["GITHUB_WEBHOOK_SECRET"].encode()
    round = arguments[arguments.index("--round") + 1] if "--round" in arguments else "1"
    connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=30)
    statuses: Counter[int] = Counter()
    for kind, id, body in deliveries(round):
        sent = body
        if "--flip" in arguments:
            at = len(body) // 2
            sent = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        statuses[post(connection, secret, kind, id, body, sent)] += 1
    print(" ".join(f"{status}x{count}" for status, count in sorted(statuses.items())))


if __name__ == "__main__":
    main()
