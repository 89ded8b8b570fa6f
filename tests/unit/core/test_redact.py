"""What people may see of requests and answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.limits import EXCERPT_BYTES_MAX
from interlock.core.redact import REDACTED, excerpt, is_secret_name, redacted_headers, redacted_text


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "cookie", "Set-Cookie", "x-api-key", "X-API-Key",
        "apikey", "webhook-signature",
        "x-hub-signature-256", "x-auth-token", "access_token", "client_secret", "password", "passwd", "private-key",
    ],
)  # fmt: skip
def test_names_under_which_secrets_stand_are_known(name: str):
    assert is_secret_name(name)
    assert redacted_headers([(name, "v4lue")]) == [(name, REDACTED)]


@pytest.mark.parametrize("name", ["idempotency-key", "content-type", "x-order", "traceparent", "key", "etag", "author"])
def test_other_names_are_shown(name: str):
    assert not is_secret_name(name)
    assert redacted_headers([(name, "v4lue")]) == [(name, "v4lue")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p4ss@host/x?token=abc&page=2", f"https://{REDACTED}@host/x?token={REDACTED}&page=2"),
        ('{"password":"a\\"b","n":1}', f'{{"password":"{REDACTED}","n":1}}'),
        ('{"api_key" : 12345, "n":1}', f'{{"api_key" : "{REDACTED}", "n":1}}'),
        ('{"token":{"id":"x"}}', '{"token":{"id":"x"}}'),
        ('{"client_secret":"cut of', f'{{"client_secret":"{REDACTED}"'),
        ("grant=x&client_secret=abc&scope=y", f"grant=x&client_secret={REDACTED}&scope=y"),
        ("sent Bearer abc.def and more", f"sent Bearer {REDACTED} and more"),
        ("whsec_abcDEF+/= is it", f"{REDACTED} is it"),
        ("a plain sentence with mail@example.org", "a plain sentence with mail@example.org"),
    ],
)
def test_secrets_inside_texts_go_and_the_rest_stays(text: str, shown: str):
    assert redacted_text(text) == shown


def test_a_secret_that_the_cut_would_split_is_seen_whole():
    body = b"x" * (EXCERPT_BYTES_MAX - 30) + b"hunter2hunter2hunter2hunter2hunter2hunter2"
    assert "hunter2" not in excerpt("500", (), body, ["hunter2hunter2hunter2hunter2hunter2hunter2"])


@given(st.text(), st.lists(st.tuples(st.text(), st.text())), st.binary())
def test_an_excerpt_of_anything_is_valid_and_bounded(line: str, headers: list[tuple[str, str]], body: bytes):
    shown = excerpt(line, headers, body)
    assert len(shown.encode("utf-8", "replace")) <= EXCERPT_BYTES_MAX


@pytest.mark.parametrize("unit", ['"', '"a"', '"a" ', "a", "a=", '"a":"\\', "://", "Bearer ", '{"', " "])
def test_hostile_bodies_take_no_more_time_than_their_length(unit: str):
    body = (unit * EXCERPT_BYTES_MAX)[: 2 * EXCERPT_BYTES_MAX].encode()
    assert excerpt("500", (), body)
