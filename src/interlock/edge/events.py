"""`POST /events`: CloudEvents of declared types become events of the log; a batch is one commit, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Final, NamedTuple

import msgspec

from interlock.call.usercode import Raised, called
from interlock.core import limits
from interlock.core.event import Appended, Draft
from interlock.core.ports import Access, Emit
from interlock.edge import cloudevents
from interlock.edge.admission import Admission
from interlock.edge.cloudevent import CloudEvent
from interlock.edge.cloudevents import JSON_MEDIA_TYPE
from interlock.edge.fields import traceparent_of
from interlock.edge.problem import Refused, problem, refuse
from interlock.edge.receipt import acknowledge
from interlock.journal.ports import IdentityConflict
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import EventTypeSpec
from interlock.spec.problem import Fault, fault_of
from interlock.wire.exchange import Exchange, Head

_VERSION: Final = re.compile(r"(?:@|[/:#]v?)([1-9][0-9]{0,8})\Z")
_HINT_CHARS_MAX: Final = 100
_ACCEPTED_TOLD_MAX: Final = 64
_FAULTS_MAX: Final = 100
"""Told of one batch; whoever mends a hundred has found the cause of the others."""


class EventsEndpoint:
    """Answers for `POST /events`.

    Args:
        types: every event type of the plan, by id.
        access: who may post.
        admission: the way to the log.
    """

    def __init__(self, types: Mapping[str, EventTypeSpec], access: Access, admission: Admission, emit: Emit) -> None:
        self._told = _Told(emit)
        self._types = _Types(types)
        self._access = access
        self._admission = admission
        self._emit = emit

    def __call__(self, exchange: Exchange, params: Mapping[str, str]) -> None:
        """Take a request whose head is complete."""
        if not self._admission.open(exchange):
            return
        authorization = exchange.head.every("authorization")
        caller = self._access(authorization)
        if caller is None:
            self._refuse(exchange, _no_access(bool(authorization)))
        else:
            exchange.collect(limits.BODY_BYTES_MAX, partial(self._received, exchange, caller))

    def _received(self, exchange: Exchange, caller: str, body: bytes) -> None:
        try:
            drafts, mode = self._drafts(exchange.head, body)
        except Refused as refused:
            self._refuse(exchange, refused)
            return
        if mode != "batched":
            self._admission.append(exchange, drafts, partial(self._recorded, exchange, caller))
        elif drafts:
            self._admission.append_whole(exchange, drafts, partial(self._batch_ended, exchange, caller))
        else:
            self._accepted(exchange, caller, ())

    def _drafts(self, head: Head, body: bytes) -> tuple[list[Draft], cloudevents.Mode]:
        media_types = head.every("content-type")
        if len(media_types) > 1:
            raise _twice("content-type")
        mode = cloudevents.mode_of(media_types[0] if media_types else JSON_MEDIA_TYPE)
        trace = traceparent_of(head)
        match mode:
            case "binary":
                return [self._draft(cloudevents.binary(head.headers, body), trace, "", "")], mode
            case "structured":
                return [self._draft(cloudevents.structured(body), trace, "", "/data")], mode
            case "batched":
                return self._batch(cloudevents.batched(body), trace), mode
            case Refused():
                raise mode

    def _batch(self, events: Sequence[msgspec.Raw], trace: str | None) -> list[Draft]:
        drafts: list[Draft] = []
        faults: list[Fault] = []
        statuses: set[int] = set()
        known: dict[tuple[str, str, str], bytes] = {}
        for index, raw in enumerate(events):
            under = f"/{index}"
            try:
                draft = self._draft(cloudevents.structured(bytes(raw), under), trace, under, f"{under}/data")
                if known.setdefault((draft.stream, draft.source, draft.id), draft.data) != draft.data:
                    raise _conflict([Fault("the batch has this id and source twice, with another payload", under)])
                drafts.append(draft)
            except Refused as refused:
                statuses.add(refused.status)
                faults.extend(refused.errors or [Fault(refused.message, under)])
        if faults:
            raise Refused(
                statuses.pop() if len(statuses) == 1 else 422,
                "events.batch-refused",
                f"{len(events) - len(drafts)} of {len(events)} events cannot be recorded, so none was.",
                "Mend or leave out the events that are listed, then send the batch again.",
                errors=faults[:_FAULTS_MAX],
            )
        return drafts

    def _draft(self, event: CloudEvent, trace: str | None, under: str, payload_at: str) -> Draft:
        """The draft of an event; `under` and `payload_at` are the pointers to it and to its payload."""
        attributes = event.attributes
        media_type = attributes.get("datacontenttype", JSON_MEDIA_TYPE)
        if not cloudevents.is_json(media_type):
            raise _not_json(under)
        type = self._types.of(attributes["type"], attributes.get("dataschema"), f"{under}/type")
        read = called(self._types.readers[type.id], event)
        if isinstance(read, Raised):
            raise self._unfit(type, read, payload_at)
        return Draft(
            stream=type.stream,
            type=type.id,
            source=attributes["source"],
            id=attributes["id"],
            data=event.data,
            key=read.key,
            time=attributes.get("time"),
            subject=attributes.get("subject"),
            datacontenttype=media_type,
            dataschema=attributes.get("dataschema"),
            extensions=read.extensions,
            traceparent=trace,
        )

    def _unfit(self, type: EventTypeSpec, raised: Raised, payload_at: str) -> Refused:
        error = raised.error
        if isinstance(error, PayloadError):
            status = 400 if error.code.startswith("json.") else 422
            return Refused(status, error.code, error.message, error.remedy, errors=[fault_of(error, payload_at)])
        self._emit("events.key-failed", type=type.id, error=raised.what)
        return Refused(
            422,
            "events.key-failed",
            f"The key of a {type.id} cannot be told from this payload.",
            "Send what the key is made of; the operator's log names the line that failed.",
            errors=[Fault("the key cannot be told", payload_at)],
        )

    def _recorded(self, exchange: Exchange, caller: str, appended: Sequence[Appended]) -> None:
        [one] = appended
        if one.conflict:
            self._conflicting(exchange, caller, _conflict(()), [one])
        else:
            self._accepted(exchange, caller, appended)

    def _batch_ended(self, exchange: Exchange, caller: str, ended: Sequence[Appended] | IdentityConflict) -> None:
        if isinstance(ended, IdentityConflict):
            told = "this id and source are known with another payload"
            faults = [Fault(told, f"/{place}/id") for place in ended.known]
            self._conflicting(exchange, caller, _conflict(faults), list(ended.known.values()))
        else:
            self._accepted(exchange, caller, ended)

    def _conflicting(self, exchange: Exchange, caller: str, refused: Refused, known: Sequence[Appended | None]) -> None:
        first = next((there.id for there in known if there is not None), None)
        self._emit("events.id-conflict", events=len(known), caller=caller, event=first)
        exchange.respond(409, *problem(409, refused, instance=first))

    def _accepted(self, exchange: Exchange, caller: str, appended: Sequence[Appended]) -> None:
        duplicates = sum([one.duplicate for one in appended])
        self._told.add(caller, len(appended), duplicates)
        if self._admission.idle:
            self._told.tell()
        acknowledge(exchange, appended)

    def _refuse(self, exchange: Exchange, refused: Refused) -> None:
        self._emit("events.refused", status=refused.status, code=refused.code, peer=exchange.head.peer)
        refuse(exchange, refused)


class _Told:
    """Gathers what was accepted while more is under way: under load a record a request would cost as much as another.

    It is told when nothing is under way, and at the latest after `_ACCEPTED_TOLD_MAX` events.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._caller = ""
        self._events = 0
        self._duplicates = 0

    def add(self, caller: str, events: int, duplicates: int) -> None:
        """Count one request."""
        if caller != self._caller:
            self.tell()
            self._caller = caller
        self._events += events
        self._duplicates += duplicates
        if self._events >= _ACCEPTED_TOLD_MAX:
            self.tell()

    def tell(self) -> None:
        """Tell of what was gathered, if anything was."""
        if self._events:
            self._emit("events.accepted", events=self._events, duplicates=self._duplicates, caller=self._caller)
            self._events = self._duplicates = 0


