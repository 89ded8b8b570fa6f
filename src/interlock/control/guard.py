"""What stands before every route of the control port: the Host allow-list, the bearer token, the record of the answer.

There is no CORS: nothing here ever allows another origin.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interlock.control.dispatch import problem_response
from interlock.control.problem import Refused
from interlock.core.ports import Access, Clock, Emit

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What a load balancer asks without a token. They say no more than a connection attempt would."""
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
CALLER: Final = "interlock.caller"
ROUTE: Final = "interlock.route"
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware around the whole control application.

    Args:
        app: what is guarded.
        access: decides who calls.
        hosts: names that the port may be asked under besides loopback ones, in lower case, without a port. No page of
            another site can ask under one of them (DNS rebinding).
        clock: for the duration in the record.
        emit: gets `control.request` and `control.refused`.
    """

    def __init__(self, app: ASGIApp, access: Access, hosts: Collection[str], clock: Clock, emit: Emit) -> None:
        self._app = app
        self._access = access
        self._hosts = LOOPBACK_HOSTS.union(hosts)
        self._clock = clock
        self._emit = emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._answer(scope, receive, answered)
        finally:
            route = scope.get(ROUTE, "")
            took = self._clock.monotonic() - started
            self._emit("control.request", method=scope["method"], route=route, status=status, duration_us=took)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope)
        except Refused as refused:
            peer = (scope.get("client") or ("", 0))[0]
            self._emit("control.refused", code=refused.code, status=refused.status, peer=peer)
            await problem_response(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        hosts = _values(scope, b"host")
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or found["name"].lower() not in self._hosts:
            raise Refused(
                421,
                "control.host-refused",
                "this port is not served under the name in the Host header",
                "use the address that `interlock run` prints, or add the name to [control] hosts",
            )
        if scope["path"] in OPEN_PATHS:
            return
        caller = self._access(_values(scope, b"authorization"))
        if caller is None:
            raise Refused(
                401,
                "control.token-refused",
                "the request carries no valid token",
                "send `Authorization: Bearer` with the token of the file that `interlock run` names",
                headers={"www-authenticate": 'Bearer realm="interlock"'},
            )
        scope[CALLER] = caller


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]
