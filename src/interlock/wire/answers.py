"""The heads of the server's answers: status line, date, and the app's fields, checked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from interlock.core.limits import ANSWER_HEADS_MAX, US_PER_SECOND
from interlock.core.ports import Clock
from interlock.wire.exchange import Fields
from interlock.wire.fields import Names, rendered_fields

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9110 15, RFC 6585, RFC 4918. The phrase is for people at a terminal; a status without one is correct.
_PHRASES: Final = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    507: "Insufficient Storage",
    508: "Loop Detected",
}
_OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(second: int) -> str:
    """IMF-fixdate (RFC 9110 5.6.7). Not `strftime`, which follows the process's locale."""
    at = datetime.fromtimestamp(second, UTC)
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT"


def has_body(method: str, status: int) -> bool:
    """Whether an answer may carry a body (RFC 9110 6.4.1)."""
    return method != "HEAD" and status not in {204, 304} and status >= 200


class AnswerHeads:
    """Renders heads for one server. What was rendered in this second is remembered, if the fields are a tuple."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names = Names()
        self._second = -1
        self._date = ""
        self._rendered: dict[tuple[int, Fields], bytes] = {}

    def render(self, status: int, fields: Fields, length: int | None) -> bytes:
        """The head without the connection's own fields and without the empty line.

        Raises:
            InterlockError: `wire.header-invalid`.
        """
        second = self._clock.now() // US_PER_SECOND
        if second != self._second:
            self._rendered.clear()
            self._second = second
            self._date = http_date(second)
        if isinstance(fields, tuple):
            head = self._rendered.get((status, fields)) or self._remembered(status, fields)
        else:
            head = self._fresh(status, fields)
        return head if length is None else b"%bcontent-length: %d\r\n" % (head, length)

    def _remembered(self, status: int, fields: Fields) -> bytes:
        head = self._fresh(status, fields)
        if len(self._rendered) < ANSWER_HEADS_MAX:
            self._rendered[status, fields] = head
        return head

    def _fresh(self, status: int, fields: Fields) -> bytes:
        opening = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\ndate: {self._date}\r\n"
        return opening.encode("ascii") + rendered_fields(fields, self._names, _OURS)
