"""An asyncio event loop whose time is virtual and whose next step is a seeded choice: the same seed, the same run.

It has no selector, no threads and no sockets. Plain callbacks keep the order that asyncio documents; tasks do not.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import re
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Literal, NoReturn, TypeVar

from interlock.core.errors import StoreError
from interlock.core.limits import US_PER_SECOND

T = TypeVar("T")
Schedule = Literal["fifo", "random", "pct"]

START_US = 3_600 * US_PER_SECOND
"""Virtual monotonic time at the start: not zero, so that nothing mistakes it for "unset"."""
STEPS_PER_SECOND_MAX = 60_000
"""Steps in one virtual second: three times what the busiest run needs. Beyond them something wakes itself in vain."""
PCT_CHANGES = 2
PCT_HORIZON_STEPS = 20_000
"""PCT with depth 3 (Burckhardt et al., ASPLOS 2010): two priority changes, somewhere in the first so many steps."""
PCT_STARVED_STEPS = 5_000
"""After so many steps at one instant the highest priority is spinning on a lower one: others get their turn."""
TIMELINE_STEPS = 400
_COMPILED = re.compile(r"(_?[a-z_]+)_([A-Z][A-Za-z]*)_gen")

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("interlock_sim_process", default=None)


class SimDeadlock(AssertionError):
    """Nothing is ready, no timer is set, and the run is not over."""


class SimLivelock(AssertionError):
    """Steps without end, and no time passes."""


class SimTask(asyncio.Task[Any]):
    """A task that knows its process, its number and, for PCT, its priority."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        loop: SimLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self.serial = loop.next_serial()
        self.priority = loop.chance.random()
        self.process = (context or contextvars.copy_context()).get(_process)
        label = name or _spelt(getattr(coroutine, "__qualname__", type(coroutine).__name__))
        super().__init__(coroutine, loop=loop, name=f"{label}#{self.serial}", context=context)


