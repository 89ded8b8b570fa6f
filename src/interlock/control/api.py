"""The ASGI application of the control port: health, metrics, and the admin API from its table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from interlock.control.dispatch import answer, problem_response
from interlock.control.endpoint import Endpoint
from interlock.control.guard import CALLER, LOOPBACK_HOSTS, ROUTE, Guard
from interlock.control.health import readiness
from interlock.control.openapi import document
from interlock.control.ports import Live
from interlock.control.problem import Refused
from interlock.control.table import ENDPOINTS, ROOT, Admin
from interlock.core.errors import InterlockError
from interlock.core.ports import Access, Clock, Emit

MetricsPage = Callable[[str], tuple[bytes, str]]
"""The exposition and its media type, for a request's `accept` (telemetry.metrics.Metrics.page)."""


class Ports(NamedTuple):
    """What the application is given besides the admin's own parts."""

    live: Live
    metrics: MetricsPage
    access: Access
    clock: Clock
    emit: Emit
    hosts: Collection[str] = LOOPBACK_HOSTS


def control_app(admin: Admin, ports: Ports) -> ASGIApp:
    """The whole application, guarded."""
    version = admin.reading.version
    routes: list[BaseRoute] = [
        _open("/healthz", _healthz),
        _open("/readyz", _readyz(ports.live)),
        _open("/metrics", _metrics(ports.metrics)),
        _open(f"{ROOT}/openapi.json", _openapi(version)),
        *(_route(endpoint, admin) for endpoint in ENDPOINTS),
    ]
    failed = _failed(ports.emit)
    app = Starlette(
        routes=routes,
        exception_handlers={InterlockError: _refused, HTTPException: _http, Exception: failed},
    )
    app.router.redirect_slashes = False
    return Guard(app, ports.access, ports.hosts, ports.clock, ports.emit)


def _route(endpoint: Endpoint[Admin], admin: Admin) -> Route:
    async def handle(request: Request) -> Response:
        request.scope[ROUTE] = endpoint.path
        return await answer(endpoint, admin, request.scope[CALLER], request)

    return Route(endpoint.path, handle, methods=[endpoint.method])


def _open(path: str, respond: Callable[[Request], Awaitable[Response]]) -> Route:
    async def handle(request: Request) -> Response:
        request.scope[ROUTE] = path
        return await respond(request)

    return Route(path, handle, methods=["GET"])


async def _healthz(_: Request) -> Response:
    """The process answers, so it lives: nothing else is looked at, or a slow store would get it killed."""
    return _json({"alive": True})


def _readyz(live: Live) -> Callable[[Request], Awaitable[Response]]:
    async def respond(_: Request) -> Response:
        ready, parts = readiness(live)
        return _json({"ready": ready, "parts": parts}, 200 if ready else 503)

    return respond


def _metrics(page: MetricsPage) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        body, media_type = page(request.headers.get("accept", ""))
        return Response(body, 200, {"content-type": media_type})

    return respond


def _openapi(version: str) -> Callable[[Request], Awaitable[Response]]:
    content = msgspec.json.encode(document(ENDPOINTS, version))

    async def respond(_: Request) -> Response:
        return Response(content, 200, media_type="application/json")

    return respond


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, InterlockError)
    return problem_response(error)


async def _http(_: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path or a method that a path has not."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = {"allow": (error.headers or {}).get("Allow", "GET")}
        refused = Refused(
            405, "request.method", "this path has no such method", "see the Allow header", headers=headers
        )
    else:
        refused = Refused(404, "request.path", "there is nothing under this path", f"see {ROOT}/openapi.json")
    return problem_response(refused)


def _failed(emit: Emit) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The answer to a bug of ours. The server logs the stack; the caller gets none of it."""

    async def respond(request: Request, error: Exception) -> Response:
        emit("control.failed", route=request.scope.get(ROUTE, ""), error=type(error).__name__)
        remedy = "look for control.failed in the log of the process, and report it"
        return problem_response(Refused(500, "control.failed", "the control port has a bug", remedy))

    return respond


def _json(content: Any, status: int = 200) -> Response:  # Any: what goes into a JSON document.
    return Response(msgspec.json.encode(content), status, media_type="application/json")
