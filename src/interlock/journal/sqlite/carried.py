"""Large payloads in a backup: a copy of a store carries them in a table of its own, so that a backup is one file.

They are put back where they belong when the copy becomes a store.
"""

from __future__ import annotations

from interlock.core.event import Claim
from interlock.journal.bodies import Bodies
from interlock.journal.sqlite.connection import Connection

_CLAIMED = "SELECT hash, max(size) FROM bodies GROUP BY hash ORDER BY hash"


def claims(connection: Connection) -> list[Claim]:
    """Every large payload that the store refers to, once."""
    return [Claim(*row) for row in connection.execute(_CLAIMED)] if _has(connection, "bodies") else []


def is_claimed(connection: Connection, claim: Claim) -> bool:
    """Whether a store refers to a payload."""
    query = "SELECT EXISTS (SELECT 1 FROM bodies WHERE hash = ?)"
    return bool(next(iter(connection.execute(query, (claim.hash,))))[0])


def carry(connection: Connection, bodies: Bodies) -> list[Claim]:
    """Put all payloads that a copy refers to into it; those that are not whole in their files are given back."""
    lost: list[Claim] = []
    wanted = claims(connection)
    if not wanted:
        return lost
    with connection:
        connection.execute("CREATE TABLE carried (hash TEXT NOT NULL UNIQUE, data BLOB NOT NULL)")
        for claim in wanted:
            data = bodies.read(claim)
            if isinstance(data, bytes):
                connection.execute("INSERT INTO carried VALUES (?, ?)", (claim.hash, data))
            else:
                lost.append(claim)
    return lost


def carries(connection: Connection) -> bool:
    """Whether this is a copy that carries payloads."""
    return _has(connection, "carried")


def damaged(connection: Connection) -> list[Claim]:
    """Payloads that a copy refers to and does not carry as they were accepted."""
    return [claim for claim in claims(connection) if Claim.of(_carried(connection, claim)) != claim]


def unpack(connection: Connection, bodies: Bodies, now: int) -> bool:
    """Write what a copy carries into files, durably, and take it out of the copy; whether it carried anything.

    Raises:
        StoreError: `store.full`, `store.body-unwritten`.
    """
    if not carries(connection):
        return False
    for (digest,) in list(connection.execute("SELECT hash FROM carried")):
        bodies.keep(_carried(connection, Claim(digest, 0)), now)
    bodies.sync()
    connection.execute("DROP TABLE carried")
    return True


def bring(connection: Connection, source: Bodies, bodies: Bodies, now: int) -> None:
    """Copy what a store refers to from the folder of another one; what is not whole there stays lost.

    Raises:
        StoreError: `store.full`, `store.body-unwritten`.
    """
    for claim in claims(connection):
        data = source.read(claim)
        if isinstance(data, bytes):
            bodies.keep(data, now)
    bodies.sync()


def _carried(connection: Connection, claim: Claim) -> bytes:
    query = "SELECT data FROM carried WHERE hash = ?"
    return next((data for (data,) in connection.execute(query, (claim.hash,))), b"")


def _has(connection: Connection, table: str) -> bool:
    return bool(list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,))))
