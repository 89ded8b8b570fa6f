"""A disk for SQLite that forgets what was not synced, and fails when told to.

It inherits from the real VFS, which keeps WAL's shared memory working, and keeps beside each file the image that a
power cut would leave. Directories are durable at once: SQLite syncs them itself where it creates a file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, Literal

import apsw

MAIN = apsw.SQLITE_OPEN_MAIN_DB
WAL = apsw.SQLITE_OPEN_WAL
SECTOR = 512
Call = Literal["open", "write", "truncate", "sync"]


class SimulatedVfs(apsw.VFS):
    """Use as a context manager; open databases with `vfs=disk.name`.

    Attributes:
        images: by path, what is durable.
        unsynced: by path, what was written since: the disk may have any part of it, in any order.
        calls: calls for main files and WALs so far that could fail.
        fail_at: the number of the call that fails, and those after it until `fail_for` of them have.
        failure: `EIO` or `ENOSPC`; with ENOSPC only writes count and fail.
        on_call: called before each call that counts.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, bytes] = {}
        self.unsynced: dict[str, list[tuple[int, bytes]]] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.fail_for = 1
        self.failure = errno.EIO
        self.failed = 0
        self.on_call: Callable[[], None] = lambda: None
        super().__init__(name, "")

    def __enter__(self) -> SimulatedVfs:
        return self

    def __exit__(self, *raised: object) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802  (apsw's)
        if flags[0] & (MAIN | WAL) and self.may_fail("open"):
            raise apsw.CantOpenError("simulated: the file cannot be opened")
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  (apsw's)
        super().xDelete(filename, syncdir)
        self.images.pop(filename, None)
        self.unsynced.pop(filename, None)

    def found(self, chance: Random | None = None) -> dict[str, bytes]:
        """What a machine finds by path that loses its power now; with `chance`, also of what was not synced."""
        images = dict(self.images)
        for path, written in self.unsynced.items() if chance is not None else ():
            assert chance is not None
            for offset, content in written:
                images[path] = _landed(images[path], offset, content, chance)
        return images

    def power_cut(self, folder: Path) -> None:
        """Leave in `folder` what a machine finds that lost its power now."""
        put(self.found(), folder)

    def may_fail(self, call: Call) -> bool:
        """Count a call; whether it is to fail."""
        if self.failure == errno.ENOSPC and call != "write":
            return False
        self.on_call()
        self.calls += 1
        if self.fail_at is None or not self.fail_at <= self.calls < self.fail_at + self.fail_for:
            return False
        self.failed += 1
        return True


def put(images: Mapping[str, bytes], folder: Path) -> None:
    """Write files that a machine finds."""
    folder.mkdir(exist_ok=True)
    for path, content in images.items():
        (folder / Path(path).name).write_bytes(content)


def _landed(image: bytes, offset: int, content: bytes, chance: Random) -> bytes:
    """A write that was not synced: it may be there, or not, or some of its sectors are."""
    kind = chance.random()
    if kind < 0.4:
        return image
    kept = bytearray(image.ljust(offset + len(content), b"\0"))
    for at in range(0, len(content), SECTOR):
        if kind < 0.8 or chance.random() < 0.5:
            kept[offset + at : offset + at + SECTOR] = content[at : at + SECTOR]
    return bytes(kept)


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
        if self._kept and self._disk.may_fail("write"):
            # The real disk takes a part of it: a torn write.
            self._write(bytes(content[: len(content) // 2]), offset)
            if self._disk.failure == errno.ENOSPC:
                raise apsw.FullError("simulated: the disk is full")
            raise apsw.IOError("simulated: the disk failed")
        self._write(bytes(content), offset)

    def _write(self, content: bytes, offset: int) -> None:
        super().xWrite(content, offset)
        if self._kept:
            self._disk.unsynced.setdefault(self._path, []).append((offset, content))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail("truncate"):
            raise apsw.IOError("simulated: the file cannot be cut")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail("sync"):
            raise apsw.IOError("simulated: the sync failed")
        super().xSync(flags)
        if self._kept:
            self._disk.images[self._path] = self._content()
            self._disk.unsynced.pop(self._path, None)

    def _content(self) -> bytes:
        size = self.xFileSize()
        return b"".join(self._pieces(size))

    def _pieces(self, size: int) -> Iterator[bytes]:
        for offset in range(0, size, 1 << 20):
            yield self.xRead(min(1 << 20, size - offset), offset)
