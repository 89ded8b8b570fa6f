"""The `Files` port in memory: it knows what a power cut leaves, and asks before each step whether that goes well."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from interlock.core.ports import Random


class _File:
    """What a file holds now, and what of it is durable: None before the first sync."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content = content
        self.at = at
        self.durable: bytes | None = None


class MemoryFiles:
    """A folder.

    Attributes:
        before: called with the name of each step that changes something; what it raises, the step raises.
    """

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._durable: dict[str, _File] = {}
        self.before: Callable[[str], None] = lambda _: None

    def write(self, name: str, content: bytes, at: int) -> None:
        self.before("write")
        self._files[name] = _File(content, at)

    def sync(self, name: str) -> None:
        self.before("sync")
        file = self._files[name]
        file.durable = file.content

    def rename(self, name: str, to: str) -> None:
        self.before("rename")
        self._files[to] = self._files.pop(name)

    def sync_folder(self) -> None:
        self.before("sync_folder")
        self._durable = dict(self._files)

    def read(self, name: str) -> bytes | None:
        file = self._files.get(name)
        return None if file is None else file.content

    def names(self) -> Mapping[str, tuple[int, int]]:
        return {name: (len(file.content), file.at) for name, file in self._files.items()}

    def remove(self, name: str) -> None:
        self.before("remove")
        self._files.pop(name, None)

    def durable(self, name: str) -> bytes | None:
        """What a power cut would leave of a file for certain."""
        file = self._durable.get(name)
        return None if file is None else file.durable

    def power_cut(self, random: Random) -> None:
        """Lose what was not synced: of names either what was or what is, of contents any beginning."""
        left: dict[str, _File] = {}
        for name in sorted({*self._files, *self._durable}):
            file = (self._files if random.uniform(0, 1) < 0.5 else self._durable).get(name)
            if file is not None:
                if file.durable is None:
                    file.content = file.content[: int(random.uniform(0, len(file.content)))]
                file.durable = file.content
                left[name] = file
        self._files, self._durable = left, dict(left)

    def damage(self, name: str) -> None:
        """Turn one bit of a file over, as a disk may."""
        file = self._files[name]
        file.content = file.durable = bytes([file.content[0] ^ 1]) + file.content[1:]
