"""One call: what user code asks for, and what the attempt's record says of it. Values without behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from interlock.core.handler import Effect, Within
from interlock.core.outcome import Answer

Announce = Callable[[Effect, str], Awaitable[bool]]
"""Given a call's effect and its name, which is its System and its label."""

Probe = Callable[[], Awaitable[Answer | None]]
"""For `effect="probe"`: ask the System whether it happened. The answer that stands for it, or None if it did not."""


class Request(msgspec.Struct, frozen=True):
    """What user code asks for. `target` is the path and query on the System; header names are in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    effect: Effect | None = None
    label: str | None = None
    probe: Probe | None = None
    within: Within | None = None


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call for the attempt's record. `status` is 0 without an answer; excerpts are redacted, and kept for failures.

    `remembered`: the answer came from the memo, nothing was sent.
    """

    system: str
    method: str
    target: str
    label: str
    status: int
    duration_us: int
    error: str = ""
    detail: str = ""
    request: str = ""
    response: str = ""
    remembered: bool = False
