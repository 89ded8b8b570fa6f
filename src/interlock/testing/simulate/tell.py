"""What is said of the moments of a run: calls, answers, and the records of the product that matter to an operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from interlock.core.handler import SAFE_METHODS
from interlock.core.outcome import Done, Later, Reject, Unavailable, Unknown
from interlock.testing.simulate.peers import Took
from interlock.testing.simulate.watch import Ending


def outcome_told(ending: Ending) -> str:
    """How a call ended for the function that made it: `POST /entries to shop.erp failed: http 503`."""
    what = f"{ending.method} {ending.path} to {ending.system}"
    match ending.outcome:
        case Done(answer=answer):
            return f"{what} was answered {answer.status if answer else 200}"
        case Later(reason=reason):
            return f"{what} failed: {reason}"
        case Reject(reason=reason):
            return f"{what} was refused: {reason}"
        case Unavailable(scope=scope):
            return f"{what} was not sent: {_SCOPES.get(scope, scope)}"
        case Unknown(reason=reason):
            return f"{what} has no certain end: {reason}"
        case _:
            assert_never(ending.outcome)


def answer_told(took: Took) -> str:
    """What a System made of a request."""
    what = f"{took.request.method} {took.request.target}"
    if took.request.method in SAFE_METHODS:
        effect = "is read"
    elif took.again:
        effect = "knows its key: no second effect"
    elif took.fresh:
        effect = "takes effect"
    else:
        effect = "has no effect"
    match took.reaction.ending:
        case "answer":
            return f"{what} {effect}, answered {took.reaction.status}"
        case "lost":
            return f"{what} {effect}, and the answer is lost"
        case "hang":
            return f"{what} {effect}, and is never answered"
        case "garbage":
            return f"{what} {effect}, and the answer is noise"
        case _:
            assert_never(took.reaction.ending)


def record_told(record: str, fields: Mapping[str, object]) -> tuple[str, str] | None:
    """Who says what by a record of the product; "" for the process. None for what is no news to an operator."""
    name = str(fields.get("system") or fields.get("subscription") or "")
    match record:
        case "attempt.failed":
            return str(fields["subscription"]), _attempt(fields)
        case "breaker.transition":
            return name, _BREAKER.get(str(fields["state"]), f"breaker is {fields['state']}")
        case "system.gone":
            return name, "answered that it is gone: paused until a person resumes it"
        case "guard.tripped":
            return str(fields["subject"]), f"PAUSED before more die of one cause: {fields['error']}"
        case _:
            return None


def _attempt(fields: Mapping[str, object]) -> str:
    why = f"attempt {fields['number']} ended: {fields['error']}"
    match fields["state"]:
        case "dead":
            return f"{why}; it is a dead letter"
        case "held":
            return f"{why}; it is held for a person, and its key waits"
        case "waiting":
            return f"{why}; it was not sent, and does not count"
        case _:
            return f"{why}; tried again later"


_SCOPES: Final = {
    "breaker": "the breaker is open",
    "limiter": "the limit of calls is reached",
    "paused": "the System is paused",
    "lease": "the lease ends",
    "shutdown": "the process stops",
    "deadline": "too little of the deadline is left",
}
_BREAKER: Final = {
    "open": "breaker OPEN: calls fail fast, events wait without cost",
    "half_open": "breaker half open: one probe at a time",
    "ramping": "breaker closed: calls come back step by step",
    "closed": "breaker closed",
    "forced_open": "breaker held open by a person",
    "forced_closed": "breaker held closed by a person",
}
