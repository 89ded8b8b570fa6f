"""Where the running process can be reached: a small file beside the store, written at start and removed at the end.

A busy port moves to the next free one, so only the process knows. A file that was left behind by a crash is harmless:
whoever reads it finds nobody there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

FILE: Final = "process.json"


class Address(msgspec.Struct, frozen=True):
    """The two ports, as base URLs, and the process that serves them."""

    control: str
    data: str
    pid: int


def announce(folder: Path, address: Address) -> None:
    """Write the file, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{FILE}.{address.pid}"
    draft.write_bytes(msgspec.json.encode(address))
    draft.replace(folder / FILE)


def withdraw(folder: Path, pid: int) -> None:
    """Remove the file if it is still that of process `pid`."""
    found = announced(folder)
    if found is not None and found.pid == pid:
        (folder / FILE).unlink(missing_ok=True)


def announced(folder: Path) -> Address | None:
    """What the last start announced; None if nothing, or nothing readable."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None
