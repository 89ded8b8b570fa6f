"""Addresses of databases: what they say, and what they must not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.spec.database import NoAddress, PostgresAddress, SqliteAddress, database_address, url_secret

ADDRESSES = {
    "sqlite:///ledger.db": SqliteAddress("ledger.db"),
    "sqlite:////var/lib/ledger.db": SqliteAddress("/var/lib/ledger.db"),
    "postgresql://app:secret:ledger.password@db.example/books": PostgresAddress(
        "db.example", 5432, "app", "ledger.password", "books", "verify-full"
    ),
    "postgresql://app@db.example:6432/books?sslmode=require": PostgresAddress(
        "db.example", 6432, "app", None, "books", "require"
    ),
    "postgresql://127.0.0.1/books": PostgresAddress("127.0.0.1", 5432, None, None, "books", "disable"),
    "postgresql:///books?host=/run/postgresql": PostgresAddress(
        "/run/postgresql", 5432, None, None, "books", "disable"
    ),
    "postgresql://a%40b@h/x%20y": PostgresAddress("h", 5432, "a@b", None, "x y", "verify-full"),
}
FAULTS = {
    "": "it does not begin with postgresql:// or sqlite:///",
    "sqlite:///": "it names no file",
    "postgres://h/d": "it does not begin with postgresql:// or sqlite:///",
    "postgresql://h": "it does not name a host, a port and a database",
    "postgresql:///d": "it does not name a host, a port and a database",
    "postgresql://h:0/d": "it does not name a host, a port and a database",
    "postgresql://h/d/e": "it does not name a host, a port and a database",
    "postgresql://h:99999/d": "it cannot be read",
    "postgresql://h/d?sslmode=prefer": "its sslmode is none of disable, require, verify-full",
    "postgresql://h/d?target_session_attrs=any": "it says more than host and sslmode after its question mark",
}


@pytest.mark.parametrize(("url", "address"), ADDRESSES.items())
def test_an_address_says_where_the_database_is_and_is_encrypted_unless_it_is_near(url: str, address: object):
    assert database_address(url) == address


@pytest.mark.parametrize(("url", "why"), FAULTS.items())
def test_what_is_no_address_is_told_why(url: str, why: str):
    assert database_address(url) == NoAddress(why)


@pytest.mark.parametrize("url", ["postgresql://u:p@h/d", "postgresql://u:@h/d", "postgresql://h/d?password=p"])
def test_a_password_in_clear_text_is_a_secret_in_the_wrong_place(url: str):
    found = database_address(url)
    assert isinstance(found, NoAddress)
    assert found.is_secret


def test_an_address_names_its_secret():
    assert url_secret("postgresql://u:secret:a.b@h/d") == "a.b"
    assert url_secret("https://u:secret:a.b@h/d") is None


@given(st.text(max_size=60) | st.text(max_size=40).map("postgresql://{}".format))
def test_any_text_is_an_address_or_a_reason(url: str):
    assert database_address(url)
