"""One attempt: the shell around a user's function. Whatever it raises becomes an `Outcome`, and a record if it failed.

It knows neither cursors nor retries. It is one of the three places that catch every exception.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import replace

from interlock.call.effect import CallFailed, Scope
from interlock.call.record import CallRecord
from interlock.core import limits
from interlock.core.cursor import Attempt
from interlock.core.errors import InterlockError
from interlock.core.event import Absence, Draft
from interlock.core.ids import derived_id, fingerprint, minted_id
from interlock.core.outcome import Done, Later, Outcome, Reject, Unavailable, Unknown
from interlock.core.ports import Clock, Emit, Offload, Random
from interlock.core.redact import redacted_text
from interlock.delivery import sequences
from interlock.delivery.newest import is_late
from interlock.delivery.plain import Plain
from interlock.delivery.sequences import Resequenced
from interlock.delivery.upcast import decoder_of, decoders_of
from interlock.delivery.work import Ended, Work
from interlock.spec.delay import due_at, undelayed
from interlock.spec.function import Client, Gap, HttpSystem, SqlClient, SqlSystem
from interlock.spec.function import Event as TypedEvent
from interlock.spec.hook import decode_inbox
from interlock.spec.jsontext import PayloadError
from interlock.spec.newness import Newness, newness_of
from interlock.spec.patterns.resequence import look_type, numbered
from interlock.spec.plan import SubscriptionSpec

ClientFor = Callable[[str, Scope], Client | SqlClient]

GAP_EXTENSION: Final = "interlockgap"
"""The CloudEvents attribute of a translated event: what its key misses before it, as the field of calls says it."""

_OUTCOME_NAMES: dict[type, Any] = {
    Later: "later",
    Reject: "reject",
    Unavailable: "unavailable",
    Unknown: "unknown",
    Done: "done",
}


@dataclass(frozen=True)
class Ports:
    """What attempts need of the world."""

    clock: Clock
    random: Random
    offload: Offload
    emit: Emit
    client: ClientFor


@dataclass(frozen=True)
class Program:
    """A subscription's function, ready to run: how its types are decoded, and whether it is `async def`.

    `first_name`: what it was called first; keys and derived ids are made of that, so that a new name changes none.
    """

    spec: SubscriptionSpec
    ports: Ports
    decoders: Mapping[str, Callable[[bytes], Any]]
    is_async: bool
    first_name: str
    newness: Callable[[Any], Newness] | None
    number: Callable[[Any], int] | None

    @classmethod
    def of(cls, spec: SubscriptionSpec, ports: Ports, first_name: str) -> Program:
        """Prepare a subscription's function."""
        is_async = inspect.iscoroutinefunction(inspect.unwrap(spec.function))
        newness = None if spec.if_newer_than is None else newness_of(spec.if_newer_than)
        number = None if spec.resequencing is None else numbered(spec.resequencing.by)
        return cls(spec, ports, decoders_of(spec), is_async, first_name, newness, number)


_DONE: Final = Done()
_FILTERED: Final = Done(filtered=True)
_ENDED_WELL: Final = Ended(_DONE, 0, (), b"", ())
"""How most attempts end: made once."""


