"""Control state as cells: what a person has paused or forced, and why. Lanes and call layers keep it in memory.

The key names the subject; the cell's version orders the changes; a cell that does not exist means that all is normal.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from interlock.core.errors import InterlockError

SYSTEM_CONTROL_PREFIX = "control/system/"
SUBSCRIPTION_CONTROL_PREFIX = "control/subscription/"
SCHEDULE_CONTROL_PREFIX = "control/schedule/"


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """The control state of one System, subscription or schedule. `by` and `reason` are of its last change, `at` in µs.

    `paused`: nothing is sent to the System, no attempt of the subscription and no run of the schedule starts; intake
    goes on.
    `forced`: the System's breaker is held open or closed whatever it sees; None leaves it to itself.
    """

    paused: bool = False
    forced: Literal["open", "closed"] | None = None
    by: str = ""
    reason: str = ""
    at: int = 0


_decoder = msgspec.json.Decoder(Control)


def system_control_key(system: str) -> str:
    """The key of a System's control cell."""
    return SYSTEM_CONTROL_PREFIX + system


def subscription_control_key(subscription: str) -> str:
    """The key of a subscription's control cell."""
    return SUBSCRIPTION_CONTROL_PREFIX + subscription


def schedule_control_key(schedule: str) -> str:
    """The key of a schedule's control cell."""
    return SCHEDULE_CONTROL_PREFIX + schedule


def encode_control(control: Control) -> bytes:
    """The value of a control cell."""
    return msgspec.json.encode(control)


def decode_control(value: bytes) -> Control:
    """Read a control cell; an empty value (a deleted cell) is the normal state.

    Raises:
        InterlockError: `control.unreadable`, for a cell that this version did not write.
    """
    if not value:
        return Control()
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError as error:
        raise InterlockError(
            "control.unreadable", f"a control cell cannot be read: {error}", "resume or pause its subject again"
        ) from None
