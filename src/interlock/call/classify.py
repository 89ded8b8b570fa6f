"""What an answer or a failed exchange means, as an `Outcome`. Pure: the lists live here only."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from interlock.call.retry_after import retry_after_us
from interlock.core.handler import Call
from interlock.core.limits import UNEXPECTED_ATTEMPTS_MAX
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable, Unknown

FailureKind = Literal["connect", "dns", "tls", "timeout", "reset", "malformed", "too-large", "not-sent"]

REFUSED: Final = frozenset({408, 425, 429, 503})
"""The System says that it did not do it, and that it may do it later."""
REDIRECTS_FOR_NOW: Final = frozenset({302, 303, 307})
"""Never followed. A temporary one may be a maintenance page that goes away; a permanent one needs a new binding."""
PERMANENT: Final = frozenset({501, 505})
_HINT_FIELD: Final = "webhook-delivery"
"""How a receiver of webhooks steers its sender (as Svix has it): `abort-message` or `disable`."""


class Failure(NamedTuple):
    """An exchange without an answer. `sent`: at least one byte of the request may have reached the System."""

    kind: FailureKind
    sent: bool
    detail: str


def answered(call: Call, answer: Answer, now: int) -> Outcome:
    """The outcome of a call that was answered; `now` in µs since the epoch (Retry-After may be a date)."""
    status = answer.status
    if 200 <= status < 300:
        return Done(answer)
    reason = f"http {status}"
    detail = f"{call.system} answered {call.method} with {status}"
    hint = _hint(answer)
    if hint == "abort-message":
        return Reject(hint, f"{detail}, and wants this event no more", status, answer)
    if _is_ambiguous(status) and call.effect == "once":
        return Unknown(reason, detail, status, answer)
    # The System is paused then (`disabled`): the event waits for the person who resumes it.
    attempts_max = None if hint == "disable" else _attempts_max(call, status)
    if attempts_max == 0:
        return Reject(reason, detail, status, answer)
    asked = answer.header("retry-after")
    after_us = None if asked is None else retry_after_us(asked, now)
    return Later(reason, after_us, detail, status, attempts_max, answer)


def failed(call: Call, failure: Failure) -> Outcome:
    """The outcome of a call that was not answered."""
    if failure.kind == "not-sent":
        # The last look before the bytes said no (rule 2): nothing left the process, so nothing counts.
        return Unavailable("lease", None, call.system)
    detail = f"{call.system}: {failure.detail}" if failure.detail else call.system
    if failure.sent and call.effect == "once":
        return Unknown(failure.kind, detail)
    if failure.kind == "too-large":
        # The next answer would be as large; the bound is a setting of the binding.
        return Reject("answer-too-large", detail)
    return Later(failure.kind, None, detail)


def disabled(call: Call, outcome: Outcome) -> str | None:
    """Why the System is to be sent nothing more, if it says so: 410 to a POST, or its hint, also with a success.

    The other methods name one resource, and one resource that is gone is no reason to stop the rest.
    """
    if isinstance(outcome, Unavailable):
        return None
    if isinstance(outcome, Later) and outcome.status == 410 and call.method == "POST":
        return "it answered 410 Gone to a POST"
    if outcome.answer is not None and _hint(outcome.answer) == "disable":
        return f"it answered {_HINT_FIELD}: disable"
    return None


def _hint(answer: Answer) -> str:
    hint = answer.header(_HINT_FIELD)
    return "" if hint is None else hint.strip().lower()


def _is_ambiguous(status: int) -> bool:
    """Part of the work may be done, or all of it without an answer (502, 504)."""
    return not 200 <= status < 500 and status not in REFUSED and status not in PERMANENT


def _attempts_max(call: Call, status: int) -> int | None:
    """How often such an answer may be tried: 0 not again, None as often as the policy says."""
    if status in REFUSED or status in REDIRECTS_FOR_NOW:
        return None
    if status == 401:
        # A token that was just renewed is tried once more; after that only a person can help.
        return 2
    if status == 409 and call.effect == "keyed" and call.key:
        # draft-ietf-httpapi-idempotency-key-07: the first request with this key is still running. If it is a
        # conflict of another kind, a few attempts show it.
        return UNEXPECTED_ATTEMPTS_MAX
    if status == 410 and call.method == "POST":
        # As for the hint `disable`.
        return None
    if 300 <= status < 500 or status in PERMANENT:
        return 0
    return None