class Run:
    """An attempt under way; the function sees it as its `Context`."""

    __slots__ = (
        "_emits",
        "_plain",
        "_ports",
        "_program",
        "_scope",
        "_spec",
        "expired",
        "late",
        "newness",
        "resequenced",
        "work",
    )

    def __init__(self, program: Program, work: Work) -> None:
        self._program = program
        self._spec = program.spec
        self._ports = program.ports
        self.work = work
        self._scope: Scope | None = None
        self._plain: Plain | None = None
        self._emits: list[Draft] = []
        self.expired = False
        self.newness: Newness | None = None
        self.late = False
        self.resequenced: Resequenced | None = None

    @property
    def attempt(self) -> int:
        """1 for the first attempt of the event."""
        return 1 if self.work.row is None else self.work.row.attempts_total + 1

    @property
    def deadline(self) -> datetime:
        """When the attempt is ended, in UTC."""
        return wall_of(self._ports.clock, self.work.deadline)

    @property
    def gap(self) -> Gap | None:
        """What is missing before this event; None if nothing is."""
        return self.work.gap

    def use(self, system: HttpSystem | SqlSystem) -> Client | SqlClient:
        """The way to a System; every call through it carries deadline, key, breaker and trace."""
        return self._ports.client(system.name, self.scope)

    def emit(self, draft: Draft) -> None:
        """Append a draft in the commit that settles this event."""
        if self._scope is not None and self._scope.inside:
            raise InterlockError(
                "call.emits-inside",
                f"{self._spec.name} emits {draft.type} inside once(), and an attempt that finds the receipt skips that",
                "emit after the block, from tx.result where it needs what the block found",
            )
        self._emits.append(draft if draft.causation else replace(draft, causation=self.work.event.id))

    def log(self, message: str, /, **fields: object) -> None:
        """A log line with the ids of event, subscription and attempt."""
        self._ports.emit(
            "function.log",
            message=message,
            event=self.work.event.id,
            subscription=self._spec.name,
            attempt=self.attempt,
            **fields,
        )

    @property
    def scope(self) -> Scope:
        """This attempt's view of its outgoing calls; made when the first call is."""
        if self._scope is None:
            event, row = self.work.event, self.work.row
            draft = event.draft
            self._scope = Scope(
                identity=(draft.stream, draft.source, draft.id),
                subscription=self._program.first_name,
                event_id=event.id,
                attempt_id=minted_id("att_", self._ports.clock.now(), self._ports.random.bytes(9)),
                deadline=self.work.deadline,
                may_send=self.work.may_send,
                memo=b"" if row is None else row.memo,
                announce=self.work.announce,
                traceparent=draft.traceparent or "",
                replay="" if row is None else row.job or "",
                again=self.work.again,
                gap="" if self.work.gap is None else self.work.gap.field,
            )
        return self._scope

    async def run(self) -> Ended:
        """Run the function to its end; raises nothing but a cancellation that is not its deadline's."""
        try:
            outcome = await self._call()
        except asyncio.CancelledError:
            if not self.expired:
                raise
            if self._plain is not None and self._plain.called_off:
                # It waited for a thread all the time: nothing was tried, so nothing counts.
                outcome = Unavailable("limiter", limits.US_PER_SECOND)
            else:
                outcome = Later("timeout", detail=f"no end within {self._spec.deadline_us / limits.US_PER_SECOND:g} s")
        except CallFailed as failed:
            outcome = failed.outcome
        except Exception as error:  # noqa: BLE001 - the handler shell: everything a function raises maps to an outcome.
            outcome = self._outcome_of(error)
        scope = self._scope
        if scope is None:
            if outcome is _DONE and not self._emits:
                return _ENDED_WELL
            return Ended(outcome, 0, tuple(self._emits), b"", ())
        if isinstance(outcome, Unavailable) and outcome.scope == "deadline":
            # The function used up its time before its call: that is a failure of the attempt, and must end some day.
            outcome = Later("deadline", detail="too little of the deadline was left for a call")
        if scope.in_doubt and not isinstance(outcome, Done | Unknown):
            outcome = Unknown("in-doubt", f"{_reason(outcome)}, while a call that may happen once only was under way")
        memo = b"" if isinstance(outcome, Done) else scope.encode_memo()
        status = scope.calls[-1].status if scope.calls else 0
        return Ended(outcome, status or 0, tuple(self._emits), memo, tuple(sorted(scope.systems)))

    async def _call(self) -> Outcome:
        spec, event = self._spec, self.work.event
        if event.erased_at is not None:
            return _FILTERED
        if event.absent is not None:
            return _without_payload(event.absent)
        match spec.kind:
            case "subscribe":
                typed: TypedEvent[Any] = TypedEvent(event, decoder_of(self._program.decoders, event.draft.type))
                if self._program.newness is not None and self._is_late(typed.payload):
                    return _FILTERED
                if self._program.is_async:
                    result = await spec.function(typed, self)
                else:
                    self._plain = Plain(spec.function, typed, self)
                    result = await self._plain.run(self._ports.offload)
                return _DONE if result is None else result
            case "translate":
                return self._translate()
            case "resequence":
                return self._resequence()
            case "inbox":
                assert spec.webhook is not None, "an inbox is that of a webhook"
                return self._take(spec.webhook.function(decode_inbox(event)))
            case "delay":
                return self._bring_on()

    def _translate(self) -> Outcome:
        """Raw to canonical: a derived id, so that translating again after a crash gives the same event.

        What a person has replayed is derived anew, so its id is another one: the log must not take it for known.
        """
        row = self.work.row
        again = () if row is None or row.trigger != "replay" else (row.job or "",)
        draft = self.work.event.draft
        raw = decoder_of(self._program.decoders, draft.type)(draft.data)
        payload = None if self._program.newness is not None and self._is_late(raw) else self._spec.function(raw)
        if payload is None:
            return _FILTERED
        self.emit(self._derived(payload, *again))
        return Done()

    def _derived(self, payload: Any, *again: str) -> Draft:
        draft, into = self.work.event.draft, self._spec.into
        assert into is not None, "a translation says what it translates into"
        gap = () if self.work.gap is None else ((GAP_EXTENSION, self.work.gap.field),)
        return Draft(
            stream=into.stream,
            type=into.id,
            source=draft.source,
            id=derived_id(draft.stream, draft.source, draft.id, self._program.first_name, 0, *again),
            data=into.encode(payload),
            key=None if into.key is None else into.key(payload),
            time=draft.time,
            subject=draft.subject,
            extensions=into.extensions(payload, gap),
            causation=self.work.event.id,
            traceparent=draft.traceparent,
        )

    def _resequence(self) -> Outcome:
        """An event takes its place among those of its key, and all whose turn it is are emitted."""
        spec, event, known, name = self._spec, self.work.event, self.work.known, self._program.first_name
        how, number = spec.resequencing, self._program.number
        assert how is not None, "a resequencer says how"
        assert number is not None, "prepared with the program"
        assert known is not None, "loaded before the attempt"
        if event.draft.type == look_type(event.draft.stream):
            found = sequences.look(known, event, name, how)
        else:
            raw = decoder_of(self._program.decoders, event.draft.type)(event.draft.data)
            payload = spec.function(raw)
            draft = None if payload is None else self._derived(payload)
            found = sequences.take(known, event, number(raw), draft, name, how)
        self.resequenced, self.late = found, found.fate == "late"
        for emitted in found.emits:
            self.emit(emitted)
        return _DONE if found.fate == "taken" else _FILTERED

    def tell(self) -> None:
        """Say of an event that was resequenced what somebody may have to know."""
        found = self.resequenced
        if found is None:
            return
        if found.skipped:
            self._ports.emit(
                "sequence.skipped", subscription=self._spec.name, event=self.work.event.id, count=found.skipped
            )
        if found.fate == "repeated":
            self._ports.emit("sequence.repeated", subscription=self._spec.name, event=self.work.event.id)

    def _is_late(self, payload: Any) -> bool:
        assert self._program.newness is not None, "asked only where somebody said what is late"
        self.newness = self._program.newness(payload)
        self.late = is_late(self.newness, self.work.event.offset, self.work.newest)
        return self.late

    def _bring_on(self) -> Outcome:
        """Append the draft that waits in the event once it is due."""
        event = self.work.event
        left_us = due_at(event) - self._ports.clock.now()
        if left_us > 0:
            return Unavailable("due", left_us)
        self.emit(undelayed(event.draft))
        return Done()

    def _take(self, drafts: Iterable[Draft]) -> Outcome:
        for draft in drafts:
            self.emit(draft)
        return Done()

    def _outcome_of(self, error: Exception) -> Outcome:
        if self._spec.kind == "inbox":
            return Reject("poison_decode", f"{type(error).__name__}: {redacted_text(str(error))[:300]}")
        if isinstance(error, PayloadError):
            return Reject("contract", redacted_text(str(error))[:300])
        if isinstance(error, TimeoutError):
            return Later("timeout", detail=redacted_text(str(error))[:300])
        reason = error.code if isinstance(error, InterlockError) else type(error).__name__
        detail = f"{redacted_text(str(error))[:300]} at {_innermost(error)}"
        return Later(reason, detail=detail, attempts_max=limits.UNEXPECTED_ATTEMPTS_MAX)

    def record(self, ended: Ended, started_at: int, now: int, plan: str) -> Attempt:
        """The whole record of this attempt."""
        outcome = ended.outcome
        call = _telling(self._scope)
        reason = _reason(outcome)
        system = call.system if call else getattr(outcome, "system", None)
        status = getattr(outcome, "status", None) or ended.status
        row = self.work.row
        scope_id = self._scope.attempt_id if self._scope is not None else ""
        return Attempt(
            id=scope_id or minted_id("att_", started_at, self._ports.random.bytes(9)),
            offset=self.work.event.offset,
            number=self.attempt,
            started_at=started_at,
            duration_us=now - started_at,
            outcome=_OUTCOME_NAMES[type(outcome)],
            error=reason,
            detail=getattr(outcome, "detail", ""),
            status=status,
            system=system,
            fingerprint=None if isinstance(outcome, Done) else self._fingerprint(system, reason, status),
            request=call.request if call else "",
            response=call.response if call else "",
            trigger="auto" if row is None else row.trigger,
            actor=None if row is None else row.actor,
            trace=self.work.event.draft.traceparent,
            plan=plan,
            job=None if row is None else row.job,
            why=None if row is None else row.why,
            filtered=isinstance(outcome, Done) and outcome.filtered,
        )

    def _fingerprint(self, system: str | None, reason: str, status: int) -> str:
        """The same for failures with the same cause: who, what, and the class of the status."""
        return fingerprint(system or "", self._spec.name, reason, str(status), self.work.event.draft.type)


def _without_payload(absent: Absence) -> Outcome:
    """An event whose payload is lost dies alone; one that the disk does not give just now is asked for again."""
    if absent == "unreadable":
        return Later("body unreadable", detail="the disk does not give the file of its payload")
    detail = "its payload is not there" if absent == "missing" else "its payload is not what was accepted"
    return Reject(f"body {absent}", f"{detail}; put the file back from a backup, then retry")


def wall_of(clock: Clock, deadline: int) -> datetime:
    """A monotonic instant as a date, in UTC."""
    left_us = deadline - clock.monotonic()
    return datetime.fromtimestamp((clock.now() + left_us) / limits.US_PER_SECOND, UTC)


def _telling(scope: Scope | None) -> CallRecord | None:
    """The call that says most about a failure: the last one that failed, else the last."""
    if scope is None or not scope.calls:
        return None
    return next((call for call in reversed(scope.calls) if call.error), scope.calls[-1])


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Done():
            return ""
        case Unavailable():
            return outcome.scope
        case Later() | Reject() | Unknown():
            return outcome.reason


def _innermost(error: Exception) -> str:
    """`file:line` of the innermost frame, for a person and the fingerprint; never its variables."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    frame = frames[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
