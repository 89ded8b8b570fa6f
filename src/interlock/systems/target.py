"""Where a call goes: a System's address from its binding, and paths, parameters and fields from user code. Pure.

User code builds paths from events, and events come from outside: nothing in a path may change host, prefix or framing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from interlock.core.errors import InterlockError, SpecError
from interlock.core.limits import HEADER_COUNT_MAX, TARGET_BYTES_MAX

# Of a path from user code: what RFC 3986 allows in one, and what is percent-encoded for it (anything beyond ASCII).
# A lone surrogate has no bytes to encode.
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/%\-\x80-\ud7ff\ue000-\U0010ffff]*")
_QUERY: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\-\x80-\ud7ff\ue000-\U0010ffff\[\]]*")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
_SAFE: Final = "!$&'()*+,;=:@/?%-._~[]"

FRAMING_FIELDS: Final = frozenset(
    {
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Fields that frame a message or belong to one connection (RFC 9110 7.6.1): nobody above the wire sets them."""


class Address(NamedTuple):
    """Where a System is. `prefix` goes before every path: "" or a path that does not end with a slash."""

    is_tls: bool
    host: str
    port: int
    prefix: str


def address(system: str, url: str) -> Address:
    """The address in a binding.

    Raises:
        SpecError: `system.url-invalid`.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _url_invalid(system, str(error)) from None
    why = _url_fault(parts, port)
    if why:
        raise _url_invalid(system, why)
    is_tls = parts.scheme == "https"
    host = parts.hostname or ""
    if not host.isascii():
        host = _idna(system, host)
    return Address(is_tls, host, port or (443 if is_tls else 80), parts.path.rstrip("/"))


def joined(prefix: str, path: str, params: Mapping[str, str] | None = None) -> str:
    """Path and query of a call. `path` begins with a slash and may hold a query, to which `params` are added.

    Raises:
        InterlockError: `call.path-invalid`, for a path that could leave the System's prefix or break the request.
    """
    bare, mark, query = path.partition("?")
    why = _path_fault(bare) or _query_fault(query)
    if params and not why:
        try:
            query = "&".join(part for part in (query, urlencode(params, quote_via=quote, errors="strict")) if part)
        except UnicodeEncodeError:
            why = "has a parameter that is not valid Unicode"
    if why:
        remedy = "begin it with one slash, and quote() what you put in"
        raise InterlockError("call.path-invalid", f"a path {why}", remedy)
    target = prefix + bare + ("?" + query if query or mark else "")
    target = target if target.isascii() else quote(target, safe=_SAFE)
    if len(target) > TARGET_BYTES_MAX:
        raise InterlockError(
            "call.path-invalid",
            f"path and query take {len(target)} bytes, and {TARGET_BYTES_MAX} are the most that is sent",
            "send in the body what is long",
        )
    return target


def fields(given: Mapping[str, str], reserved: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Header fields from user code, names in lower case.

    Raises:
        InterlockError: `call.header-invalid` for what could break the request, `call.header-reserved` for what is not
            the caller's to set.
    """
    if len(given) > HEADER_COUNT_MAX:
        raise InterlockError("call.header-invalid", f"{len(given)} header fields are too many", "send fewer")
    checked: list[tuple[str, str]] = []
    for name, value in given.items():
        if field_fault(name, value):
            raise InterlockError(
                "call.header-invalid",
                f"the header field {name[:64]!r} holds a character that cannot be sent",
                "use letters, digits and hyphens in names, and printable Latin-1 in values",
            )
        if name.lower() in reserved:
            raise InterlockError(
                "call.header-reserved",
                f"the header field {name!r} is set by Interlock or by the System's binding",
                "leave it out; what belongs to the System goes into its headers in interlock.toml",
            )
        checked.append((name.lower(), value))
    return tuple(checked)


def field_fault(name: str, value: str) -> bool:
    """Whether a field could end its line, begin another, or cannot be written at all (RFC 9110 5.1, 5.5)."""
    return _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None


def _url_fault(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "it names no host and port to connect to"
    if "@" in parts.netloc:
        return "it holds a user or password; those are secrets, and go into headers"
    if parts.query or parts.fragment:
        return "it has a query or a fragment"
    return _path_fault(parts.path) if parts.path else None


def _path_fault(path: str) -> str | None:
    if not _PATH.fullmatch(path):
        return "does not begin with a slash or holds a character that must be percent-encoded"
    if path.startswith("//"):
        return "begins with two slashes, which some servers take for a host"
    if _BAD_ESCAPE.search(path):
        return "holds a percent sign that escapes nothing"
    if "." in path or "%" in path:
        # Decoded twice, because some servers do; `;` begins parameters that some strip before they resolve dots.
        plain = unquote(unquote(path)).replace("\\", "/")
        if any(segment.split(";")[0] in (".", "..") for segment in plain.split("/")):
            return "holds a dot segment"
    return None


def _query_fault(query: str) -> str | None:
    if not _QUERY.fullmatch(query) or _BAD_ESCAPE.search(query):
        return "has a query with a character that must be percent-encoded"
    return None


def _idna(system: str, host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise _url_invalid(system, "its host is not a name") from None


def _url_invalid(system: str, why: str) -> SpecError:
    return SpecError(
        "system.url-invalid",
        f"the address of {system} cannot be used: {why}",
        f'give [systems."{system}"] url = "https://host/prefix"',
    )
