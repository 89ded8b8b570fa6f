"""Refusals of the data plane: what is not carried out, with its status, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from interlock.core.errors import InterlockError, RequestError
from interlock.spec.problem import MEDIA_TYPE, Fault, problem_of
from interlock.wire.exchange import Exchange, Fields, Head, Refusal


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
    errors = refused.errors if refused else ()
    document = problem_of(error, status, retry_after=retry_after, instance=instance, errors=errors)
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
