"""Every reason for which the server itself refuses a request. None is a 5xx for what a peer sent."""

from __future__ import annotations

from typing import Final

from interlock.wire.exchange import Refusal

REQUEST_LINE: Final = Refusal(
    400,
    "http.request-line-invalid",
    "The request line is not `METHOD target HTTP/1.1`.",
    "Send one space between its three parts.",
)
METHOD_INVALID: Final = Refusal(
    400,
    "http.method-invalid",
    "The method is not a token.",
    "Use a method of RFC 9110.",
)
METHOD_REFUSED: Final = Refusal(
    405,
    "http.method-refused",
    "TRACE and CONNECT are not served here.",
    "Use another method.",
)
TARGET_INVALID: Final = Refusal(
    400,
    "http.target-invalid",
    "The request target holds a character or has a form that is not allowed.",
    "Percent-encode it; start it with `/`.",
)
TARGET_TOO_LONG: Final = Refusal(
    414,
    "http.target-too-long",
    "The request target is too long.",
    "Move parameters into the body.",
)
VERSION: Final = Refusal(
    400,
    "http.version-unsupported",
    "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
    "Use HTTP/1.1.",
)
OCTET: Final = Refusal(
    400,
    "http.octet-forbidden",
    "The head holds a bare CR or LF, a NUL or another control character.",
    "End lines with CRLF and encode controls.",
)
HEADER_INVALID: Final = Refusal(
    400,
    "http.header-invalid",
    "A header line has no valid name before its colon, or is folded.",
    "Send `name: value` on one line, with no space before the colon.",
)
HEADER_TOO_LARGE: Final = Refusal(
    431,
    "http.header-too-large",
    "The head of the request is too large.",
    "Send fewer or shorter headers.",
)
HEADER_TOO_MANY: Final = Refusal(
    431,
    "http.header-too-many",
    "The request has too many headers.",
    "Send fewer headers.",
)
HOST_MISSING: Final = Refusal(
    400,
    "http.host-missing",
    "The request has no Host.",
    "Send exactly one Host header.",
)
HOST_INVALID: Final = Refusal(
    400,
    "http.host-invalid",
    "The Host header is given twice or is not `name` or `name:port`.",
    "Send exactly one valid Host header.",
)
HOST_NOT_ALLOWED: Final = Refusal(
    421,
    "http.host-not-allowed",
    "This server does not answer for that host.",
    "Use its own name, or add the name to the allowed hosts.",
)
FRAMING: Final = Refusal(
    400,
    "http.framing-ambiguous",
    "The request has both Content-Length and Transfer-Encoding.",
    "Send one of them.",
)
CONTENT_LENGTH: Final = Refusal(
    400,
    "http.content-length-invalid",
    "Content-Length is not one plain decimal number.",
    "Send it once, with digits only.",
)
TRANSFER_ENCODING: Final = Refusal(
    400,
    "http.transfer-encoding-unsupported",
    "Transfer-Encoding is not exactly `chunked`, or the request is HTTP/1.0.",
    "Send `Transfer-Encoding: chunked` on HTTP/1.1, or a Content-Length.",
)
EXPECTATION: Final = Refusal(
    417,
    "http.expectation-unknown",
    "Only `Expect: 100-continue` is understood.",
    "Leave Expect out.",
)
CHUNK: Final = Refusal(
    400,
    "http.chunk-invalid",
    "The chunked body is malformed.",
    "Send hexadecimal chunk sizes, and end every chunk and line with CRLF.",
)
TRAILER_TOO_LARGE: Final = Refusal(
    431,
    "http.trailer-too-large",
    "The trailers are too large.",
    "Send them as headers, or not at all.",
)
BODY_TOO_LARGE: Final = Refusal(
    413,
    "http.body-too-large",
    "The body is larger than this route takes.",
    "Send less, or in parts.",
)
HEAD_TIMEOUT: Final = Refusal(
    408,
    "http.head-timeout",
    "The head of the request did not arrive in time.",
    "Send it at once.",
)
BODY_TIMEOUT: Final = Refusal(
    408,
    "http.body-timeout",
    "The body did not arrive in time.",
    "Send it faster, or in parts.",
)
CONNECTIONS: Final = Refusal(
    503,
    "http.connections-exhausted",
    "All connections are in use.",
    "Try again shortly; reuse connections.",
)
APP_FAILED: Final = Refusal(
    500,
    "http.app-failed",
    "The request could not be answered because of a fault in the server.",
    "Try again; the fault was reported.",
)