class _Types:
    """Event types by what a CloudEvent calls them: `name@version`, or `name` and the version in `dataschema`.

    Attributes:
        readers: for each id, what reads an event's payload for its key and extension attributes.
    """

    def __init__(self, types: Mapping[str, EventTypeSpec]) -> None:
        # What begins with an underscore is ours: nobody posts to the audit.
        self._by_id = {type.id: type for type in types.values() if "_" not in {type.name[:1], type.stream[:1]}}
        self.readers = {type.id: _reader_of(type) for type in self._by_id.values()}
        self._by_name: dict[str, dict[str, EventTypeSpec]] = {}
        for type in self._by_id.values():
            self._by_name.setdefault(type.name, {})[str(type.version)] = type

    def of(self, name: str, dataschema: str | None, pointer: str) -> EventTypeSpec:
        """The type that is meant.

        Raises:
            Refused: 422 `events.type-unknown` or `events.version-unknown`.
        """
        type = self._by_id.get(name)
        if type is not None:
            return type
        versions = self._by_name.get(name)
        if versions is None:
            raise self._unknown(name, pointer)
        stated = _VERSION.search(dataschema) if dataschema else None
        if stated is None and len(versions) == 1:
            return next(iter(versions.values()))
        type = versions.get(stated[1]) if stated else None
        if type is not None:
            return type
        choices = ", ".join(f"{name}@{version}" for version in sorted(versions))
        raise Refused(
            422,
            "events.version-unknown",
            "The event does not say which version of its type it is, or says one that is not declared.",
            f"Send one of {choices} as the type, or end dataschema in the version (/1).",
            errors=[Fault("which version is not known", pointer, expected=choices)],
        )

    def _unknown(self, name: str, pointer: str) -> Refused:
        near = get_close_matches(name, self._by_name, n=1) if len(name) <= _HINT_CHARS_MAX else []
        return Refused(
            422,
            "events.type-unknown",
            "No integration declares this type of event.",
            f"Did you mean {near[0]}?" if near else "Declare the type, or send one that is declared.",
            errors=[Fault("no such type", pointer, expected=near[0] if near else "")],
        )


