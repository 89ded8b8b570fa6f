"""The `Secrets` port over the sources that settings name: environment variables and files.

A source may hold several secrets, apart by white space: all are active, the first is the current one (rotation).
"""

from __future__ import annotations

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
        path = self._folder / Path(place).expanduser()
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def __repr__(self) -> str:
        return f"<SourcedSecrets of {len(self._sources)} names>"