class Process:
    """Everything that runs under one name: it can be killed, stopped and continued, as by signals.

    What belongs to it is told by the context in which a task was made or a callback was asked for.
    """

    def __init__(self, loop: SimLoop, name: str) -> None:
        self.name = name
        self.state: Literal["running", "stopped", "dead"] = "running"
        self.fuse: int | None = None
        """Steps until it is killed; None for never. How a crash comes between any two awaits."""
        self.on_death: list[Callable[[], None]] = []
        self.withheld: list[asyncio.Handle] = []
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(_process.set, self)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a task in this process."""
        return self._loop.create_task(coroutine, name=name, context=self._context.copy())

    def call(self, function: Callable[[], T]) -> T:
        """Call a function here and now so that what it asks of the loop belongs to this process."""
        return self._context.copy().run(function)

    def stop(self) -> None:
        """As SIGSTOP: its timers pass and its sockets fill, and it does nothing."""
        if self.state == "running":
            self.state = "stopped"

    def resume(self) -> None:
        """As SIGCONT: everything that came due meanwhile happens at once."""
        if self.state == "stopped":
            self.state = "running"
            withheld, self.withheld = self.withheld, []
            for handle in withheld:
                self._loop.enqueue(handle)

    def kill(self) -> None:
        """As SIGKILL: nothing of it runs again, no `finally` either."""
        if self.state != "dead":
            self.state = "dead"
            # Before what it was about to do is dropped: a task that has not begun is known by that only.
            self._loop.bury(self)
            self.withheld.clear()
            for callback in self.on_death:
                callback()


def current_process() -> Process | None:
    """The process that the caller belongs to."""
    return _process.get()


class SimLoop(asyncio.BaseEventLoop):
    """The loop. Everything that is random in a run comes from `stream(purpose)`, and so from the seed."""

    def __init__(self, seed: int, schedule: Schedule = "fifo") -> None:
        super().__init__()
        self.seed = seed
        self.schedule: Schedule = schedule
        self.now_us = START_US
        self.steps = 0
        self.errors: list[str] = []
        """What reached the loop's exception handler: each one is a failure of the run."""
        self.touched: list[tuple[str, str]] = []
        """What reached past the ports, and where: code under simulation may have caught the exception."""
        self.timeline: deque[tuple[int, str, str]] = deque(maxlen=TIMELINE_STEPS)
        self.chance = self.stream("loop")
        self._trace = blake2b(digest_size=16)
        self._tasks_ready: list[asyncio.Handle] = []
        self._callbacks_ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._serial = 0
        self._steps_at_instant = 0
        self._second = self._second_began = 0
        self._graveyard: list[SimTask] = []
        self._callbacks_priority = self.chance.random()
        self._changes = sorted(self.chance.randrange(PCT_HORIZON_STEPS) for _ in range(PCT_CHANGES))
        self.set_exception_handler(_record_error)

    # What a run is made with.

    def stream(self, purpose: str) -> random.Random:
        """Random numbers for one purpose: those of one never move because another drew more."""
        return random.Random(f"{self.seed}/{purpose}")

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def note(self, label: str) -> None:
        """Put something that happened into the trace."""
        self.timeline.append((self.now_us, "", label))
        self._trace.update(f"{self.now_us} {label}\n".encode())

    def trace_hash(self) -> str:
        """The digest of every step so far: equal for two runs if and only if they took the same steps."""
        return self._trace.hexdigest()

    def bury(self, process: Process) -> None:
        """Keep what a killed process leaves suspended, so that no `finally` of it runs for being collected."""
        self._graveyard.extend(task for task in self._tasks() if task.process is process)

    # asyncio's interface.

    def time(self) -> float:
        return self.now_us / US_PER_SECOND

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.enqueue(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at_us(self.now_us + round(delay * US_PER_SECOND), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at_us(round(when * US_PER_SECOND), callback, *args, context=context)

    def call_at_us(
        self, when: int, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As `call_at`, in µs."""
        timer = asyncio.TimerHandle(when / US_PER_SECOND, callback, args, self, context)
        heappush(self._timers, (when, self.next_serial(), timer))
        return timer

    def create_task(
        self,
        coro: Any,  # As asyncio's stubs have it: a coroutine or a generator.
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        return SimTask(coro, self, None if name is None else str(name), context)

    def run_in_executor(self, executor: object, func: Callable[..., object], *args: object) -> NoReturn:
        raise RuntimeError(f"there are no threads in simulation: give {func!r} to the Offload port")

    async def getaddrinfo(self, host: object, port: object, **_: object) -> NoReturn:
        raise RuntimeError(f"there are no names in simulation: connect to {host!r} by the Net port")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (asyncio's signature)
        return

    def close(self) -> None:
        """End the run. What is still suspended is closed without a word: nothing of it may run any more."""
        self.set_exception_handler(_ignore_error)
        closed: set[int] = set()
        # Closing runs `finally` blocks, and those may start tasks, which have to be closed as well.
        while left := [task for task in self._tasks() if task.serial not in closed]:
            for task in left:
                closed.add(task.serial)
                _close(task)
        self._tasks_ready.clear()
        self._callbacks_ready.clear()
        self._timers.clear()
        super().close()

    # The heart.

    def enqueue(self, handle: asyncio.Handle) -> None:
        if self.schedule != "fifo" and _task_of(handle) is not None:
            self._tasks_ready.append(handle)
        else:
            self._callbacks_ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave the heap when their instant comes."""

    def _run_once(self) -> None:
        """One step: the name is that of asyncio's own."""
        self._pass_time()
        handle = self._choose()
        if handle is None or handle.cancelled():
            return
        process: Process | None = handle._context.get(_process)  # noqa: SLF001
        if process is not None and not self._may_run(process, handle):
            return
        self._count_step()
        label, owner = _label(handle), process.name if process else "-"
        self.timeline.append((self.now_us, owner, label))
        self._trace.update(f"{self.now_us} {owner} {label}\n".encode())
        handle._run()  # noqa: SLF001

    def _count_step(self) -> None:
        self.steps += 1
        self._steps_at_instant += 1
        second = self.now_us // US_PER_SECOND
        if second != self._second:
            self._second, self._second_began = second, self.steps
        elif self.steps - self._second_began > STEPS_PER_SECOND_MAX:
            last = list(self.timeline)[-8:]
            raise SimLivelock(f"{STEPS_PER_SECOND_MAX} steps within one second of virtual time; the last: {last}")

    def _pass_time(self) -> None:
        """Move to the next timer if nothing is ready; else a step takes a microsecond, and now and then much longer."""
        timers = self._timers
        if self._callbacks_ready or self._tasks_ready:
            draw = self.chance.random()
            self.now_us += 1 if draw > 0.002 else int(draw * 5_000_000)
        else:
            while timers and timers[0][2].cancelled():
                heappop(timers)
            if not timers:
                raise SimDeadlock("nothing is ready and no timer is set; suspended: " + ", ".join(self._suspended()))
            self.now_us = max(self.now_us, timers[0][0])
            self._steps_at_instant = 0
        while timers and timers[0][0] <= self.now_us:
            timer = heappop(timers)[2]
            if not timer.cancelled():
                self.enqueue(timer)

    def _choose(self) -> asyncio.Handle | None:
        tasks, callbacks = self._tasks_ready, self._callbacks_ready
        if not tasks:
            return callbacks.popleft() if callbacks else None
        if self.schedule == "random" or self._steps_at_instant > PCT_STARVED_STEPS:
            index = int(self.chance.random() * (len(tasks) + bool(callbacks)))
        else:
            index = self._highest(tasks, bool(callbacks))
        if index == len(tasks):
            return callbacks.popleft()
        # The chosen one's place is taken by the last: constant time, and as good an order as any.
        tasks[index], tasks[-1] = tasks[-1], tasks[index]
        return tasks.pop()

    def _highest(self, tasks: list[asyncio.Handle], callbacks: bool) -> int:
        best, index = (self._callbacks_priority, len(tasks)) if callbacks else (float("-inf"), 0)
        for place, handle in enumerate(tasks):
            task = _task_of(handle)
            if task is not None and task.priority > best:
                best, index = task.priority, place
        if self._changes and self.steps >= self._changes[0]:
            self._changes.pop(0)
            if index == len(tasks):
                self._callbacks_priority = -float(self.steps)
            elif (task := _task_of(tasks[index])) is not None:
                task.priority = -float(self.steps)
        return index

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if process.state == "stopped":
            process.withheld.append(handle)
            return False
        if process.fuse is not None and process.state == "running":
            process.fuse -= 1
            if process.fuse < 0:
                self.note(f"{process.name} is killed between two steps")
                process.kill()
        return process.state == "running"

    def _tasks(self) -> list[SimTask]:
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask)]
        return sorted(tasks, key=_serial_of)

    def _suspended(self) -> list[str]:
        return [task.get_name() for task in self._tasks() if task.process is None or task.process.state != "dead"]


def run(main: Callable[[SimLoop], Coroutine[Any, Any, T]], seed: int, schedule: Schedule = "fifo") -> tuple[T, SimLoop]:
    """Run `main` to its end on a loop of its own; its result, and the loop for its trace and its errors."""
    loop = SimLoop(seed, schedule)
    try:
        return loop.run_until_complete(main(loop)), loop
    finally:
        loop.close()


def _serial_of(task: SimTask) -> int:
    return task.serial


def _task_of(handle: asyncio.Handle) -> SimTask | None:
    """The task that a handle is a step of. asyncio's own repr looks here too: a step's `__self__` is its task."""
    owner = getattr(handle._callback, "__self__", None)  # noqa: SLF001
    return owner if isinstance(owner, SimTask) else None


def _spelt(name: str) -> str:
    """A coroutine's name as the source spells it; that of a compiled one is `method_Class_gen`."""
    found = _COMPILED.fullmatch(name)
    return f"{found[2]}.{found[1]}" if found else name


def _label(handle: asyncio.Handle) -> str:
    callback: object = handle._callback  # noqa: SLF001
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, SimTask):
        return owner.get_name()
    return getattr(callback, "__qualname__", type(callback).__name__)


def _close(task: SimTask) -> None:
    task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
    coroutine = task.get_coro()
    if isinstance(coroutine, Coroutine):
        # What it does in a world that has ended is nobody's finding: neither an error nor a task that nobody runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with suppress(BaseException):
                coroutine.close()


def _ignore_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The run has been judged."""


def _record_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, SimLoop)
    error = context.get("exception")
    if isinstance(error, OSError | StoreError) and context.get("future") is not None:
        # An injected failure of the disk, on its way to a process that was killed before it could look.
        return
    loop.errors.append(f"{context.get('message')}: {error!r}")
