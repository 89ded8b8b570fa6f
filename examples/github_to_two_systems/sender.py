"""GitHub's part, independent of Interlock: signs each payload as GitHub documents it and posts it over HTTP, in turn.

Usage: python sender.py URL [--flip] [--round N]     with GITHUB_WEBHOOK_SECRET in the environment
Prints a line for each delivery: the status it was answered with, its kind and its id.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

PAYLOADS = Path(__file__).parent / "payloads"


class Delivery(NamedTuple):
    """What GitHub sends: the kind of event, the id of the delivery, and the body that is signed."""

    kind: str
    id: str
    body: bytes


def deliveries(number: str) -> Iterator[Delivery]:
    """Every payload. The same round again has the same ids, as when GitHub sends again."""
    for path in sorted(PAYLOADS.glob("*.json")):
        id = uuid.uuid5(uuid.NAMESPACE_URL, f"{number}/{path.name}")
        yield Delivery(path.name.split(".")[0], str(id), path.read_bytes())


def post(connection: http.client.HTTPConnection, secret: bytes, delivery: Delivery, sent: bytes) -> int:
    """Post `sent` under the delivery's signature; gives the status."""
    signature = hmac.new(secret, delivery.body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-event": delivery.kind,
        "x-github-delivery": delivery.id,
        "x-hub-signature-256": f"sha256={signature}",
    }
    connection.request("POST", "/hooks/github", sent, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def flipped(body: bytes) -> bytes:
    """The body with one bit of its middle byte changed."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(description="Post GitHub's payloads.")
    parser.add_argument("url")
    parser.add_argument("--flip", action="store_true", help="change each body after it was signed")
    parser.add_argument("--round", default="1", help="another round has other delivery ids")
    asked = parser.parse_args()
    url, secret = urlsplit(asked.url), os.environ["GITHUB_WEBHOOK_SECRET"].encode()
    connection = http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port, timeout=30)
    for delivery in deliveries(asked.round):
        status = post(connection, secret, delivery, flipped(delivery.body) if asked.flip else delivery.body)
        print(status, delivery.kind, delivery.id)


if __name__ == "__main__":
    main()
