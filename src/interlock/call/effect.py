"""One attempt's view of its outgoing calls: labels, idempotency keys, effects, memo and records.

It stands between user code and a System's layers. What it tells the lane is read after the attempt has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from interlock.call import trace
from interlock.call.memo import Finished, decode_memo, encode_memo, entry_bytes_max, request_fingerprint
from interlock.call.record import Announce, CallRecord, Request
from interlock.core.errors import InterlockError
from interlock.core.handler import SAFE_METHODS, Call, Effect, Handler
from interlock.core.ids import idempotency_key
from interlock.core.limits import CALL_RECORDS_MAX, LABEL_CHARS_MAX, MEMO_BYTES_MAX
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unknown
from interlock.core.ports import Clock, Random
from interlock.core.redact import excerpt, redacted_text

REPLAY_FIELD: Final = "interlock-replay"
"""A structured-field token (RFC 9651): the request by which a person has this event delivered again."""
GAP_FIELD: Final = "interlock-gap"
"""A structured-field integer (RFC 9651): how many events of the key are missing before this one."""
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CallFailed(Exception):
    """What a call raises to user code for anything but success (2xx). Uncaught, it ends the attempt with `outcome`."""

    def __init__(self, system: str, outcome: Outcome) -> None:
        super().__init__(f"{system}: {_told(outcome)}")
        self.system = system
        self.outcome = outcome

    @property
    def status(self) -> int | None:
        """The HTTP status, if there was an answer."""
        return None if isinstance(self.outcome, Done) else getattr(self.outcome, "status", None)

    @property
    def answer(self) -> Answer | None:
        """The answer, if there was one and it was read whole."""
        return getattr(self.outcome, "answer", None)


class CallLabelMissing(InterlockError):
    """Two calls with an effect ran to one System at once, and nothing tells which is which after a crash."""


class Outlet(Protocol):
    """A System as a scope needs it: the handler that a call enters, and the secrets that no record may show."""

    @property
    def system(self) -> str: ...
    @property
    def handler(self) -> Handler: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def random(self) -> Random: ...
    def hidden(self) -> Sequence[str]: ...


@dataclass(slots=True, kw_only=True)
class Scope:
    """One attempt.

    Args:
        identity: stream, source and id of the event: what idempotency keys are made of.
        subscription: who makes the attempt, by its first name: keys do not change with a new one.
        event_id: `evt_...`, or "".
        attempt_id: `att_...`, or "".
        deadline: monotonic µs by which the attempt must have ended.
        may_send: asked in the same step as the bytes of each call are written (rule 2).
        memo: what a former attempt left.
        announce: commits what a take-over must know before the named call is sent, if its effect is not `keyed` (rule
            8); False says that the lease is gone. None where nobody takes over what is under way.
        traceparent: of the request that brought the event, or "".
        replay: the request (`job_...`) by which a person has it delivered again, which each call names, or "".
        gap: what is missing before the event, as `GAP_FIELD` says it in each call, or "".
        again: an earlier attempt may have got as far as sending, and left no memo (a crash).

    Attributes:
        systems: Systems that were called.
        calls: one record a call, at most `CALL_RECORDS_MAX`.
        unsafe_finished: calls with an effect that succeeded, remembered ones among them.
        inside: transactions that are open now.
        in_doubt: `once` calls that were sent, or were about to be, and have no certain end. If this is not empty when
            the attempt ends in any other way than Done (a cancellation, for example), the attempt is `Unknown`.
    """

    identity: tuple[str, str, str]
    subscription: str = ""
    event_id: str = ""
    attempt_id: str = ""
    deadline: int = 0
    may_send: Callable[[], bool] | None = None
    memo: bytes = b""
    announce: Announce | None = None
    traceparent: str = ""
    replay: str = ""
    gap: str = ""
    again: bool = False

    systems: set[str] = field(default_factory=set, init=False)
    calls: list[CallRecord] = field(default_factory=list, init=False)
    unsafe_finished: int = field(default=0, init=False)
    inside: int = field(default=0, init=False)
    in_doubt: set[str] = field(default_factory=set, init=False)
    _trace: trace.Trace | None = field(default=None, init=False)
    _ordinals: dict[str, int] = field(default_factory=dict, init=False)
    _labels: set[tuple[str, str]] = field(default_factory=set, init=False)
    _unlabelled: set[str] = field(default_factory=set, init=False)
    _former: dict[str, Finished] | None = field(default=None, init=False)
    _made: dict[str, tuple[Request, Answer | None]] = field(default_factory=dict, init=False)
    _memo_bytes: int = field(default=0, init=False)

    async def send(self, outlet: Outlet, request: Request) -> Answer:
        """Make one call, and give its answer.

        Raises:
            CallFailed: for anything but a success.
            CallLabelMissing: a call with an effect and without a label runs to this System already.
            InterlockError: `call.label-invalid`, `call.label-twice`, `call.probe-missing`, `call.once-unavailable`.
        """
        self.systems.add(outlet.system)
        if request.method in SAFE_METHODS:
            outcome = await self._exchange(outlet, request, self._call(outlet, request))
        else:
            self._check(request)
            label = self._label(outlet.system, request.label)
            try:
                outcome = await self._with_effect(outlet, request, label)
            finally:
                if request.label is None:
                    self._unlabelled.discard(outlet.system)
        if isinstance(outcome, Done) and outcome.answer is not None:
            return outcome.answer
        raise CallFailed(outlet.system, outcome)

    def encode_memo(self) -> bytes:
        """What the next attempt must know, if this one does not end Done: at most `MEMO_BYTES_MAX`; b"" for nothing."""
        if self._former is None and not self._made:
            return self.memo
        entries = dict(self._former or {})
        for key, (request, answer) in self._made.items():
            entries[key] = Finished(key, _fingerprint(request), answer)
        return encode_memo(entries.values())

    @property
    def trace_id(self) -> str:
        """The trace that its calls belong to, in hex; "" before the first."""
        return self._trace.trace_id if self._trace else ""

    async def _with_effect(self, outlet: Outlet, request: Request, label: str) -> Outcome:
        effect = request.effect or "keyed"
        key = idempotency_key(*self.identity, self.subscription, outlet.system, label)
        former = self._find(key)
        if isinstance(former, Unknown):
            return former
        if former is not None:
            if former.request != _fingerprint(request):
                detail = f"call {label} to {outlet.system} asks for something else than in a former attempt"
                return Unknown("memo-mismatch", detail)
            if former.answer is not None:
                self.unsafe_finished += 1
                self._note(outlet, request, label, Done(former.answer), None)
                return Done(former.answer)
        if effect == "probe" and (former is not None or self.again):
            found = await self._probe(outlet, request)
            if found is not None:
                return self._finish(key, request, found)
        return await self._make(outlet, request, label, key)

    async def _make(self, outlet: Outlet, request: Request, label: str, key: str) -> Outcome:
        """Send a call with an effect that no former attempt has finished."""
        effect, name = request.effect or "keyed", f"{outlet.system} {label}"
        call = self._call(outlet, request, label, key)
        if effect != "keyed" and self.announce is not None:
            call = msgspec.structs.replace(call, before_send=lambda: self._announce(effect, name))
        if effect == "probe":
            # Until there is an answer the call is in doubt, whatever ends the attempt.
            self._made[key] = (request, None)
        outcome = await self._exchange(outlet, request, call)
        if not isinstance(outcome, Unknown):
            self.in_doubt.discard(name)
        if effect == "probe" and not isinstance(outcome, Done):
            outcome = await self._settle_doubt(outlet, request, key, outcome)
        if isinstance(outcome, Done) and outcome.answer is not None:
            return self._finish(key, request, outcome.answer)
        return outcome

    async def _settle_doubt(self, outlet: Outlet, request: Request, key: str, outcome: Outcome) -> Outcome:
        """A `probe` call has failed. Where that leaves it open whether it happened, the System is asked at once."""
        if _is_ambiguous(outcome):
            found = await self._probe(outlet, request)
            if found is not None:
                return Done(found)
        del self._made[key]
        return outcome

    async def _probe(self, outlet: Outlet, request: Request) -> Answer | None:
        assert request.probe is not None, "checked before the call"
        return await request.probe()

    async def _announce(self, effect: Effect, name: str) -> bool:
        assert self.announce is not None, "asked before the call"
        if not await self.announce(effect, name):
            return False
        if effect == "once":
            self.in_doubt.add(name)
        return True

    def _check(self, request: Request) -> None:
        if request.effect == "probe" and request.probe is None:
            raise InterlockError(
                "call.probe-missing",
                f"{request.method} {request.target} has effect='probe' and nothing to ask with",
                "give probe=, an async function that returns the answer if it happened and None if not",
            )
        if request.effect == "once" and self.announce is None:
            raise InterlockError(
                "call.once-unavailable",
                f"{request.method} {request.target} has effect='once', and nothing here can record that it begins",
                "make the call from a subscription",
            )

    def _label(self, system: str, given: str | None) -> str:
        if given is None:
            if system in self._unlabelled:
                raise CallLabelMissing(
                    "call.label-missing",
                    f"two calls without a name are under way to {system}, and a retry could not tell them apart",
                    'name them: call="..."',
                )
            self._unlabelled.add(system)
            ordinal = self._ordinals[system] = self._ordinals.get(system, 0) + 1
            return f"#{ordinal}"
        if len(given) > LABEL_CHARS_MAX or not _LABEL.fullmatch(given):
            raise InterlockError(
                "call.label-invalid",
                f"{given[:LABEL_CHARS_MAX]!r} cannot name a call to {system}",
                f"use letters, digits and ._- only, at most {LABEL_CHARS_MAX} characters",
            )
        if (system, given) in self._labels:
            raise InterlockError(
                "call.label-twice",
                f"two calls of one attempt to {system} are named {given!r}: they would share one idempotency key",
                "give each call its own name",
            )
        self._labels.add((system, given))
        return given

    def _find(self, key: str) -> Finished | Unknown | None:
        if self._former is None:
            try:
                self._former = dict(decode_memo(self.memo))
            except msgspec.DecodeError as error:
                return Unknown("memo-unreadable", f"what former attempts did cannot be read: {error}")
            self._memo_bytes = len(self.memo)
        return self._former.get(key)

    def _finish(self, key: str, request: Request, answer: Answer) -> Outcome:
        """Remember a success. One that cannot be remembered is refused where repeating it would not be harmless."""
        self.unsafe_finished += 1
        needed = entry_bytes_max(answer)
        if self._memo_bytes + needed > MEMO_BYTES_MAX:
            self._made.pop(key, None)
            if request.effect == "natural":
                return Done(answer)
            detail = (
                f"the answers of this attempt's calls exceed {MEMO_BYTES_MAX} bytes, so a retry could not keep them; "
                "ask for smaller answers, read with GET or QUERY, or declare effect='natural'"
            )
            return Reject("memo-full", detail, answer.status)
        self._memo_bytes += needed
        self._made[key] = (request, answer)
        return Done(answer)

    def _call(self, outlet: Outlet, request: Request, label: str = "", key: str = "") -> Call:
        if self._trace is None:
            self._trace = trace.continued(self.traceparent, outlet.random)
        return Call(
            system=outlet.system,
            method=request.method,
            target=request.target,
            headers=(*self._told(), *request.headers) if self.replay or self.gap else request.headers,
            body=request.body,
            effect=(request.effect or "keyed") if key else "natural",
            key=key,
            label=label or request.label or "",
            deadline=self.deadline,
            event=self.event_id,
            subscription=self.subscription,
            attempt=self.attempt_id,
            traceparent=trace.child(self._trace, outlet.random),
            may_send=self.may_send,
            within=request.within,
        )

    def _told(self) -> tuple[tuple[str, str], ...]:
        """What each call says of how its event came."""
        fields = ((REPLAY_FIELD, self.replay), (GAP_FIELD, self.gap))
        return tuple((name, value) for name, value in fields if value)

    async def _exchange(self, outlet: Outlet, request: Request, call: Call) -> Outcome:
        started = outlet.clock.monotonic()
        outcome = await outlet.handler(call)
        self._note(outlet, request, call.label, outcome, outlet.clock.monotonic() - started)
        return outcome

    def _note(self, outlet: Outlet, request: Request, label: str, outcome: Outcome, duration_us: int | None) -> None:
        """`duration_us` None: from the memo."""
        if len(self.calls) >= CALL_RECORDS_MAX:
            return
        if not isinstance(outcome, Done):
            self.calls.append(_failure(outlet, request, label, outcome, duration_us or 0))
            return
        target = redacted_text(request.target) if "?" in request.target else request.target
        status = outcome.answer.status if outcome.answer else 0
        record = CallRecord(outlet.system, request.method, target, label, status, duration_us or 0)
        self.calls.append(record if duration_us is not None else msgspec.structs.replace(record, remembered=True))


def _failure(outlet: Outlet, request: Request, label: str, outcome: Outcome, duration_us: int) -> CallRecord:
    hidden = outlet.hidden()
    answer: Answer | None = getattr(outcome, "answer", None)
    start_line = f"{request.method} {request.target}"
    return CallRecord(
        outlet.system,
        request.method,
        redacted_text(request.target),
        label,
        getattr(outcome, "status", None) or 0,
        duration_us,
        _told(outcome),
        getattr(outcome, "detail", ""),
        excerpt(start_line, request.headers, request.body, hidden),
        excerpt(str(answer.status), answer.headers, answer.body, hidden) if answer else "",
    )


def _fingerprint(request: Request) -> bytes:
    return request_fingerprint(request.method, request.target, request.body)


def _is_ambiguous(outcome: Outcome) -> bool:
    """Whether a failure leaves it open if the call took effect.

    No answer, a 5xx other than a plain refusal, or a success that its System's `success_when` does not take for one.
    """
    if not isinstance(outcome, Later):
        return isinstance(outcome, Reject) and outcome.status is None
    status = outcome.status
    return status is None or 200 <= status < 300 or (status >= 500 and status != 503)


def _told(outcome: Outcome) -> str:
    return getattr(outcome, "reason", None) or f"unavailable: {getattr(outcome, 'scope', 'no answer')}"
