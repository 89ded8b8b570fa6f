"""What goes to an origin and how it can fail: the values of the upstream pool, and the bytes of a request."""

from __future__ import annotations

import ssl
from typing import Literal, NamedTuple

import msgspec

from interlock.core import limits as bounds
from interlock.core.errors import InterlockError
from interlock.wire.exchange import Fields

FailureKind = Literal["connect", "dns", "tls", "timeout", "reset", "malformed", "too-large", "not-sent"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
"""Methods without an effect (RFC 9110 9.2.1, RFC 10008): sent again if an idle connection turns out to be closed."""

_REMEDIES: dict[FailureKind, str] = {
    "connect": "check the address and the port, and that the system is up",
    "dns": "check the host's name",
    "tls": "check the certificate, its name and its authority",
    "timeout": "raise the deadline, or find out why the system is slow",
    "reset": "see whether the system restarted, or closes connections early",
    "malformed": "see what answers at this address: it does not speak HTTP/1.1 correctly",
    "too-large": "ask for less, or raise the bound",
    "not-sent": "nothing: it will be tried again when there is room",
}


class Origin(NamedTuple):
    """Where requests go. `server_name` is what the certificate must be for; the host unless given."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    @property
    def authority(self) -> str:
        """As in `Host`: the port only if it is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (80 if self.tls is None else 443) else f"{name}:{self.port}"


class Outgoing(NamedTuple):
    """A request. Host, the connection's own fields and those that frame the body are the pool's and are left out."""

    method: str
    target: str
    headers: Fields = ()
    body: bytes = b""


class PoolLimits(msgspec.Struct, frozen=True):
    """Bounds of a pool. `waiting_max` requests may wait for one of `connections_max` to become free."""

    connections_max: int = bounds.SYSTEM_CONCURRENCY_MAX
    waiting_max: int = bounds.POOL_WAITING_MAX
    idle_timeout_us: int = bounds.POOL_IDLE_TIMEOUT_US
    connect_timeout_us: int = bounds.CONNECT_TIMEOUT_US
    answer_bytes_max: int = bounds.ANSWER_BYTES_MAX
    header_bytes_max: int = bounds.HEADER_BYTES_MAX
    header_count_max: int = bounds.HEADER_COUNT_MAX


class WireFailure(InterlockError):
    """There is no answer. If `sent`, the origin may have acted on the request; the code is `wire.` and the kind."""

    def __init__(self, kind: FailureKind, *, sent: bool, detail: str) -> None:
        super().__init__(f"wire.{kind}", detail, _REMEDIES[kind])
        self.kind: FailureKind = kind
        self.sent = sent
        self.detail = detail
