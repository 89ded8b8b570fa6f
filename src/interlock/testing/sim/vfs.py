"""A disk for SQLite that forgets what was not synced, and fails when told to.

It inherits from the real VFS, which keeps WAL's shared memory working, and keeps beside each file the image that a
power cut would leave. Directories are durable at once: SQLite syncs them itself where it creates a file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

import apsw

MAIN = apsw.SQLITE_OPEN_MAIN_DB
WAL = apsw.SQLITE_OPEN_WAL
SECTOR = 512
Call = Literal["open", "write", "truncate", "sync"]


class Change(NamedTuple):
    """What a disk was asked for and has not synced: to write at an offset, or, without content, to cut there."""

    offset: int
    content: bytes | None


class SimulatedVfs(apsw.VFS):
    """Use as a context manager; open databases with `vfs=disk.name`.

    Attributes:
        images: by path, what is durable.
        unsynced: by path, what was asked for since: the disk may have any part of it, in any order.
        calls: calls for main files and WALs so far that could fail.
        fail_at: the number of the call that fails, and those after it until `fail_for` of them have.
        failure: `EIO` or `ENOSPC`; with ENOSPC only writes count and fail.
        only: calls of this kind count and fail; None for all of them.
        on_call: called before each call that counts.
        on_failure: called when one fails.
    """

    def __init__(self, name: str, chance: Random | None = None) -> None:
        self.name = name
        self.images: dict[str, bytearray] = {}
        self.unsynced: dict[str, list[Change]] = {}
        self.calls = 0
        self.fail_at: int | None = None
        self.fail_for = 1
        self.failure = errno.EIO
        self.only: Call | None = None
        self.failed = 0
        self.on_call: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self._chance = chance or Random(name)
        self._unseen = False
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
        images = {path: bytearray(image) for path, image in self.images.items()}
        for path, changes in self.unsynced.items() if chance is not None else ():
            assert chance is not None
            for change in changes:
                _land(images[path], change, chance)
        return {path: bytes(image) for path, image in images.items()}

    def kept(self) -> dict[str, bytes]:
        """What a process finds by path that starts when another has died now: the system has what it was given."""
        images = {path: bytearray(image) for path, image in self.images.items()}
        for path, changes in self.unsynced.items():
            for change in changes:
                _make(images[path], change)
        return {path: bytes(image) for path, image in images.items()}

    @contextmanager
    def unseen(self) -> Generator[None]:
        """Within the block no call counts and none fails: somebody looks who is not part of what is simulated."""
        self._unseen = True
        try:
            yield
        finally:
            self._unseen = False

    def power_cut(self, folder: Path) -> None:
        """Leave in `folder` what a machine finds that lost its power now."""
        put(self.found(), folder)

    def restart(self, images: Mapping[str, bytes]) -> None:
        """Go on with files of these contents, all of it durable. Nothing may have a file open."""
        for path in {*self.images, *images}:
            Path(path).unlink(missing_ok=True)
            Path(f"{path}-shm").unlink(missing_ok=True)
        for path, content in images.items():
            Path(path).write_bytes(content)
        self.images = {path: bytearray(content) for path, content in images.items()}
        self.unsynced = {}

    def fail(self, failure: int, at: int, count: int = 1) -> None:
        """Let so many calls fail, the first of them the `at`-th from now on."""
        self.failure, self.fail_at, self.fail_for = failure, self.calls + at, count

    def may_fail(self, call: Call) -> bool:
        """Count a call; whether it is to fail."""
        only = "write" if self.failure == errno.ENOSPC else self.only
        if self._unseen or (only is not None and call != only):
            return False
        self.on_call()
        self.calls += 1
        if self.fail_at is None or not self.fail_at <= self.calls < self.fail_at + self.fail_for:
            return False
        self.failed += 1
        self.on_failure()
        return True

    def opened(self, path: str) -> None:
        """A file that was there before counts as durable."""
        if path not in self.images:
            self.images[path] = bytearray(Path(path).read_bytes())

    def changed(self, path: str, change: Change) -> None:
        self.unsynced.setdefault(path, []).append(change)

    def synced(self, path: str) -> None:
        for change in self.unsynced.pop(path, ()):
            _make(self.images[path], change)

    def sync_failed(self, path: str) -> None:
        """As kernels do: what was to be synced counts as clean, whether or not the disk has got it."""
        for change in self.unsynced.pop(path, ()):
            _land(self.images[path], change, self._chance)


def put(images: Mapping[str, bytes], folder: Path) -> None:
    """Write files that a machine finds."""
    folder.mkdir(exist_ok=True)
    for path, content in images.items():
        (folder / Path(path).name).write_bytes(content)


def _make(image: bytearray, change: Change) -> None:
    if change.content is None:
        del image[change.offset :]
        return
    end = change.offset + len(change.content)
    if len(image) < change.offset:
        image.extend(bytes(change.offset - len(image)))
    image[change.offset : end] = change.content


def _land(image: bytearray, change: Change, chance: Random) -> None:
    """A change that was not synced: it may be there, or not, or some of its sectors are."""
    kind = chance.random()
    if kind < 0.4:
        return
    if kind < 0.8 or change.content is None:
        _make(image, change)
        return
    if len(image) < (end := change.offset + len(change.content)):
        image.extend(bytes(end - len(image)))
    for at in range(0, len(change.content), SECTOR):
        if chance.random() < 0.5:
            _make(image, Change(change.offset + at, change.content[at : at + SECTOR]))


class _File(apsw.VFSFile):
    """A file of the real VFS; main files and WALs have a durable image, which a sync brings up to date."""

    def __init__(self, disk: SimulatedVfs, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._kept = bool(flags[0] & (MAIN | WAL))
        self._path: str = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("", name, flags)
        if self._kept:
            disk.opened(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail("write"):
            # The real disk takes a part of it: a torn write.
            self._write(bytes(data[: len(data) // 2]), offset)
            if self._disk.failure == errno.ENOSPC:
                raise apsw.FullError("simulated: the disk is full")
            raise apsw.IOError("simulated: the disk failed")
        self._write(bytes(data), offset)

    def _write(self, content: bytes, offset: int) -> None:
        file: Any = super()  # apsw's stubs leave the type of what is written open.
        file.xWrite(content, offset)
        if self._kept:
            self._disk.changed(self._path, Change(offset, content))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  (apsw's)
        if self._kept and self._disk.may_fail("truncate"):
            raise apsw.IOError("simulated: the file cannot be cut")
        super().xTruncate(newsize)
        if self._kept:
            self._disk.changed(self._path, Change(newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802  (apsw's)
        """What the real disk has is nobody's concern: it is not synced, and so costs no time."""
        if not self._kept:
            return
        if self._disk.may_fail("sync"):
            self._disk.sync_failed(self._path)
            raise apsw.IOError("simulated: the sync failed")
        self._disk.synced(self._path)
