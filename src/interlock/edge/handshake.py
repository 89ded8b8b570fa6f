"""Handshakes: what a provider sends to see whether a webhook answers. Verified as any request, and never recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from interlock.spec import jsontext
from interlock.spec.signatures import GitHub, Slack, Verifier
from interlock.wire.exchange import Head

PONG: Final = b'{"ok":true}'

Handshake = Callable[[Head, bytes], bytes | None]
"""The JSON to answer a verified request with, if it is a handshake; None if it is for the webhook's function."""


class _Challenge(msgspec.Struct):
    type: Literal["url_verification"]
    challenge: str


_challenge = msgspec.json.Decoder(_Challenge)


def handshake(scheme: Verifier) -> Handshake:
    """How the providers of a scheme try an address."""
    match scheme:
        case GitHub():
            return _ping
        case Slack():
            return _url_verification
        case _:
            return _none


def _ping(head: Head, _body: bytes) -> bytes | None:
    return PONG if head.only("x-github-event") == "ping" else None


def _url_verification(_head: Head, body: bytes) -> bytes | None:
    # Most bodies do not hold the word, and are read once, by the function.
    if b"url_verification" not in body:
        return None
    try:
        found = jsontext.strictly(_challenge.decode, body)
    except jsontext.PayloadError:
        return None
    return msgspec.json.encode({"challenge": found.challenge})


def _none(_head: Head, _body: bytes) -> bytes | None:
    return None
