"""From a binding to its database: which backend it is. Nothing is opened before the first transaction."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from interlock.core.errors import SpecError
from interlock.core.ports import Clock, Offload, Secrets
from interlock.spec.database import NoAddress, SqliteAddress, database_address
from interlock.spec.plan import HttpBinding
from interlock.systems.postgres import PostgresDatabase, PostgresTerms
from interlock.systems.sql import Database
from interlock.systems.sqlite import SqliteDatabase, connect


class Ports(Protocol):
    """What databases need of the world."""

    @property
    def clock(self) -> Clock: ...
    @property
    def offload(self) -> Offload: ...
    @property
    def secrets(self) -> Secrets: ...


def database_of(system: str, binding: HttpBinding, ports: Ports) -> Database:
    """The database that a System is bound to.

    Raises:
        SpecError: `system.url-invalid`, `system.driver-missing`.
    """
    address = database_address(binding.url)
    if isinstance(address, NoAddress):
        raise SpecError(
            "system.url-invalid",
            f"the address of {system} cannot be used: {address.why}",
            f'give [systems."{system}"] url = "postgresql://user:secret:NAME@host/database" or "sqlite:///path"',
        )
    if isinstance(address, SqliteAddress):
        return SqliteDatabase(partial(connect, address.path), ports.offload, ports.clock)
    terms = PostgresTerms(system, address, binding.deadline_us, binding.connect_us)
    return PostgresDatabase(terms, ports.clock, ports.secrets)
