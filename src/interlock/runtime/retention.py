"""The duty of retention: old segments go, files that nothing claims go, and who holds a stream that grows is told.

It runs where the store is written, under the fleet's lease, and never passes what a subscription has yet to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from interlock.core import limits
from interlock.core.errors import InterlockError
from interlock.core.ports import Clock, Emit
from interlock.journal.ports import Journal, Retention
from interlock.journal.views import StreamLine, Views
from interlock.spec.plan import StreamSpec

Level = Literal["ok", "near", "full"]


def level_of(line: StreamLine, bound: int) -> Level:
    """How a stream stands to its bound of bytes; `near` only where somebody holds what would otherwise go."""
    if line.full:
        return "full"
    near = line.bytes * 100 > bound * limits.RETENTION_ALERT_PERCENT
    return "near" if near and line.held_by else "ok"


class Keeper:
    """Looks at the streams once a minute.

    Args:
        streams: those of the plan, with their bounds.
        may_act: whether this process is the one to act: its lease is valid.
    """

    def __init__(
        self,
        journal: Journal,
        views: Views,
        streams: Sequence[StreamSpec],
        ports: tuple[Clock, Emit],
        may_act: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._views = views
        self._streams = {stream.name: stream for stream in streams}
        self._clock, self._emit = ports
        self._may_act = may_act
        self._levels: dict[str, Level] = {}
        self._next_at = 0

    def has_room(self, stream: str) -> bool:
        """Whether nobody holds the stream near its bound, as it was when it was last looked at."""
        return self._levels.get(stream, "ok") == "ok"

    async def look(self) -> None:
        """Retire what is due, at once where a stream is at its bound, and tell what has changed."""
        if not self._may_act():
            return
        now = self._clock.monotonic()
        due = now >= self._next_at
        try:
            lines = await self._views.streams()
            for line in lines:
                stream = self._streams.get(line.made.name)
                if stream is not None and (due or line.full or line.bytes > stream.keep_bytes):
                    await self._retire(stream)
            for line in await self._views.streams():
                if line.made.name in self._streams:
                    self._tell(line, self._streams[line.made.name].keep_bytes)
        except InterlockError as error:
            self._emit("retention.failed", stream="", code=error.code)
        if due:
            self._next_at = now + limits.RETENTION_EVERY_US
            await self._collect()

    async def _retire(self, stream: StreamSpec) -> None:
        try:
            count = await self._journal.retire(stream.name, Retention(stream.keep_us, stream.keep_bytes))
        except InterlockError as error:
            self._emit("retention.failed", stream=stream.name, code=error.code)
        else:
            if count:
                self._emit("retention.retired", stream=stream.name, count=count)

    def _tell(self, line: StreamLine, bound: int) -> None:
        name, level = line.made.name, level_of(line, bound)
        if level == self._levels.get(name, "ok"):
            return
        self._levels[name] = level
        size, by = line.bytes, ", ".join(line.held_by)
        match level:
            case "ok":
                self._emit("retention.ok", stream=name, bytes=size, bound=bound, held_by=by)
            case "near":
                self._emit("retention.near", stream=name, bytes=size, bound=bound, held_by=by)
            case "full":
                self._emit("retention.full", stream=name, bytes=size, bound=bound, held_by=by)

    async def _collect(self) -> None:
        try:
            gone = await self._journal.collect()
        except InterlockError as error:
            self._emit("bodies.uncollected", code=error.code)
        else:
            if gone.files:
                self._emit("bodies.collected", files=gone.files, bytes=gone.bytes)
