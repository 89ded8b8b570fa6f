"""Addresses, paths, parameters and fields that user code builds from what came from outside."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import InterlockError, SpecError
from interlock.core.limits import TARGET_BYTES_MAX
from interlock.systems.target import Address, address, fields, joined

RESERVED = frozenset({"authorization", "host"})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://crm.example", Address(True, "crm.example", 443, "")),
        ("http://crm.example/", Address(False, "crm.example", 80, "")),
        ("https://crm.example:8443/api/v1/", Address(True, "crm.example", 8443, "/api/v1")),
        ("http://[2001:db8::1]:8080/x", Address(False, "2001:db8::1", 8080, "/x")),
        ("http://127.0.0.1:9000", Address(False, "127.0.0.1", 9000, "")),
        ("https://bücher.example/", Address(True, "xn--bcher-kva.example", 443, "")),
    ],
)
def test_an_address_is_read_from_the_binding(url: str, expected: Address):
    assert address("shop.crm", url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "crm.example", "ftp://crm.example", "https://", "https:///x",
        "https://u:p@crm.example", "https://u@crm.example",
        "https://crm.example?x=1", "https://crm.example/#f", "https://crm.example:99999", "https://crm.example:0",
        "https://crm.example:8_0", "https://crm.example/a/../b", "https://crm.example/a b",
        "https://[::1", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_an_address_that_is_none_or_holds_more_than_one_is_refused(url: str):
    with pytest.raises(SpecError, match=r"system\.url-invalid"):
        address("shop.crm", url)


@pytest.mark.parametrize(
    ("path", "params", "target"),
    [
        ("/orders", None, "/api/orders"),
        ("/", None, "/api/"),
        ("/orders?page=2", None, "/api/orders?page=2"),
        ("/orders", {"q": "a b&c=d", "ü": "€"}, "/api/orders?q=a%20b%26c%3Dd&%C3%BC=%E2%82%AC"),
        ("/orders?page=2", {"q": "x"}, "/api/orders?page=2&q=x"),
        ("/bücher/€", None, "/api/b%C3%BCcher/%E2%82%AC"),
        ("/a%2Fb/c%20d", None, "/api/a%2Fb/c%20d"),
        ("/files/report.v1.2.pdf", None, "/api/files/report.v1.2.pdf"),
        ("/a/...", None, "/api/a/..."),
        ("/time/12:30;v=1@x", None, "/api/time/12:30;v=1@x"),
    ],
)
def test_a_path_is_put_behind_the_prefix(path: str, params: dict[str, str] | None, target: str):
    assert joined("/api", path, params) == target


@pytest.mark.parametrize(
    "path",
    [
        "", "orders", "?x=1", "//evil.example/x", "http://evil.example/", "/../admin",
        "/a/../../admin", "/a/..", "/.", "/./a",
        "/%2e%2e/admin", "/a/%2E%2e", "/%252e%252e/admin", "/a/..%2f..%2fadmin", "/..;/admin",
        "/a/..;x=1/b", "/..%5cadmin",
        "/a\\..\\b", "/a b", "/a\r\nx: y", "/a\nb", "/a\tb", "/a\0b", "/a#b", "/a%", "/a%2",
        "/a%zz", "/a?b c", "/a?b\r\n", "/a?b#c",
        "/a\x7f", "/a<b>", '/a"b', "/a{b}", "/a|b", "/a^b", "/a\ud800", "/?\udfff", "/a`b",
        "/a[b]", "@evil.example/", "/" + "x" * TARGET_BYTES_MAX,
    ],
)  # fmt: skip
def test_a_path_that_could_leave_the_prefix_or_break_the_request_is_refused(path: str):
    with pytest.raises(InterlockError, match=r"call\.path-invalid"):
        joined("/api", path)


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3))
def test_whatever_stands_in_a_path_the_target_stays_below_the_prefix(text: str, params: dict[str, str]):
    for path in ("/" + text, "/orders/" + quote(text, safe="", errors="replace"), text):
        try:
            target = joined("/api", path, params)
        except InterlockError:
            continue
        assert target.startswith("/api/")
        assert target.isascii()
        assert target.isprintable()
        assert " " not in target
        parts = urlsplit("https://crm.example" + target)
        assert parts.netloc == "crm.example"
        assert not {".", ".."} & set(parts.path.split("/"))


def test_fields_are_taken_in_lower_case():
    assert fields({"X-Order": "17", "Accept": "a/b, c/d;q=0.5", "X-Empty": ""}, RESERVED) == (
        ("x-order", "17"),
        ("accept", "a/b, c/d;q=0.5"),
        ("x-empty", ""),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "b\r\nX-Evil: 1"), ("X-A", "b\nc"), ("X-A", "b\0"), ("X-A", " b"), ("X-A", "b "),
        ("X-A", "b\x7f"), ("X-A", "€"),
        ("X-A\r\nX-B", "1"), ("X A", "1"), ("X-A:", "1"), ("", "1"), ("Xä", "1"), ("X-A\n", "1"),
    ],
)  # fmt: skip
def test_a_field_that_could_begin_another_is_refused(name: str, value: str):
    with pytest.raises(InterlockError, match=r"call\.header-invalid"):
        fields({name: value}, RESERVED)


@pytest.mark.parametrize("name", ["Authorization", "HOST", "host"])
def test_a_field_that_is_not_the_callers_is_refused(name: str):
    with pytest.raises(InterlockError, match=r"call\.header-reserved"):
        fields({name: "x"}, RESERVED)


def test_a_flood_of_fields_is_refused():
    with pytest.raises(InterlockError, match=r"call\.header-invalid"):
        fields({f"x-{number}": "1" for number in range(101)}, RESERVED)
