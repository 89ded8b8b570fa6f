"""Malformed requests over real sockets: each refused as problem+json with a code and a remedy, none with a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.project import Project, signed

HOST = b"host: 127.0.0.1\r\n"
END = b"connection: close\r\n\r\n"
DEEP = b'{"order":' * 2_000 + b"1" + b"}" * 2_000
EVENT = b'{"specversion":"1.0","id":"h","source":"/t","type":"order.paid@1","data":%s}'
BODIES = {
    "nothing": b"",
    "no json": b"{",
    "not a number": b'{"order":"o","cents":NaN}',
    "an endless number": b'{"order":"o","cents":1' + b"0" * 4_300 + b"}",
    "an exponent": b'{"order":"o","cents":1e999999999}',
    "deep nesting": DEEP,
    "a lone surrogate": b'{"order":"\\ud800","cents":1}',
    "no utf-8": b'{"order":"\xff\xfe","cents":1}',
    "a null byte": b'{"order":"\\u0000","cents":1}',
    "another type": b"[]",
    "another shape": b'{"order":1}',
}
REQUESTS = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n" + END,
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + END,
    "a host of somebody else": b"GET / HTTP/1.1\r\nhost: evil.example\r\n" + END,
    "two lengths": b"POST /hooks/shop HTTP/1.1\r\n"
    + HOST
    + b"content-length: 1\r\ncontent-length: 2\r\n"
    + END
    + b"ab",
    "length and chunks": (
        b"POST /hooks/shop HTTP/1.1\r\n"
        + HOST
        + b"content-length: 3\r\ntransfer-encoding: chunked\r\n"
        + END
        + b"0\r\n\r\n"
    ),
    "a length with a sign": b"POST /hooks/shop HTTP/1.1\r\n" + HOST + b"content-length: +1\r\n" + END + b"a",
    "a length of another script": (
        b"POST /hooks/shop HTTP/1.1\r\n" + HOST + "content-length: ١\r\n".encode() + END + b"a"
    ),
    "an endless length": b"POST /hooks/shop HTTP/1.1\r\n" + HOST + b"content-length: 1" + b"0" * 4_300 + b"\r\n" + END,
    "a chunk without a size": b"POST /hooks/shop HTTP/1.1\r\n"
    + HOST
    + b"transfer-encoding: chunked\r\n"
    + END
    + b"zz\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"x-a: 1\r\n 2\r\n" + END,
    "a null in a header": b"GET / HTTP/1.1\r\n" + HOST + b"x-a: \x00\r\n" + END,
    "a space before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"x-a : 1\r\n" + END,
    "a target of 20 KB": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + END,
    "headers of 200 KB": b"GET / HTTP/1.1\r\n" + HOST + b"x-a: " + b"a" * 200_000 + b"\r\n" + END,
    "five thousand headers": b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 5_000 + END,
    "an unknown path": b"GET /nowhere HTTP/1.1\r\n" + HOST + END,
    "an unknown method": b"BREW /hooks/shop HTTP/1.1\r\n" + HOST + END,
    "another version": b"GET / HTTP/3.7\r\n" + HOST + END,
    "a body that is too large": b"POST /hooks/shop HTTP/1.1\r\n" + HOST + b"content-length: 999999999\r\n" + END,
    "no signature": b"POST /hooks/shop HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n" + END + b"{}",
    "bare line feeds": b"GET / HTTP/1.1\nhost: 127.0.0.1\n\n",
}


def post(path: bytes, body: bytes, headers: dict[str, str]) -> bytes:
    """A request whose framing is right."""
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    length = f"content-length: {len(body)}\r\n".encode()
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + lines + length + END + body


def problem(answer: bytes) -> tuple[int, dict[str, Any]]:
    """The status, and the problem document that goes with it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert b"application/problem+json" in head, answer[:300]
    return status, json.loads(body)


def refused(answer: bytes) -> int:
    """See that an answer is a refusal as it should be; gives its status."""
    status, document = problem(answer)
    assert 400 <= status < 500, answer[:300]
    assert document["status"] == status
    assert document["code"]
    assert document["remedy"]
    return status


@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_is_refused_with_a_problem(shop: Project, name: str) -> None:
    refused(shop.raw(REQUESTS[name]))


@pytest.mark.parametrize("name", BODIES)
def test_an_event_with_a_malformed_payload_is_refused_and_not_stored(shop: Project, name: str) -> None:
    headers = {"authorization": f"Bearer {shop.token}", "content-type": "application/cloudevents+json"}
    refused(shop.raw(post(b"/events", EVENT % (BODIES[name] or b"-"), headers)))
    assert [row for row in shop.json("events", "ls", "-n", "200")["events"] if row["source_id"] == "h"] == []


@pytest.mark.parametrize("name", BODIES)
def test_a_verified_webhook_with_a_malformed_body_is_kept_or_refused_but_never_fails(shop: Project, name: str) -> None:
    body, id = BODIES[name], f"hostile-{name.replace(' ', '-')}"
    answer = shop.raw(post(b"/hooks/shop", body, signed(id, body)))
    status = int(answer.split(b" ", 2)[1])
    assert status == 202 or refused(answer)


def test_a_flipped_signature_is_refused(shop: Project) -> None:
    headers = signed("flipped", b'{"order":"o","cents":1}')
    assert refused(shop.raw(post(b"/hooks/shop", b'{"order":"o","cents":2}', headers))) == 401


def test_after_all_that_the_process_is_well(shop: Project) -> None:
    assert shop.hook("well", "o-well", 1) == 202
    assert shop.ask(f"{shop.control}/readyz", token="").status == 200
    wrong = {record["record"] for record in shop.records() if record["level"] == "error"}
    assert wrong <= {"webhook.poison"}
