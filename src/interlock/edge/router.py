"""Which route a request is for: decided on the path as it was sent, never on one that was decoded and encoded again.

A literal segment is matched byte for byte. A `{param}` takes one whole segment, decoded once; a segment that could be
read as something else by the next one in line (an encoded slash, a dot segment, a control) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from interlock.core.errors import SpecError
from interlock.edge.problem import Refused
from interlock.wire.exchange import Exchange

Endpoint = Callable[[Exchange, Mapping[str, str]], None]

_SEGMENT: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}|[A-Za-z0-9._~!$&'()*+,;=:@%-]*")
_MALFORMED_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNFIT: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_HINT_CHARS_MAX: Final = 100
"""Longer paths are not compared with the routes: a hint must not cost more than the request that it is for."""
_NO_PARAMS: Final[Mapping[str, str]] = {}


class Route(NamedTuple):
    """A method and a path such as `/orders/{id}`, and who answers."""

    method: str
    path: str
    endpoint: Endpoint


class Found(NamedTuple):
    """The route of a request, and the values of its parameters."""

    endpoint: Endpoint
    params: Mapping[str, str]


class Options(NamedTuple):
    """The request asks what may be done (OPTIONS): the value of `Allow`."""

    allow: str


class _Target(NamedTuple):
    endpoint: Endpoint
    names: tuple[str, ...]
    plainly: Found


class _Template(NamedTuple):
    segments: tuple[str | None, ...]
    methods: dict[str, _Target]


class Router:
    """The routes of the data plane, compiled once.

    Raises:
        SpecError: `route.path-invalid`, `route.duplicate`.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, _Target]] = {}
        self._templates: dict[tuple[str | None, ...], _Template] = {}
        self._paths: list[str] = []
        for route in routes:
            self._add(route)
        # A literal segment comes before a parameter in the same place, whatever the order of the declarations is.
        literal_first = sorted(self._templates.values(), key=lambda template: [s is None for s in template.segments])
        self._ordered = tuple(literal_first)

    def find(self, method: str, path: str) -> Found | Options | Refused:
        """Who answers `method` on `path` (without its query, as it was sent)."""
        methods = self._exact.get(path)
        if methods is None:
            return self._by_template(method, path)
        target = methods.get(method) or _target(methods, method)
        return target.plainly if isinstance(target, _Target) else target

    def _by_template(self, method: str, path: str) -> Found | Options | Refused:
        segments = path.split("/")
        for template in self._ordered:
            if not _fits(template.segments, segments):
                continue
            target = _target(template.methods, method)
            if not isinstance(target, _Target):
                return target
            taken = [_value(given) for given, own in zip(segments, template.segments, strict=True) if own is None]
            values = [value for value in taken if value is not None]
            if len(values) < len(taken):
                return _ambiguous()
            return Found(target.endpoint, dict(zip(target.names, values, strict=True)))
        return self._unknown(path)

    def _add(self, route: Route) -> None:
        parts = route.path.split("/")
        found = [match for match in map(_SEGMENT.fullmatch, parts) if match]
        if not route.path.startswith("/") or len(found) < len(parts):
            raise SpecError(
                "route.path-invalid",
                f"{route.path!r} is not a path of literal segments and {{parameters}}",
                "Write it as /orders/{id}: a parameter is a whole segment.",
            )
        names = tuple(match[1] for match in found if match[1])
        segments = tuple(None if match[1] else match[0] for match in found)
        if names:
            methods = self._templates.setdefault(segments, _Template(segments, {})).methods
        else:
            methods = self._exact.setdefault(route.path, {})
        if route.method in methods:
            raise SpecError(
                "route.duplicate", f"{route.method} {route.path} is declared twice", "Give one of them another path."
            )
        if not methods:
            self._paths.append(route.path)
        methods[route.method] = _Target(route.endpoint, names, Found(route.endpoint, _NO_PARAMS))

    def _unknown(self, path: str) -> Refused:
        near = get_close_matches(path, self._paths, n=1) if len(path) <= _HINT_CHARS_MAX else []
        remedy = f"Did you mean {near[0]}?" if near else "Look up the path in the list of routes."
        return Refused(404, "route.unknown", "There is no such route.", remedy)


def _fits(template: tuple[str | None, ...], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        given != "" if own is None else given == own for own, given in zip(template, segments, strict=True)
    )


def _value(segment: str) -> str | None:
    if "%" in segment:
        if _MALFORMED_ESCAPE.search(segment):
            return None
        try:
            segment = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            return None
    return None if segment in {".", ".."} or _UNFIT.search(segment) else segment


def _target(methods: Mapping[str, _Target], method: str) -> _Target | Options | Refused:
    # The server leaves the body of an answer to HEAD out (RFC 9110 9.3.2).
    target = methods.get("GET" if method == "HEAD" and "HEAD" not in methods else method)
    if target is not None:
        return target
    allow = ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))
    if method == "OPTIONS":
        return Options(allow)
    return Refused(
        405, "route.method-refused", f"This route does not take {method}.", f"Use {allow}.", headers=[("allow", allow)]
    )


def _ambiguous() -> Refused:
    return Refused(
        400,
        "route.path-ambiguous",
        "A segment of the path holds an encoded slash, a dot segment, a control character or a broken escape.",
        "Send each parameter as one plain segment, percent-encoded once, in UTF-8.",
    )
