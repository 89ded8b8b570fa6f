"""From a request to an endpoint's handler and back: strict parsing in, JSON out. Refusals are raised, not answered."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from interlock.control.endpoint import Caller, Endpoint
from interlock.control.problem import Refused, problem
from interlock.core.errors import InterlockError
from interlock.spec.jsontext import misfit
from interlock.spec.problem import MEDIA_TYPE, fault_of

C = TypeVar("C")


async def answer(endpoint: Endpoint[C], context: C, caller: Caller, request: Request) -> Response:
    """Parse, run, encode.

    Raises:
        InterlockError: whatever the handler refuses, or the input's fault.
    """
    taken = await _taken(endpoint, request)
    given = await endpoint.handler(context, caller, taken)
    return Response(msgspec.json.encode(given), 200, media_type="application/json")


async def _taken(endpoint: Endpoint[Any], request: Request) -> msgspec.Struct:
    if endpoint.method == "GET":
        members: dict[str, object] = dict(_query(request))
        strict = False
    else:
        if request.query_params:
            raise Refused(400, "request.query-unexpected", "a command takes no query", "put its members into the body")
        members = await _members(request, endpoint.body_bytes_max)
        strict = True
    for name, value in _parameters(request).items():
        if members.setdefault(name, value) != value:
            raise Refused(400, "request.invalid", f"{name} is given twice", "give it in the path only")
    _no_strangers(members, endpoint.takes)
    try:
        return msgspec.convert(members, endpoint.takes, strict=strict)
    except msgspec.ValidationError as error:
        found = misfit(str(error))
        raise Refused(
            400,
            "request.invalid",
            found.message,
            f"see {endpoint.name} in /api/v1/openapi.json",
            errors=(fault_of(found),),
        ) from None


def _parameters(request: Request) -> Mapping[str, str]:
    return request.path_params


def _query(request: Request) -> Mapping[str, str]:
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refused(400, "request.invalid", "a query parameter is given twice", "give each at most once")
    return dict(pairs)


async def _members(request: Request, bytes_max: int) -> dict[str, object]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Also what keeps a form on a foreign page from sending a command: a browser asks before it sends JSON.
        raise Refused(
            415, "request.media-type", "the body is not declared as JSON", "send content-type: application/json"
        )
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > bytes_max:
                raise Refused(413, "request.too-large", f"the body is over {bytes_max} bytes", "select fewer at once")
    except ClientDisconnect:
        raise Refused(400, "request.cut-short", "the connection ended inside the body", "send it again") from None
    try:
        return msgspec.json.decode(bytes(body), type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, "request.malformed", f"the body is not a JSON object: {error}", "send one") from None


def _no_strangers(members: Mapping[str, object], takes: type[msgspec.Struct]) -> None:
    known = takes.__struct_encode_fields__
    for name in members:
        if name not in known:
            near = get_close_matches(name[:64], known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}"
            raise Refused(400, "request.unknown-member", "there is a member or parameter that this takes not", remedy)


def problem_response(error: InterlockError) -> Response:
    """The answer for an error."""
    document = problem(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if document.retry_after is not None:
        headers["retry-after"] = str(document.retry_after)
    return Response(msgspec.json.encode(document), document.status, headers, MEDIA_TYPE)
