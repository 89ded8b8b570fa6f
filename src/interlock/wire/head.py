"""The head of a request: from bytes to a `Head` and the framing of its body, or to the reason why it is refused.

One pure function of one block of bytes, so that a compiled one can take its place. Strict by construction: a head is
what this grammar matches, and everything else is refused (RFC 9112; decision 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from interlock.core.limits import FIELD_NAMES_MAX, HEAD_LINES_MAX
from interlock.wire import refusals
from interlock.wire.exchange import Framed, Head, Refusal
from interlock.wire.fields import (
    CRLF,
    LINE_BYTES_CACHED_MAX,
    FieldLines,
    Names,
    decimal,
    head_lines,
    is_token,
    parsed_fields,
)

# Visible ASCII without the characters that no URI may hold and about which proxies disagree: # \ " < >
_ORIGIN_FORM: Final = re.compile(r"/[!$-;=?-\[\]-~]*")
_ABSOLUTE_FORM: Final = re.compile(r"(?i:https?)://([^/?@]+)((?:[/?].*)?)")
_HOST: Final = re.compile(r"([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_PORT_MAX: Final = 65_535
LINE_BYTES_BESIDES_TARGET_MAX: Final = 64
"""Room in the request line for the method and the version."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
_METHODS_REFUSED: Final = frozenset({"TRACE", "CONNECT"})


class HeadReader:
    """Reads heads for one server. `hosts` are the names that it answers for, None for all."""

    def __init__(self, *, target_bytes_max: int, header_count_max: int, hosts: frozenset[str] | None) -> None:
        self.names = Names()
        self._target_bytes_max = target_bytes_max
        self._line_bytes_max = target_bytes_max + LINE_BYTES_BESIDES_TARGET_MAX
        self._header_count_max = header_count_max
        self._hosts = _Hosts(hosts)
        self._lines = FieldLines(self.names)
        self._requests = _Requests(target_bytes_max)

    def read(self, block: bytes, peer: str) -> Framed | Refusal:
        """Read a head. `block` ends before the empty line; `peer` is the address that it came from."""
        opening, *lines = block.split(CRLF)
        request = self._requests[opening]
        if request is not None and len(lines) <= self._header_count_max:
            known = self._lines
            headers = [known.get(line) or known[line] for line in lines]
            once = dict(headers)
            if len(once) == len(headers) and "" not in once:
                return self._framed(request, headers, once, peer, once)
        return self._unusual(block, peer)

    def _unusual(self, block: bytes, peer: str) -> Framed | Refusal:
        """Read a head that holds a field twice, has another form of target or version, or is to be refused."""
        lines = head_lines(block)
        if lines is None:
            return refusals.OCTET
        line = lines.pop(0)
        parts = line.split(" ")
        if len(parts) != 3:
            return refusals.REQUEST_LINE
        method, target, version = parts
        if len(lines) > self._header_count_max:
            return refusals.HEADER_TOO_MANY
        parsed = parsed_fields(lines, self.names)
        if parsed is None:
            return refusals.HEADER_INVALID
        headers, framing = parsed
        if method not in _METHODS or version != "HTTP/1.1" or len(line) > self._target_bytes_max:
            refusal = self._line_refusal(line)
            if refusal is not None:
                return refusal
        if _ORIGIN_FORM.fullmatch(target) is None:
            resolved = _resolved(method, target, headers, framing)
            if resolved is None:
                return refusals.TARGET_INVALID
            target, headers = resolved
        path, _, query = target.partition("?")
        return self._framed(_Request(method, target, path, query, version), headers, framing, peer)

    def _framed(
        self,
        request: _Request,
        headers: list[tuple[str, str]],
        framing: Mapping[str, str],
        peer: str,
        once: Mapping[str, str] | None = None,
    ) -> Framed | Refusal:
        method, target, path, query, version = request
        host = framing.get("host")
        refusal = self._hosts[host] if host is not None else self._hosts.without(version)
        if refusal is not None:
            return refusal
        body = _body_framing(version, framing)
        if isinstance(body, Refusal):
            return body
        length, chunked, expects = body
        keep_alive = (
            version == "HTTP/1.1" if "connection" not in framing else _keeps_alive(version, framing["connection"])
        )
        head = Head(method, target, path, query, version, headers, peer, length, once)
        return Framed(head, chunked, keep_alive, expects)

    def _line_refusal(self, line: str) -> Refusal | None:
        method, target, version = line.split(" ")
        if not is_token(method):
            return refusals.METHOD_INVALID
        if method in _METHODS_REFUSED:
            return refusals.METHOD_REFUSED
        if version not in {"HTTP/1.1", "HTTP/1.0"}:
            return refusals.VERSION
        too_long = len(target) > self._target_bytes_max or len(line) > self._line_bytes_max
        return refusals.TARGET_TOO_LONG if too_long else None


