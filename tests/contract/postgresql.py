"""The PostgreSQL server of this machine, for tests: databases of their own, made and dropped.

It is the one of the Debian package, at its socket and at 127.0.0.1:5432, and lets `root` in without a password. Without
it the tests skip, and say so; where `CI` is set that is a failure.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

SOCKETS = "/var/run/postgresql"
SERVER = f"postgresql://root@localhost/postgres?host={SOCKETS}"


def ask(url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    """One statement, over a connection of its own."""

    async def asked() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    return asyncio.run(asked())


@contextmanager
def database(*, otherwise_skip: bool = True) -> Iterator[str]:
    """The url of a new database."""
    name = f"interlock_test_{secrets.token_hex(6)}"
    try:
        ask(SERVER, f'CREATE DATABASE "{name}"')
    except (OSError, TimeoutError) as error:
        if not otherwise_skip or os.environ.get("CI"):
            raise
        pytest.skip(f"there is no PostgreSQL at {SERVER}: {error}")
    try:
        yield SERVER.replace("/postgres?", f"/{name}?")
    finally:
        ask(SERVER, f'DROP DATABASE "{name}" WITH (FORCE)')
