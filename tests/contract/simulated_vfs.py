"""A disk for SQLite that forgets what was not synced, and fails when told to.

It inherits from the real VFS, which keeps WAL's shared memory working, and keeps beside each file the image that a
power cut would leave. Directories are durable at once: SQLite syncs them itself where it creates a file.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

MAIN = apsw.SQLITE_OPEN_MAIN_DB
WAL = apsw.SQLITE_OPEN_WAL


class SimulatedVfs(apsw.VFS):
    """Use as a context manager; open databases with `vfs=disk.name`.

    Attributes:
        images: by path, what is durable.
        writes: writes and syncs of main files and WALs so far that could fail.
        fail_at: the number of the write or sync that fails, and those after it until `fail_for` of them have.
        failure: `EIO` or `ENOSPC`; with ENOSPC only writes count and fail.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, bytes] = {}
        self.writes = 0
        self.fail_at: int | None = None
        self.fail_for = 1
        self.failure = errno.EIO
        self.failed = 0
        super().__init__(name, "")

    def __enter__(self) -> SimulatedVfs:
        return self

    def __exit__(self, *raised: object) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  (apsw's)
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  (apsw's)
        super().xDelete(filename, syncdir)
        self.images.pop(filename, None)

    def power_cut(self, folder: Path) -> None:
        """Leave in `folder` what a machine finds that lost its power now."""
        folder.mkdir(exist_ok=True)
        for path, content in self.images.items():
            (folder / Path(path).name).write_bytes(content)

    def may_fail(self, *, sync: bool) -> bool:
        """Count a write or a sync; whether it is to fail."""
        if sync and self.failure == errno.ENOSPC:
            return False
        self.writes += 1
        if self.fail_at is None or not self.fail_at <= self.writes < self.fail_at + self.fail_for:
            return False
        self.failed += 1
        return True


class _File(apsw.VFSFile):
    """A file of the real VFS; main files and WALs have a durable image, which a sync brings up to date."""

    def __init__(self, disk: SimulatedVfs, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._kept = bool(flags[0] & (MAIN | WAL))
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("", name, flags)
        if self._kept:
            disk.images.setdefault(self._path, b"")

    def xWrite(self, content: bytes, offset: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail(sync=False):
            # The real disk takes a part of it: a torn write.
            super().xWrite(bytes(content[: len(content) // 2]), offset)
            if self._disk.failure == errno.ENOSPC:
                raise apsw.FullError("simulated: the disk is full")
            raise apsw.IOError("simulated: the disk failed")
        super().xWrite(content, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail(sync=True):
            raise apsw.IOError("simulated: the sync failed")
        super().xSync(flags)
        if self._kept:
            self._disk.images[self._path] = self._content()

    def _content(self) -> bytes:
        size = self.xFileSize()
        return b"".join(self._pieces(size))

    def _pieces(self, size: int) -> Iterator[bytes]:
        for offset in range(0, size, 1 << 20):
            yield self.xRead(min(1 << 20, size - offset), offset)
