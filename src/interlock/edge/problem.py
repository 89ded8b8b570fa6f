"""Refusals of the data plane as problem documents (RFC 9457): a code, what is wrong, what to do. No stack, no value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from interlock.core.errors import InterlockError, RequestError
from interlock.spec.jsontext import PayloadError
from interlock.wire.exchange import Exchange, Fields, Head, Refusal

MEDIA_TYPE: Final = "application/problem+json"
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+)\]")
_EXPECTED: Final = re.compile(r"Expected (.+), got (.+)")


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a request.

    `pointer` is its place in the body (RFC 6901; "" is all of it), or `header` the field that holds it. `expected` and
    `got` name types and bounds, never a value.
    """

    message: str
    pointer: str | None = None
    header: str | None = None
    expected: str = ""
    got: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal. `docs` repeats `type` for those who do not know the RFC; `instance` names an event."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    docs: str
    retryable: bool
    retry_after: int | None = None
    instance: str | None = None
    errors: Sequence[Fault] = ()


class Refused(RequestError):
    """A request that is not carried out: the status that says why, and each thing that is wrong with it."""

    def __init__(
        self, status: int, code: str, message: str, remedy: str, *, errors: Sequence[Fault] = (), headers: Fields = ()
    ) -> None:
        super().__init__(code, message, remedy)
        self.status = status
        self.errors = errors
        self.headers = headers


def problem(
    status: int, error: InterlockError, *, instance: str | None = None, retry_after: int | None = None
) -> tuple[Fields, bytes]:
    """Headers and body of the answer for an error; `retry_after` in seconds says that trying again makes sense."""
    refused = error if isinstance(error, Refused) else None
    document = Problem(
        type=error.docs,
        title=_title(error.code),
        status=status,
        detail=error.message,
        code=error.code,
        remedy=error.remedy,
        docs=error.docs,
        retryable=retry_after is not None,
        retry_after=retry_after,
        instance=instance,
        errors=refused.errors if refused else (),
    )
    fields = [("content-type", MEDIA_TYPE), *(refused.headers if refused else ())]
    if retry_after is not None:
        fields.append(("retry-after", str(retry_after)))
    return fields, msgspec.json.encode(document)


def refuse(exchange: Exchange, error: Refused) -> None:
    """Answer with the problem that the error tells."""
    exchange.respond(error.status, *problem(error.status, error))


def rendered(refusal: Refusal, _head: Head | None = None) -> tuple[Fields, bytes]:
    """The server's own refusals in the same form: headers and body. What `wire.server` asks for as `refuse`."""
    error = RequestError(refusal.code, refusal.detail, refusal.remedy)
    return problem(refusal.status, error, retry_after=1 if refusal.status == 503 else None)


def fault_of(error: PayloadError, under: str = "") -> Fault:
    """What does not fit its model, with its place: `$.lines[2].sku` under "/data" is "/data/lines/2/sku"."""
    steps = ["".join(pair) for pair in _STEP.findall(error.path)]
    pointer = under + "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    types = _EXPECTED.search(error.message)
    expected, got = types.groups() if types else ("", "")
    return Fault(error.message, pointer, expected=expected, got=got)


def _title(code: str) -> str:
    """The same words for the same code (RFC 9457 3.1.4); the page behind `type` says more."""
    subject, _, fault = code.partition(".")
    return f"{subject}: {fault.replace('-', ' ')}".capitalize()
