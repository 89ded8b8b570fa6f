"""The last layer before the transport: the fields that every call carries, and the last question before it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from interlock.call.timeout import TIMEOUT_HEADER, timeout_field
from interlock.core.errors import SpecError, StoreError
from interlock.core.handler import Call, Handler
from interlock.core.limits import US_PER_MINUTE
from interlock.core.outcome import Outcome, Unavailable
from interlock.core.ports import Clock, Emit, Secrets
from interlock.systems.authorization import FIELD, Authorization
from interlock.systems.target import FRAMING_FIELDS, field_fault

_MARK: Final = "secret:"
OWN_FIELDS: Final = frozenset({"idempotency-key", "interlock-replay", "traceparent", "tracestate", TIMEOUT_HEADER})
HIDDEN_CHARS_MIN: Final = 4
"""A shorter secret is no secret, and replacing it everywhere would make texts unreadable."""


class _FromSecret(NamedTuple):
    name: str
    scheme: str
    secret: str


class Fields:
    """The fields of one System's binding: `secret:NAME`, also after a scheme (`Bearer secret:NAME`), is looked up.

    What `authorization` has obtained takes the place of the field that is bound.

    Raises:
        SpecError: `system.header-invalid`, for a field that cannot be sent or is not the binding's to set.
    """

    def __init__(
        self, system: str, bound: Mapping[str, str], secrets: Secrets, authorization: Authorization | None = None
    ) -> None:
        self._secrets = secrets
        self._authorization = authorization
        plain: dict[str, str] = {}
        self._secret: tuple[_FromSecret, ...] = ()
        for name, value in {"User-Agent": "interlock", **bound}.items():
            key = name.lower()
            if field_fault(name, value) or key in FRAMING_FIELDS or key in OWN_FIELDS:
                raise SpecError(
                    "system.header-invalid",
                    f"the header field {name!r} of {system} cannot be sent, or is Interlock's to set",
                    f'change headers in [systems."{system}"]',
                )
            scheme, mark, secret = value.rpartition(_MARK)
            if mark and (not scheme or scheme.endswith(" ")):
                self._secret += (_FromSecret(key, scheme, secret),)
            else:
                plain.pop(key, None)
                plain[key] = value
        self._plain = tuple(plain.items())
        named = {name for name, _ in self._plain} | {part.name for part in self._secret}
        obtained = {FIELD} if authorization is not None else frozenset[str]()
        self.reserved = FRAMING_FIELDS | OWN_FIELDS | named | obtained

    def resolved(self) -> tuple[tuple[str, str], ...] | str:
        """The fields with the current secrets; or the name of a secret that is missing or cannot stand in a field."""
        obtained = "" if self._authorization is None else self._authorization.field
        if not self._secret and not obtained:
            return self._plain
        found = [field for field in self._plain if not obtained or field[0] != FIELD]
        if obtained:
            found.append((FIELD, obtained))
        for name, scheme, secret in self._secret:
            if obtained and name == FIELD:
                continue
            active = self._secrets.active(secret)
            value = scheme + active[0].decode("latin-1") if active else ""
            if not value or field_fault(name, value):
                return secret
            found.append((name, value))
        return tuple(found)

    def hidden(self) -> Sequence[str]:
        """Every active secret of this System, longest first: none of them may stand in a record."""
        texts = active_texts(self._secrets, [part.secret for part in self._secret])
        return texts if self._authorization is None else longest_first({*texts, *self._authorization.hidden()})


def active_texts(secrets: Secrets, names: Iterable[str]) -> Sequence[str]:
    """The active secrets of these names as text, longest first."""
    return longest_first({value.decode("latin-1") for name in names for value in secrets.active(name)})


def longest_first(values: Iterable[str]) -> Sequence[str]:
    """What has to be hidden, in the order in which it is looked for; what is too short is in every text."""
    return sorted((value for value in values if len(value) >= HIDDEN_CHARS_MIN), key=len, reverse=True)


def prepared(fields: Fields, clock: Clock, emit: Emit, inner: Handler) -> Handler:
    """`inner`, given calls with all their fields; asks `before_send`, which commits what must be durable first."""

    async def prepare(call: Call) -> Outcome:
        bound = fields.resolved()
        if isinstance(bound, str):
            # Nothing is wrong with the event: it waits until the secret is there.
            emit("system.secret-missing", system=call.system, secret=bound)
            return Unavailable("paused", US_PER_MINUTE, call.system)
        if call.before_send is not None:
            try:
                may = await call.before_send()
            except StoreError:
                may = False
            if not may:
                return Unavailable("lease", None, call.system)
        own = [("traceparent", call.traceparent)] if call.traceparent else []
        if call.key:
            # A structured-field string (draft-ietf-httpapi-idempotency-key-header-07): the quotes are part of it.
            own.append(("idempotency-key", f'"{call.key}"'))
        own.append(timeout_field(call.deadline, clock.monotonic()))
        return await inner(replace(call, headers=(*bound, *own, *call.headers)))

    return prepare
