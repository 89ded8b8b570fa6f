"""Addresses of databases: `postgresql://user:secret:NAME@host:5432/database` and `sqlite:///path`. Pure.

A password stands in an address by the name of its secret only.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from interlock.core.limits import POSTGRESQL_PORT

_MARK: Final = "secret:"
_SQLITE: Final = "sqlite:///"
SSL_MODES: Final = ("disable", "require", "verify-full")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class SqliteAddress(NamedTuple):
    """A file."""

    path: str


class PostgresAddress(NamedTuple):
    """A database of a server. `host` may be the folder of its socket; `secret` names the password, if there is one."""

    host: str
    port: int
    user: str | None
    secret: str | None
    database: str
    ssl_mode: str


class NoAddress(NamedTuple):
    """Why a text is no address of a database; `is_secret` if it holds a password in clear text."""

    why: str
    is_secret: bool = False


def database_address(url: str) -> SqliteAddress | PostgresAddress | NoAddress:
    """What an address says."""
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        return SqliteAddress(path) if path else NoAddress("it names no file")
    try:
        parts = urlsplit(url)
        port = POSTGRESQL_PORT if parts.port is None else parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return NoAddress("it cannot be read")
    if parts.scheme != "postgresql":
        return NoAddress("it does not begin with postgresql:// or sqlite:///")
    if parts.password is not None and not parts.password.startswith(_MARK):
        return NoAddress("it holds a password", is_secret=True)
    if "password" in query:
        return NoAddress("it holds a password", is_secret=True)
    if not query.keys() <= {"host", "sslmode"} or parts.fragment:
        return NoAddress("it says more than host and sslmode after its question mark")
    host = query["host"][0] if "host" in query else parts.hostname
    database = unquote(parts.path.removeprefix("/"))
    if not host or not database or "/" in database or not port:
        return NoAddress("it does not name a host, a port and a database")
    is_near = host in _LOOPBACK or host.startswith("/")
    ssl_mode = query["sslmode"][0] if "sslmode" in query else "disable" if is_near else "verify-full"
    if ssl_mode not in SSL_MODES:
        return NoAddress(f"its sslmode is none of {', '.join(SSL_MODES)}")
    user = unquote(parts.username) if parts.username else None
    secret = parts.password.removeprefix(_MARK) if parts.password else None
    return PostgresAddress(host, port, user, secret, database, ssl_mode)


def url_secret(url: str) -> str | None:
    """The name of the secret in an address, if there is one."""
    address = database_address(url)
    return address.secret if isinstance(address, PostgresAddress) else None