def _resolved(
    method: str, target: str, headers: list[tuple[str, str]], framing: dict[str, str]
) -> tuple[str, list[tuple[str, str]]] | None:
    """A target of another form as `/path?query`. The host of an absolute one replaces Host (RFC 9112 3.2.2)."""
    if target == "*":
        return (target, headers) if method == "OPTIONS" else None
    found = _ABSOLUTE_FORM.fullmatch(target)
    if found is None:
        return None
    authority, rest = found.groups()
    origin = rest if rest.startswith("/") else "/" + rest
    if _ORIGIN_FORM.fullmatch(origin) is None:
        return None
    # A Host that was sent twice is malformed, whatever the target says.
    if "," not in framing.get("host", ","):
        framing["host"] = authority
    return origin, [("host", authority), *((name, value) for name, value in headers if name != "host")]


def _body_framing(version: str, framing: Mapping[str, str]) -> tuple[int | None, bool, bool] | Refusal:
    """Length, whether it is chunked, whether a 100 is expected (RFC 9112 6).

    Fields that were sent twice hold a comma here and match nothing.
    """
    coding, given, expect = framing.get("transfer-encoding"), framing.get("content-length"), framing.get("expect")
    length = None
    if coding is not None:
        if given is not None:
            return refusals.FRAMING
        if version != "HTTP/1.1" or coding.lower() != "chunked":
            return refusals.TRANSFER_ENCODING
    elif given is not None:
        length = decimal(given)
        if length is None:
            return refusals.CONTENT_LENGTH
    # RFC 9110 10.1.1: an expectation in HTTP/1.0 is ignored.
    expects = expect is not None and version == "HTTP/1.1"
    if expects and (expect or "").lower() != "100-continue":
        return refusals.EXPECTATION
    return length, coding is not None, expects


def _keeps_alive(version: str, connection: str) -> bool:
    options = {option.strip(" \t") for option in connection.lower().split(",")}
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)


class _Request(NamedTuple):
    """A request line that was read."""

    method: str
    target: str
    path: str
    query: str
    version: str


class _Requests(dict[bytes, _Request | None]):
    """Request lines as they came -> what they say; None for those that are not plain and perhaps not right."""

    def __init__(self, target_bytes_max: int) -> None:
        super().__init__()
        self._bytes_max = target_bytes_max

    def __missing__(self, line: bytes) -> _Request | None:
        method, _, rest = line.decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        plain = method in _METHODS and version == "HTTP/1.1" and len(line) <= self._bytes_max
        if not plain or _ORIGIN_FORM.fullmatch(target) is None:
            return None
        path, _, query = target.partition("?")
        request = _Request(method, target, path, query, version)
        if len(line) <= LINE_BYTES_CACHED_MAX:
            if len(self) >= HEAD_LINES_MAX:
                self.clear()
            self[line] = request
        return request


class _Hosts(dict[str, Refusal | None]):
    """Host as sent -> why it is refused, if it is."""

    def __init__(self, allowed: frozenset[str] | None) -> None:
        super().__init__()
        self._allowed = None if allowed is None else frozenset(name.lower() for name in allowed)

    def __missing__(self, host: str) -> Refusal | None:
        if len(self) >= FIELD_NAMES_MAX:
            self.clear()
        refusal = self[host] = self._refusal(host)
        return refusal

    def without(self, version: str) -> Refusal | None:
        """HTTP/1.0 had no Host; where only some are allowed, a request must name one."""
        return refusals.HOST_MISSING if version == "HTTP/1.1" or self._allowed is not None else None

    def _refusal(self, host: str) -> Refusal | None:
        found = _HOST.fullmatch(host)
        if found is None or (found[2] is not None and (decimal(found[2]) or 0) > _PORT_MAX):
            return refusals.HOST_INVALID
        if self._allowed is None or host.lower() in self._allowed or found[1].lower() in self._allowed:
            return None
        return refusals.HOST_NOT_ALLOWED
