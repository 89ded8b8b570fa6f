"""The net under the simulator: real clocks, chance and sockets raise while a simulated loop runs, and name the line.

The one place of the project where something is patched; what the ports are for is found here when it was forgotten.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Generator
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
_MAY_LOOK_AT_THE_CLOCK = frozenset({"logging", "warnings", "traceback"})
"""Modules whose own use of a clock changes nothing in a run."""


class RealWorldTouched(AssertionError):
    """Code under simulation reached past its ports."""


@contextmanager
def sealed() -> Generator[None, None, None]:
    """Within the block, simulated code that touches the real world raises `RealWorldTouched`; other code does not."""
    replaced: list[tuple[ModuleType, str, Any]] = []
    try:
        for module, port, names in _PORTS:
            for name in names:
                original = getattr(module, name)
                replaced.append((module, name, original))
                setattr(module, name, _guarded(f"{module.__name__}.{name}", port, original))
        yield
    finally:
        for module, name, original in replaced:
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


def _refuse(name: str, port: str, guard: FrameType | None) -> None:
    if not isinstance(asyncio._get_running_loop(), SimLoop):  # noqa: SLF001
        return
    frame = guard.f_back if guard else None
    if frame is None or frame.f_globals.get("__name__") in _MAY_LOOK_AT_THE_CLOCK:
        return
    raise RealWorldTouched(
        f"{name} was used in simulation at {frame.f_code.co_filename}:{frame.f_lineno}; use the {port} port"
    )
