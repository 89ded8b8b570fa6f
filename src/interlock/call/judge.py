"""What a 2xx answer means to a System that says so itself (`success_when`): some report a failure in the body only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from interlock.call.usercode import Raised, called
from interlock.core.handler import Call, Handler
from interlock.core.limits import UNEXPECTED_ATTEMPTS_MAX
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unknown
from interlock.core.redact import redacted_text

_DETAIL_CHARS: Final = 300


def judged(success_when: Callable[[Answer], object], inner: Handler) -> Handler:
    """`inner`, whose successes are looked at once, when they arrive: what is remembered of them is not judged again."""

    async def judge(call: Call) -> Outcome:
        outcome = await inner(call)
        if not isinstance(outcome, Done) or outcome.answer is None:
            return outcome
        return verdict(call, outcome.answer, success_when)

    return judge


def verdict(call: Call, answer: Answer, success_when: Callable[[Answer], object]) -> Outcome:
    """The outcome of a call that was answered 2xx.

    What the predicate gives as `Later` or `Reject` stands. Without such a word a `once` call may have had its effect.
    """
    said = called(success_when, answer)
    if said is True:
        return Done(answer)
    status = answer.status
    if isinstance(said, Later | Reject):
        detail = redacted_text(said.detail)[:_DETAIL_CHARS]
        # The status is the predicate's to say: a body may mean a 429 or a 401.
        return replace(said, detail=detail, status=said.status or status, answer=answer)
    if said is False:
        reason, attempts_max = "error-body", None
        detail = f"{call.system} answered {call.method} with {status}, which its success_when takes for no success"
    else:
        what = said.what if isinstance(said, Raised) else f"{type(said).__name__}, not True, False, Later or Reject"
        reason, attempts_max = f"success_when {what.partition(' ')[0].rstrip(',')}", UNEXPECTED_ATTEMPTS_MAX
        detail = f"success_when of {call.system} failed: {what}"
    if call.effect == "once":
        return Unknown(reason, detail, status, answer)
    return Later(reason, None, detail, status, attempts_max, answer)
