"""The `Secrets` port over the sources that settings name: environment variables and files.

A source may hold several secrets, apart by white space: all are active, the first is the current one (rotation).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from interlock.runtime.settings import Settings


class SourcedSecrets:
    """Secrets as they were at the last `reload`. It never shows one: not in `repr`, not in an error."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._sources = settings.secrets
        self._folder = settings.folder
        self._environment = environment
        self._active: dict[str, tuple[bytes, ...]] = {}
        self.empty: Sequence[str] = ()
        self.reload()

    def active(self, name: str) -> Sequence[bytes]:
        """Every active secret of that name, the current first; empty if it is unknown or its source holds nothing."""
        return self._active.get(name, ())

    def reload(self, sources: Mapping[str, str] | None = None) -> Sequence[str]:
        """Look at the sources again, or at others; names of secrets whose source holds nothing (also in `empty`)."""
        self._sources = self._sources if sources is None else sources
        self._active = {name: tuple(self._read(source).split()) for name, source in self._sources.items()}
        self.empty = [name for name, secrets in self._active.items() if not secrets]
        return self.empty

    def _read(self, source: str) -> bytes:
        kind, _, place = source.partition(":")
        if kind == "env":
            return self._environment.get(place, "").encode("utf-8", "surrogateescape")
        path = _path(self._folder, place)
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def __repr__(self) -> str:
        return f"<SourcedSecrets of {len(self._sources)} names>"


def secret_file(settings: Settings, source: str) -> Path | None:
    """The file that a source names; None for a source of another kind."""
    kind, _, place = source.partition(":")
    return _path(settings.folder, place) if kind == "file" else None


def write_secret(path: Path, secret: bytes) -> None:
    """Put a secret in a file that only its owner can read. It appears whole or not at all; its folder is made (0700).

    Raises:
        OSError: if the file cannot be written; the former one is then as it was.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _path(folder: Path, place: str) -> Path:
    return folder / Path(place).expanduser()
