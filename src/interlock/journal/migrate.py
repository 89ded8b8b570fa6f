"""Schema migrations: numbered, forward only, each in its own transaction and remembered with its checksum.

It decides what is to be applied. Reading the files and running SQL is the backend's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from interlock.core.errors import StoreError


class Migration(NamedTuple):
    """One step, from a file `NNN_name.sql`."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def parse_migrations(files: Mapping[str, str]) -> Sequence[Migration]:
    """Migrations from the contents of their files, by name; their numbers must run from 1 without a gap."""
    found = sorted(
        Migration(int(name[:3]), name[4:].removesuffix(".sql"), sql)
        for name, sql in files.items()
        if name.endswith(".sql")
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered from 1 without a gap: {sorted(files)}")
    return found


def pending(known: Sequence[Migration], applied: Mapping[int, str]) -> Sequence[Migration]:
    """The migrations still to be applied; `applied` has the checksums of those that were, by number.

    Raises:
        StoreError: `store.schema-newer`, `store.schema-changed`.
    """
    newest = max(applied, default=0)
    if newest > len(known):
        raise StoreError(
            "store.schema-newer",
            f"the store was written by a newer version (schema {newest}, this version knows {len(known)})",
            "install that version again, or restore a backup made before the upgrade",
        )
    for migration in known[:newest]:
        if applied.get(migration.number) != migration.checksum:
            raise StoreError(
                "store.schema-changed",
                f"migration {migration.number} ({migration.name}) differs from the one that was applied to this store",
                "install a released version; a migration never changes after its release",
            )
    return known[newest:]
