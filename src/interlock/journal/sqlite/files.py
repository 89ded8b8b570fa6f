"""The `Files` port on a folder of the disk. The folder is made with its first file; this user alone may read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER_SUFFIX = ".bodies"
_NS_PER_US = 1_000


def bodies_folder(store: Path) -> Path:
    """Where the large payloads of a store are: beside it."""
    return store.with_name(store.name + FOLDER_SUFFIX)


class DiskFiles:
    """Files of one folder, 0600 each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, content: bytes, at: int) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync(self._folder.parent)
        path = self._folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(content)
        os.utime(path, ns=(at * _NS_PER_US, at * _NS_PER_US))

    def sync(self, name: str) -> None:
        sync(self._folder / name)

    def rename(self, name: str, to: str) -> None:
        (self._folder / name).replace(self._folder / to)

    def sync_folder(self) -> None:
        sync(self._folder)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            try:
                stat = path.lstat()
            except FileNotFoundError:  # It went while they were listed.
                continue
            found[path.name] = stat.st_size, stat.st_mtime_ns // _NS_PER_US
        return found

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
