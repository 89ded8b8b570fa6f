"""The shell that turns whatever users' functions raise into a value: all of them but those that attempts run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import PurePath
from traceback import walk_tb
from typing import TypeVar

from interlock.core.errors import InterlockError

A = TypeVar("A")
T = TypeVar("T")


class Raised:
    """A user's function failed. `what` names the class and the line, and nothing of the input: it may be shown."""

    __slots__ = ("error", "what")

    def __init__(self, error: Exception, what: str) -> None:
        self.error = error
        self.what = what


def called(function: Callable[[A], T], argument: A) -> T | Raised:
    """What the function returns, or what it raised."""
    try:
        return function(argument)
    # A bug in a user's function is a value here: what met it is answered like anything else.
    except Exception as error:  # noqa: BLE001
        return Raised(error, _named(error))


async def awaited(function: Callable[[], Awaitable[T]]) -> T | Raised:
    """As `called`, for an `async` function. Cancellation passes."""
    try:
        return await function()
    # As above: what a poll raises is told and tried again, it does not end the poller.
    except Exception as error:  # noqa: BLE001
        return Raised(error, _named(error))


def _named(error: Exception) -> str:
    name = f"{type(error).__name__} {error.code}" if isinstance(error, InterlockError) else type(error).__name__
    frames = [
        (frame.f_globals.get("__name__", ""), PurePath(frame.f_code.co_filename).name, line)
        for frame, line in walk_tb(error.__traceback__)
    ]
    # The line of the user's that led to it says more than the one of ours where it came out.
    theirs = [frame for frame in frames if not frame[0].startswith("interlock.")] or frames
    return f"{name} at {theirs[-1][1]}:{theirs[-1][2]}" if theirs else name
