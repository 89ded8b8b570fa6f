"""The cells that concern Systems and schedules: what a person has set, and what breakers tell each other.

It moves values between the store and those who act on them. What they mean is decided there. Cells of lanes are the
fleet's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from interlock.core import limits
from interlock.core.controls import (
    SCHEDULE_CONTROL_PREFIX,
    SYSTEM_CONTROL_PREFIX,
    Control,
    decode_control,
    schedule_control_key,
    system_control_key,
)
from interlock.core.errors import InterlockError
from interlock.core.ports import Clock, Emit
from interlock.journal.ports import Cell, Cells, CellWrite, Store
from interlock.systems.registry import BREAKER_CELLS, Systems

_PREFIXES: Final = (SYSTEM_CONTROL_PREFIX, BREAKER_CELLS)


class SystemCells:
    """Keeps the Systems of one process in step with their cells.

    Args:
        names: the Systems of the plan; cells of others are left alone.
        spawn: runs what has to be awaited.
    """

    def __init__(
        self,
        names: Sequence[str],
        systems: Systems,
        store: Store,
        ports: tuple[Clock, Emit],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._names = names
        self._systems = systems
        self._store = store
        self._clock, self._emit = ports
        self._spawn = spawn
        self._acted_on: dict[str, int] = {}
        self._told: dict[str, bytes] = {}
        systems.on_turn(lambda name, value: spawn(self._tell(name, value)))

    async def start(self) -> None:
        """Apply what the store has of every System.

        Raises:
            InterlockError: `control.unreadable`; a `StoreError` if the store cannot be read.
        """
        await self._read([key for name in self._names for key in (system_control_key(name), BREAKER_CELLS + name)])

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have a new version: those of Systems are read again."""
        keys = [key for key in cells if key.startswith(_PREFIXES)]
        if keys:
            self._spawn(self._read(keys))

    def acted_on(self, cell: str) -> int:
        """The version of a System's control cell that this process acts on; 0 before the first."""
        return self._acted_on.get(cell, 0)

    async def _read(self, keys: Sequence[str]) -> None:
        found = await self._store.get(keys)
        for key in keys:
            cell = found.get(key)
            name = key.partition(SYSTEM_CONTROL_PREFIX)[2]
            if name:
                self._control(name, key, cell)
            elif cell is not None:
                self._adopt(key.removeprefix(BREAKER_CELLS), cell)

    def _control(self, name: str, key: str, cell: Cell | None) -> None:
        version = cell.version if cell else 0
        # Two reads of one cell may end in the other order.
        if name in self._names and not 0 < version < self.acted_on(key):
            self._systems.control(name, decode_control(cell.value) if cell else Control())
            self._acted_on[key] = version

    def _adopt(self, name: str, cell: Cell) -> None:
        if name in self._names and cell.value != self._told.get(name):
            self._systems.adopt(name, cell.value)

    async def _tell(self, name: str, value: bytes) -> None:
        """A breaker's transition, for the other processes and for this one after a restart."""
        self._told[name] = value
        expires_at = self._clock.now() + limits.BREAKER_CELL_US
        try:
            await self._store.put([CellWrite(BREAKER_CELLS + name, value, expires_at=expires_at)])
        except InterlockError as error:
            self._emit("breaker.untold", system=name, code=error.code)


class ScheduleCells:
    """Which schedules a person has paused.

    Args:
        names: the schedules of the plan.
        spawn: runs what has to be awaited.
    """

    def __init__(self, names: Sequence[str], spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._keys = {schedule_control_key(name): name for name in names}
        self._spawn = spawn
        self._cells: Cells | None = None
        self._paused: set[str] = set()
        self._acted_on: dict[str, int] = {}

    async def start(self, cells: Cells) -> None:
        """Apply what the store has of every schedule.

        Raises:
            InterlockError: `control.unreadable`; a `StoreError` if the store cannot be read.
        """
        self._cells = cells
        await self._read(list(self._keys))

    def changed(self, cells: Iterable[str]) -> None:
        """Cells have a new version: those of schedules are read again."""
        keys = [key for key in cells if key.startswith(SCHEDULE_CONTROL_PREFIX)]
        if keys and self._cells is not None:
            self._spawn(self._read(keys))

    def is_paused(self, schedule: str) -> bool:
        """Whether no run of it is to start."""
        return schedule in self._paused

    def acted_on(self, cell: str) -> int:
        """The version of a schedule's control cell that this process acts on; 0 before the first."""
        return self._acted_on.get(cell, 0)

    async def _read(self, keys: Sequence[str]) -> None:
        if self._cells is None or not keys:
            return
        for key, cell in (await self._cells.get(keys)).items():
            # Two reads of one cell may end in the other order.
            if key in self._keys and cell.version >= self.acted_on(key):
                name = self._keys[key]
                (self._paused.add if decode_control(cell.value).paused else self._paused.discard)(name)
                self._acted_on[key] = cell.version
