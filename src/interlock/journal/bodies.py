"""Payloads that are too large for the log: each in a file that is named by its hash, before the commit that claims it.

A file is written under another name, synced, renamed, and the folder is synced: what a commit refers to survives
whatever the commit survives. One content is one file. Which claims there are is the backend's to know.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256

from msgspec.structs import replace

from interlock.core import limits
from interlock.core.errors import StoreError
from interlock.core.event import Absence, Claim, Draft, Event
from interlock.core.ports import Files
from interlock.journal.ports import Collected
from interlock.journal.store import store_full

PARTIAL = ".partial"
"""Added to the name of a file until all of it is durable."""


class Bodies:
    """The files of one store. All that changes them is called by its one writer, so that nothing comes between."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._unsynced = False

    def keep(self, data: bytes, at: int) -> Claim:
        """Write a payload unless it is there; it is durable after `sync`.

        Raises:
            StoreError: `store.full`, `store.body-unwritten`.
        """
        claim = Claim.of(data)
        try:
            # A copy that was damaged is replaced. One whose name a crash may still take is synced with the others.
            self._unsynced = True
            if self._files.read(claim.hash) != data:
                self._write(claim.hash, data, at)
        except OSError as error:
            raise _unwritten(error) from error
        return claim

    def _write(self, name: str, data: bytes, at: int) -> None:
        partial = name + PARTIAL
        try:
            self._files.write(partial, data, at)
            self._files.sync(partial)
            self._files.rename(partial, name)
        except OSError:
            self._forget(partial)
            raise

    def _forget(self, name: str) -> bool:
        try:
            self._files.remove(name)
        except OSError:
            return False  # It is an orphan, and collected as one.
        return True

    def sync(self) -> None:
        """Make durable what was kept since the last time; nothing may be committed that refers to it before.

        Raises:
            StoreError: `store.full`, `store.body-unwritten`.
        """
        if not self._unsynced:
            return
        # If it fails, what was kept is refused: nothing refers to it, and nothing else has to wait for it.
        self._unsynced = False
        try:
            self._files.sync_folder()
        except OSError as error:
            raise _unwritten(error) from error

    def read(self, claim: Claim) -> bytes | Absence:
        """A payload, checked against its hash; or why it is not there."""
        try:
            data = self._files.read(claim.hash)
        except OSError:
            return "unreadable"
        if data is None:
            return "missing"
        return data if sha256(data).hexdigest() == claim.hash else "damaged"

    def whole(self, event: Event) -> Event:
        """The event with its payload; `absent` says why not."""
        if event.claim is None:
            return event
        data = self.read(event.claim)
        if isinstance(data, bytes):
            return replace(event, draft=replace(event.draft, data=data), claim=None)
        return replace(event, absent=data)

    def lost(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those of which no file of their size is there; what the files hold is not looked at.

        Raises:
            StoreError: `store.unreadable`; so do the two below.
        """
        there = self._names()
        return [claim for claim in claims if there.get(claim.hash, (-1, 0))[0] != claim.size]

    def old(self, before: int) -> list[str]:
        """Files that were written at or before an instant (µs)."""
        return [name for name, (_, at) in self._names().items() if at <= before]

    def remove(self, names: Collection[str]) -> Collected:
        """Remove files that nothing refers to. One that the disk does not let go is left for the next time."""
        sizes = self._names()
        files = size = 0
        for name in names:
            if name in sizes and self._forget(name):
                files, size = files + 1, size + sizes[name][0]
        return Collected(files, size)

    def _names(self) -> Mapping[str, tuple[int, int]]:
        try:
            return self._files.names()
        except OSError as error:
            raise StoreError(
                "store.unreadable",
                f"the folder of large payloads cannot be read ({error.strerror or type(error).__name__})",
                "see what the disk of the store says",
            ) from error


def is_large(draft: Draft) -> bool:
    """Whether a payload belongs in a file."""
    return len(draft.data) > limits.BODY_INLINE_BYTES_MAX


def claimed(draft: Draft) -> Draft:
    """A draft as the log has it when its payload is in a file."""
    return replace(draft, data=b"")


def _unwritten(error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return store_full()
    return StoreError(
        "store.body-unwritten",
        f"a payload above 64 KiB could not be made durable ({error.strerror or type(error).__name__}); nothing of the"
        " request was written",
        "see what the disk of the store says; small events are not concerned",
    )
