"""How an attempt can end. Everything that a function raises, and everything that a system answers, maps to one.

What was *sent* and failed is `Later`; `Unavailable` is only what our own stack says without sending.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Scope = Literal["breaker", "limiter", "paused", "lease", "shutdown", "deadline", "due"]


class Answer(msgspec.Struct, frozen=True):
    """What a system answered: status, headers (names in lower case) and body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name, given in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> object:
        """The body, decoded.

        Raises:
            msgspec.DecodeError: if it is not JSON.
        """
        return msgspec.json.decode(self.body)


class Done(msgspec.Struct, frozen=True):
    """It worked. For a call, `answer` is what came back; `filtered` says that a translation had nothing to say."""

    answer: Answer | None = None
    filtered: bool = False


class Later(msgspec.Struct, frozen=True):
    """A failure that may pass. It was sent, so it counts: for the event's budget, and for the breaker.

    Attributes:
        reason: an error class in a few words (`timeout`, `http 503`, `connect`): part of the fingerprint.
        after_us: the receiver asked to wait this long (Retry-After).
        detail: a redacted sentence for people.
        status: the HTTP status, if there was one.
        attempts_max: a lower bound on attempts than the policy's, for failures that look like bugs.
        answer: what came back, for excerpts.
    """

    reason: str
    after_us: int | None = None
    detail: str = ""
    status: int | None = None
    attempts_max: int | None = None
    answer: Answer | None = None


class Reject(msgspec.Struct, frozen=True):
    """Permanent: trying again without a change cannot help."""

    reason: str
    detail: str = ""
    status: int | None = None
    answer: Answer | None = None


class Unavailable(msgspec.Struct, frozen=True):
    """Nothing was sent: breaker open, limiter, paused, lease ending, shutdown. It never counts.

    Attributes:
        scope: which of our own parts said so.
        after_us: when it makes sense to ask again; None where only an event (resume, close) tells.
        system: the System whose state it is, if one.
    """

    scope: Scope
    after_us: int | None = None
    system: str | None = None


class Unknown(msgspec.Struct, frozen=True):
    """An ambiguous end of an effect declared `once`: it may have happened. A person decides."""

    reason: str
    detail: str = ""
    status: int | None = None
    answer: Answer | None = None


Outcome = Done | Later | Reject | Unavailable | Unknown
