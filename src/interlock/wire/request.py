"""The bytes of a request to an origin."""

from __future__ import annotations

import re
from typing import Final

from interlock.core.errors import InterlockError
from interlock.wire.fields import Names, is_token, rendered_fields
from interlock.wire.outgoing import Origin, Outgoing

_TARGET: Final = re.compile(r"[!-\"$-~]+")
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "QUERY"})
_OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def rendered_request(request: Outgoing, origin: Origin, names: Names) -> bytes:
    """The bytes of a request.

    Raises:
        InterlockError: `wire.header-invalid`, `wire.request-invalid` if a part could end its line or begin another.
    """
    method, target, headers, body = request
    if not is_token(method) or _TARGET.fullmatch(target) is None:
        raise InterlockError(
            "wire.request-invalid",
            f"the method or the target of a request to {origin.authority} holds a character that cannot be sent",
            "percent-encode the target",
        )
    host = rendered_fields((("host", origin.authority),), names, frozenset())
    fields = rendered_fields(headers, names, _OURS)
    length = b"content-length: %d\r\n" % len(body) if body or method in _BODY_METHODS else b""
    return b"%b %b HTTP/1.1\r\n%b%b%b\r\n%b" % (method.encode(), target.encode(), host, fields, length, body)
