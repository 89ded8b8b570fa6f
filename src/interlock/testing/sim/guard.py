"""The net under the simulator: real clocks, chance and sockets raise while a simulated loop runs, and name the line.

The one place of the project where something is patched; what the ports are for is found here when it was forgotten.
Users' modules are given guards under the names that they have imported: `datetime.now` cannot be replaced elsewhere.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from inspect import currentframe
from types import FrameType, ModuleType
from typing import Any

from interlock.testing.sim.loop import SimLoop

_PORTS: tuple[tuple[ModuleType, str, tuple[str, ...]], ...] = (
    (
        time,
        "Clock",
        ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "sleep"),
    ),
    (
        random,
        "Random",
        (
            "random",
            "uniform",
            "randint",
            "randrange",
            "choice",
            "choices",
            "shuffle",
            "sample",
            "randbytes",
            "getrandbits",
        ),
    ),
    (os, "Random", ("urandom", "getrandom")),
    (uuid, "Random", ("uuid1", "uuid4")),
    (secrets, "Random", ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "choice")),
    (socket, "Net", ("socket", "create_connection", "getaddrinfo", "gethostbyname")),
)
_CLOCKS: dict[type[Any], tuple[str, ...]] = {
    datetime.datetime: ("now", "utcnow", "today"),
    datetime.date: ("today",),
}
"""Classes that know the time, and cannot be changed."""
_MAY_LOOK_AT_THE_CLOCK = frozenset({"logging", "warnings", "traceback"})
"""Modules whose own use of a clock changes nothing in a run."""


class RealWorldTouched(AssertionError):
    """Code under simulation reached past its ports."""


@contextmanager
def sealed(modules: Sequence[ModuleType] = ()) -> Generator[None, None, None]:
    """Within the block, simulated code that touches the real world raises `RealWorldTouched`; other code does not.

    `modules`: those of users, in which what was imported by name is guarded as well.
    """
    replaced: list[tuple[Any, str, Any]] = []
    guards: dict[int, Any] = {id(clock): _guarded_clock(clock, names) for clock, names in _CLOCKS.items()}
    guards[id(datetime)] = _guarded_datetime(guards)

    def replace(module: Any, name: str, guard: Any) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, guard)

    try:
        for module, port, names in _PORTS:
            for name in names:
                original = getattr(module, name)
                guards[id(original)] = _guarded(f"{module.__name__}.{name}", port, original)
                replace(module, name, guards[id(original)])
        original = threading.Thread.start
        replace(threading.Thread, "start", _guarded("threading.Thread.start", "Offload", original))
        for module in modules:
            for name, value in list(vars(module).items()):
                if id(value) in guards and not name.startswith("__"):
                    replace(module, name, guards[id(value)])
        yield
    finally:
        for module, name, original in reversed(replaced):
            setattr(module, name, original)


def _guarded(name: str, port: str, original: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(original, type):
        return _guarded_type(name, port, original)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        _refuse(name, port, currentframe())
        return original(*args, **kwargs)

    return guarded


def _guarded_type(name: str, port: str, original: type[Any]) -> type[Any]:
    """A class stays one: others inherit from it and ask whether something is an instance."""

    class Guarded(original):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _refuse(name, port, currentframe())
            original.__init__(self, *args, **kwargs)

    Guarded.__name__ = original.__name__
    return Guarded


def _guarded_clock(original: type[Any], names: tuple[str, ...]) -> type[Any]:
    """Stands for a class that cannot be changed: it makes instances of the original, and they are its own."""

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original)

        def __getattr__(cls, name: str) -> Any:
            attribute = getattr(original, name)
            return _guarded(f"{original.__name__}.{name}", "Clock", attribute) if name in names else attribute

    return Meta(original.__name__, (), {"__doc__": original.__doc__})


def _guarded_datetime(guards: dict[int, Any]) -> ModuleType:
    module = ModuleType("datetime", datetime.__doc__)
    vars(module).update({name: guards.get(id(value), value) for name, value in vars(datetime).items()})
    return module


def _refuse(name: str, port: str, guard: FrameType | None) -> None:
    loop = asyncio._get_running_loop()  # noqa: SLF001
    if not isinstance(loop, SimLoop):
        return
    frame = guard.f_back if guard else None
    if frame is None or frame.f_globals.get("__name__") in _MAY_LOOK_AT_THE_CLOCK:
        return
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    loop.touched.append((name, where))
    raise RealWorldTouched(f"{name} was used in simulation at {where}; use the {port} port")
