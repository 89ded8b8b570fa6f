"""For pytest: `async def` tests run by themselves, each on its own loop, so that a test of a `Lab` needs nothing else.

A plug-in that was asked to run them (pytest-asyncio by mode or mark, anyio by mark) goes first and keeps them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol


class _FixtureNames(Protocol):
    argnames: Sequence[str]


class _Item(Protocol):
    """What is needed of pytest's `Function`: pytest is not a dependency of the product."""

    obj: Callable[..., Coroutine[Any, Any, None]]
    funcargs: Mapping[str, object]
    _fixtureinfo: _FixtureNames


def pytest_pyfunc_call(pyfuncitem: _Item) -> bool | None:
    """Run a coroutine test; anything else is pytest's."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001  (as pytest's own)
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
