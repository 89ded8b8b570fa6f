"""The command line's own HTTP client: blocking, loopback, one request at a time.

The product's one client for Systems is `systems/http`; this is the other end of our own admin API and intake.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from interlock.control.endpoint import Endpoint
from interlock.core.errors import InterlockError
from interlock.spec.problem import Fault

TIMEOUT_SECONDS: Final = 60
"""Longer than any wait that a command asks for."""
T = TypeVar("T")


class Unreachable(Exception):
    """Nobody answers at the address."""


class Reply(NamedTuple):
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Told(msgspec.Struct, frozen=True):
    """What the command line needs of a problem document, of either port."""

    code: str
    detail: str
    remedy: str
    errors: Sequence[Fault] = ()


class Client:
    """One port of the running process.

    Args:
        base: its base URL.
        token: the bearer token.
        certificate: what the process serves over TLS; None in the clear.
    """

    def __init__(self, base: str, token: str, certificate: Path | None = None) -> None:
        parts = urlsplit(base)
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here, only asked
        host = everywhere.get(parts.hostname or "", parts.hostname)
        self._connection = (
            http.client.HTTPConnection(host or "", parts.port, timeout=TIMEOUT_SECONDS)
            if certificate is None
            else http.client.HTTPSConnection(
                host or "", parts.port, timeout=TIMEOUT_SECONDS, context=_trusting(certificate)
            )
        )
        self._base = base
        self._token = token

    def call(
        self, endpoint: Endpoint[Any], taken: msgspec.Struct
    ) -> Any:  # Any: what the endpoint gives, by its own type.
        """Call an endpoint of the admin API.

        Raises:
            InterlockError: what the process refused, with its code and remedy.
            Unreachable: if nobody answers.
        """
        members: dict[str, Any] = msgspec.to_builtins(taken)
        path = endpoint.path
        for name in endpoint.in_path:
            path = path.replace("{" + name + "}", quote(str(members.pop(name)), safe=""))
        if endpoint.method == "GET":
            query = {name: _query_text(value) for name, value in members.items() if value is not None}
            reply = self.send("GET", f"{path}?{urlencode(query)}" if query else path)
        else:
            body = msgspec.json.encode(members)
            reply = self.send("POST", path, {"content-type": "application/json"}, body)
        return decode(reply, endpoint.gives)

    def send(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Reply:
        """One request with the token, and its answer.

        Raises:
            Unreachable: if nobody answers.
        """
        fields = {"authorization": f"Bearer {self._token}", **(headers or {})}
        try:
            # Closed here, not when they are forgotten: an interrupt that comes inside a finalizer would be lost.
            with closing(self._connection) as connection:
                connection.request(method, target, body or None, fields)
                with connection.getresponse() as answer:
                    headers = {name.lower(): value for name, value in answer.getheaders()}
                    return Reply(answer.status, headers, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"nobody answers at {self._base}: {type(error).__name__}") from None


def decode(reply: Reply, gives: type[T]) -> T:
    """The answer's body, or the error that it tells of."""
    try:
        if 200 <= reply.status < 300:
            return msgspec.json.decode(reply.body, type=gives)
        told = msgspec.json.decode(reply.body, type=Told)
    except msgspec.DecodeError:
        raise InterlockError(
            "cli.answer-unreadable",
            f"the process answered {reply.status} with something that this version cannot read",
            "use the `interlock` of the same version as the process",
        ) from None
    faults = "; ".join(f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message for fault in told.errors)
    raise InterlockError(told.code, f"{told.detail} ({faults})" if faults else told.detail, told.remedy)


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Trust in this one certificate, for any name: it is the process's own file, and it is asked by its address."""
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError as error:
        raise InterlockError(
            "cli.certificate-unreadable",
            f"{certificate}, which the process serves, cannot be read: {error.strerror or error}",
            "run the command as a user who may read it",
        ) from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _query_text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
