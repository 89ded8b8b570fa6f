"""Requests and what must become of them, by rule of RFC 9110 and 9112: in memory, on sockets and for fuzzers."""

from __future__ import annotations

from typing import NamedTuple

H = b"POST /a HTTP/1.1\r\nHost: h\r\n"
G = b"GET /a HTTP/1.1\r\nHost: h\r\n"
C = H + b"Transfer-Encoding: chunked\r\n\r\n"


class Refused(NamedTuple):
    """A request, the status and the code of its refusal."""

    name: str
    request: bytes
    status: int
    code: str


class Taken(NamedTuple):
    """A request that is fine, and what the app sees of it."""

    name: str
    request: bytes
    target: str
    body: bytes


def _length(value: bytes) -> bytes:
    return H + b"Content-Length: " + value + b"\r\n\r\nhello"


REFUSED = [
    *(
        Refused(f"content-length {value!r}", _length(value), 400, "http.content-length-invalid")
        for value in (
            b"+5",
            b"-0",
            b"-5",
            b"5,5",
            b"5, 6",
            b"0x5",
            b"5_0",
            b"5 5",
            b"5.0",
            b"",
            "٥".encode(),  # ARABIC-INDIC DIGIT FIVE, which int() takes
            b"\xb2",  # SUPERSCRIPT TWO in latin-1, which str.isdigit() takes
            b"9223372036854775808",
            b"99999999999999999999",
        )
    ),
    Refused(
        "content-length twice",
        H + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
        "http.content-length-invalid",
    ),
    Refused(
        "content-length twice, unlike",
        H + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello",
        400,
        "http.content-length-invalid",
    ),
    Refused(
        "content-length and chunked",
        H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "http.framing-ambiguous",
    ),
    *(
        Refused(
            f"transfer-encoding {value!r}",
            H + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n",
            400,
            "http.transfer-encoding-unsupported",
        )
        for value in (b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked;q=1", b"")
    ),
    Refused(
        "transfer-encoding twice",
        H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
        "http.transfer-encoding-unsupported",
    ),
    Refused(
        "transfer-encoding in HTTP/1.0",
        b"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "http.transfer-encoding-unsupported",
    ),
    Refused(
        "transfer-encoding behind a vertical tab",
        H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
        "http.octet-forbidden",
    ),
    Refused("bare LF ends lines", b"GET /a HTTP/1.1\nHost: h\n\n", 400, "http.octet-forbidden"),
    Refused("bare LF between fields", G + b"A: b\nB: c\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("bare LF ends the head", G + b"A: b\r\n\n\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("bare CR in a value", G + b"A: b\rc\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("CR CR LF", G + b"A: b\r\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("NUL in a value", G + b"A: b\x00c\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("a control in a value", G + b"A: b\x01c\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("DEL in a value", G + b"A: b\x7fc\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("NUL in the target", b"GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.octet-forbidden"),
    Refused("a folded line", G + b"A: b\r\n c\r\n\r\n", 400, "http.header-invalid"),
    Refused("a folded first line", b"GET /a HTTP/1.1\r\n Host: h\r\n\r\n", 400, "http.header-invalid"),
    Refused("space before the colon", G + b"A : b\r\n\r\n", 400, "http.header-invalid"),
    Refused("tab before the colon", G + b"A\t: b\r\n\r\n", 400, "http.header-invalid"),
    Refused("no colon", G + b"foo\r\n\r\n", 400, "http.header-invalid"),
    Refused("an empty name", G + b": b\r\n\r\n", 400, "http.header-invalid"),
    Refused("a name beyond ASCII", G + b"f\xe9: b\r\n\r\n", 400, "http.header-invalid"),
    Refused("a bracket in a name", G + b"a[b]: c\r\n\r\n", 400, "http.header-invalid"),
    Refused("no host", b"GET /a HTTP/1.1\r\nA: b\r\n\r\n", 400, "http.host-missing"),
    Refused("no host and no field", b"GET /a HTTP/1.1\r\n\r\n", 400, "http.host-missing"),
    Refused("two hosts", G + b"Host: h\r\n\r\n", 400, "http.host-invalid"),
    Refused("an empty host", b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400, "http.host-invalid"),
    Refused("a host with a path", b"GET /a HTTP/1.1\r\nHost: h/b\r\n\r\n", 400, "http.host-invalid"),
    Refused("a host with a user", b"GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, "http.host-invalid"),
    Refused("a host with a bad port", b"GET /a HTTP/1.1\r\nHost: h:8o\r\n\r\n", 400, "http.host-invalid"),
    Refused("a host with a great port", b"GET /a HTTP/1.1\r\nHost: h:65536\r\n\r\n", 400, "http.host-invalid"),
    Refused(
        "an absolute target and two hosts",
        b"GET http://h/a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        400,
        "http.host-invalid",
    ),
    Refused("an absolute target without host", b"GET http://h/a HTTP/1.1\r\n\r\n", 400, "http.host-missing"),
    Refused(
        "an absolute target with a user", b"GET http://u@h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"
    ),
    Refused("another scheme", b"GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("a relative target", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("an asterisk for GET", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("a fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("a backslash", b"GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("a target beyond ASCII", "GET /é HTTP/1.1\r\nHost: h\r\n\r\n".encode(), 400, "http.target-invalid"),
    Refused("a tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.target-invalid"),
    Refused("a space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.request-line-invalid"),
    Refused("two spaces", b"GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.request-line-invalid"),
    Refused("HTTP/0.9", b"GET /a\r\n\r\n", 400, "http.request-line-invalid"),
    Refused("a space first", b" GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.request-line-invalid"),
    Refused("a bare CR first", b"\r" + G + b"\r\n", 400, "http.octet-forbidden"),
    Refused("a bare LF first", b"\n" + G + b"\r\n", 400, "http.octet-forbidden"),
    Refused("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "http.request-line-invalid"),
    Refused("a tab for a space", b"GET\t/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.request-line-invalid"),
    Refused("a method that is no token", b"G@T /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http.method-invalid"),
    Refused("TRACE", b"TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "http.method-refused"),
    Refused("CONNECT", b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "http.method-refused"),
    Refused("HTTP/1.2", b"GET /a HTTP/1.2\r\nHost: h\r\n\r\n", 400, "http.version-unsupported"),
    Refused("HTTP/2.0", b"GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 400, "http.version-unsupported"),
    Refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "http.version-unsupported"),
    Refused("lower-case http", b"GET /a http/1.1\r\nHost: h\r\n\r\n", 400, "http.version-unsupported"),
    Refused("ICE", b"SOURCE /a ICE/1.0\r\nHost: h\r\n\r\n", 400, "http.version-unsupported"),
    Refused("RTSP", b"DESCRIBE /a RTSP/1.0\r\nHost: h\r\n\r\n", 400, "http.version-unsupported"),
    Refused("an unknown expectation", H + b"Expect: 200-ok\r\n\r\n", 417, "http.expectation-unknown"),
    *(
        Refused(f"chunks {body!r}", C + body, 400, "http.chunk-invalid")
        for body in (
            b"5\nhello\r\n0\r\n\r\n",
            b"5;a\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5;a\x00\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 ;a\r\nhello\r\n0\r\n\r\n",
            b"1_0\r\n" + b"h" * 16 + b"\r\n0\r\n\r\n",
            b"\xb5\r\nhello\r\n0\r\n\r\n",
            b"g\r\n",
            b"\r\n",
            b";a\r\n",
            b"fffffffffffffffff\r\n",
            b"0000000000000005\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloXX0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\rX",
            b"5\r\nhello\r\n0\r\nbad\r\n\r\n",
            b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
            b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
            b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n",
            b"5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n",
            b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n",
            b"".join(b"1;%b\r\nx\r\n" % (b"y" * 250) for _ in range(70)),
        )
    ),
    Refused("great trailers", C + b"0\r\n" + b"A: b\r\n" * 2_000, 431, "http.trailer-too-large"),
    Refused("a long target", b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "http.target-too-long"),
    Refused("a target without end", b"GET /" + b"a" * 9_000, 414, "http.target-too-long"),
    Refused("a method without end", b"G" * 9_000, 414, "http.target-too-long"),
    Refused("a great head", G + b"A: " + b"b" * 40_000 + b"\r\n\r\n", 431, "http.header-too-large"),
    Refused("a head without end", G + b"A: " + b"b" * 40_000, 431, "http.header-too-large"),
    Refused("many fields", G + b"A: b\r\n" * 100 + b"\r\n", 431, "http.header-too-many"),
    Refused("a great body", H + b"Content-Length: 2000000\r\n\r\n", 413, "http.body-too-large"),
    Refused("a great chunk", C + b"1f0000\r\n" + b"x" * 1_100_000, 413, "http.body-too-large"),
]

TAKEN = [
    Taken("no body", G + b"\r\n", "/a", b""),
    Taken("a body", H + b"Content-Length: 5\r\n\r\nhello", "/a", b"hello"),
    Taken("space around a value", H + b"Content-Length:\t 5 \t\r\n\r\nhello", "/a", b"hello"),
    Taken("leading zeros", H + b"Content-Length: 005\r\n\r\nhello", "/a", b"hello"),
    Taken("a length of nothing", H + b"Content-Length: 0\r\n\r\n", "/a", b""),
    Taken("chunks", C + b"5\r\nhello\r\nA\r\n, world...\r\n0\r\n\r\n", "/a", b"hello, world..."),
    Taken("chunked in capitals", H + b"transfer-ENCODING: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "/a", b"x"),
    Taken("extensions", C + b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n', "/a", b"hello"),
    Taken("trailers", C + b"5\r\nhello\r\n0\r\nDigest: x\r\nCookie: evil\r\n\r\n", "/a", b"hello"),
    Taken("empty lines first", b"\r\n\r\n\r\n" + G + b"\r\n", "/a", b""),
    Taken("a value beyond ASCII", G + b"A: \xe9\xff\r\n\r\n", "/a", b""),
    Taken("an empty value", G + b"A:\r\n\r\n", "/a", b""),
    Taken(
        "an encoded target",
        b"GET /a%2Fb/%2e%2e;c//d?x={y|z} HTTP/1.1\r\nHost: h\r\n\r\n",
        "/a%2Fb/%2e%2e;c//d?x={y|z}",
        b"",
    ),
    Taken("an absolute target", b"GET HTTP://other:81/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "/a?b", b""),
    Taken("an absolute target without path", b"GET http://other?b HTTP/1.1\r\nHost: h\r\n\r\n", "/?b", b""),
    Taken("OPTIONS for the server", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*", b""),
    Taken("another method", b"M-SEARCH /a HTTP/1.1\r\nHost: h\r\n\r\n", "/a", b""),
    Taken("HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n", "/a", b""),
    Taken("an expectation in HTTP/1.0", b"GET /a HTTP/1.0\r\nExpect: x\r\n\r\n", "/a", b""),
    Taken("IPv6", b"GET /a HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", "/a", b""),
    Taken(
        "an upgrade to h2c is ignored",
        H
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 2\r\n\r\nhi",
        "/a",
        b"hi",
    ),
]