class _Read(NamedTuple):
    key: str | None
    extensions: tuple[tuple[str, str], ...]


def _reader_of(type: EventTypeSpec) -> Callable[[CloudEvent], _Read]:
    """Read an event's payload for what it tells; reading it is what validates it."""

    def read(event: CloudEvent) -> _Read:
        payload = type.decode(event.data)
        return _Read(None if type.key is None else type.key(payload), type.extensions(payload, event.extensions()))

    return read


def _no_access(has_token: bool) -> Refused:
    # RFC 6750 3.1: no error code where nothing was presented.
    challenge = 'Bearer realm="interlock"' + (', error="invalid_token"' if has_token else "")
    return Refused(
        401,
        "access.denied",
        "Posting events needs a bearer token.",
        "Send Authorization: Bearer and the token that the first start printed.",
        headers=[("www-authenticate", challenge)],
    )


def _twice(field: str) -> Refused:
    return Refused(
        400,
        "events.malformed",
        f"{field} comes more than once.",
        "Send it once.",
        errors=[Fault("comes more than once", header=field)],
    )


def _not_json(under: str) -> Refused:
    return Refused(
        415,
        "events.payload-not-json",
        "The payload is not JSON in UTF-8.",
        "Send a payload of application/json, or of a type that ends in +json.",
        errors=[Fault("must be a JSON media type", f"{under}/datacontenttype", expected=JSON_MEDIA_TYPE)],
    )


def _conflict(faults: Sequence[Fault]) -> Refused:
    """`faults`: the events of a batch that it is about; none for an event that came by itself."""
    known = "with another payload; it stays as it was first recorded"
    return Refused(
        409,
        "events.id-conflict",
        f"{len(faults)} events of the batch have an id and source that are known {known}, so nothing was recorded."
        if faults
        else f"An event with this id and source is known, {known}.",
        "Give each fact an id of its own; send the same bytes when you send it again.",
        errors=faults[:_FAULTS_MAX],
    )
