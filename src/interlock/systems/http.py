"""HTTP systems: the client that user code holds, and the transport at the far end of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Unpack, cast

import msgspec

from interlock.call.classify import Failure, answered, failed
from interlock.call.effect import Scope
from interlock.call.record import Request
from interlock.core.errors import InterlockError
from interlock.core.handler import Call, Handler
from interlock.core.outcome import Answer, Outcome, Reject
from interlock.core.ports import Clock, Random
from interlock.spec.function import CallOptions
from interlock.systems import target
from interlock.wire.outgoing import Outgoing, WireFailure
from interlock.wire.pool import Pool

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "QUERY", "POST", "PUT", "PATCH", "DELETE"})
_OPTIONS: Final = frozenset(CallOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class HttpOutlet:
    """A System as its client needs it (an `Outlet`): the entrance to its layers and what its address adds.

    `reserved` are the header fields that are not the caller's; `hidden()` gives the secrets that no record may show.
    """

    system: str
    handler: Handler
    clock: Clock
    random: Random
    hidden: Callable[[], Sequence[str]]
    prefix: str
    reserved: frozenset[str]


class HttpClient:
    """Calls to one System within one attempt: `spec.function.Client`, which says what it promises."""

    __slots__ = ("_outlet", "_scope")

    def __init__(self, outlet: HttpOutlet, scope: Scope) -> None:
        self._outlet = outlet
        self._scope = scope

    async def request(self, method: str, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, method, path, options))

    async def get(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, "GET", path, options))

    async def post(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, "POST", path, options))

    async def put(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, "PUT", path, options))

    async def patch(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, "PATCH", path, options))

    async def delete(self, path: str, **options: Unpack[CallOptions]) -> Answer:
        return await self._scope.send(self._outlet, request(self._outlet, "DELETE", path, options))


def request(outlet: HttpOutlet, method: str, path: str, options: CallOptions) -> Request:
    """What user code asks for, checked.

    Raises:
        InterlockError: `call.method-invalid`, `call.option-unknown`, `call.path-invalid`, `call.header-invalid`,
            `call.header-reserved`, `call.body-twice`, `call.body-invalid`.
    """
    if method not in METHODS:
        raise InterlockError(
            "call.method-invalid",
            f"{method[:32]!r} is not a method for calls",
            f"use one of {', '.join(sorted(METHODS))}",
        )
    if not options:
        return Request(method, target.joined(outlet.prefix, path))
    if not options.keys() <= _OPTIONS:
        unknown = ", ".join(sorted(options.keys() - _OPTIONS))
        raise InterlockError(
            "call.option-unknown", f"a call has no option {unknown}", f"use {', '.join(sorted(_OPTIONS))}"
        )
    given = options.get("headers")
    headers = target.fields(given, outlet.reserved) if given else ()
    body = _body(options)
    if "json" in options and not any(name == "content-type" for name, _ in headers):
        headers = (("content-type", "application/json"), *headers)
    return Request(
        method,
        target.joined(outlet.prefix, path, options.get("params")),
        headers,
        body,
        options.get("effect"),
        options.get("call"),
        options.get("probe"),
    )


def http_transport(pool: Pool, clock: Clock) -> Handler:
    """Send calls over a pool. Whatever comes of it is an outcome."""

    async def send(call: Call) -> Outcome:
        outgoing = Outgoing(call.method, call.target, call.headers, call.body)
        try:
            answer = await pool.exchange(outgoing, deadline=call.deadline, may_send=call.may_send)
        except WireFailure as failure:
            return failed(call, Failure(failure.kind, failure.sent, failure.detail))
        except InterlockError as error:
            # It cannot be written to any wire, so it never will be.
            return Reject(error.code, error.message)
        return answered(call, answer, clock.now())

    return send


def _body(options: Mapping[str, object]) -> bytes:
    """The body that is asked for. User code may be untyped: what an option is has to be looked at."""
    if "json" not in options:
        body = options.get("body", b"")
        if not isinstance(body, bytes):
            raise InterlockError("call.body-invalid", "body= takes bytes", "encode the text, or give json=")
        return body
    if "body" in options:
        raise InterlockError("call.body-twice", "a call has both json= and body=", "give one of them")
    try:
        return msgspec.json.encode(options["json"], enc_hook=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InterlockError(
            "call.body-invalid",
            f"json= cannot be encoded: {error}",
            "give what JSON has, or encode it yourself as body=",
        ) from None


def _plain(value: object) -> object:
    """A pydantic model as what JSON has, without importing pydantic; everything else is not for JSON."""
    dump = cast("Callable[..., Any] | None", getattr(value, "model_dump", None))  # whatever the model makes of itself
    if dump is None:
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    return dump(mode="json", by_alias=True)
