"""What makes payloads of stored bytes, for a subscription: its types as they are, older versions by their upcasters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from interlock.call.usercode import Raised, called
from interlock.spec.jsontext import PayloadError
from interlock.spec.plan import EventTypeSpec, SubscriptionSpec, UpcastSpec

Decoders = Mapping[str, Callable[[bytes], Any]]


def decoders_of(spec: SubscriptionSpec) -> Decoders:
    """By the stored type, what makes the payload that the function is given. They raise `PayloadError` only."""
    steps = {upcast.old.id: upcast for upcast in spec.upcasts}
    lifting = {id: _lifting(_chain(steps, id)) for id in steps}
    return {type.id: type.decode for type in spec.types} | lifting


def decoder_of(decoders: Decoders, type: str) -> Callable[[bytes], Any]:
    """That of a stored type.

    Raises:
        PayloadError: `payload.type-unread`, for an event that waited when a deploy took its type from the subscription.
    """
    found = decoders.get(type)
    if found is None:
        raise PayloadError(
            "payload.type-unread",
            f"The subscription reads no {type} any more; this one waited when it still did",
            "Deploy a plan in which it reads the type, or an upcaster from it, then retry; or discard it.",
        )
    return found


def _chain(steps: Mapping[str, UpcastSpec], id: str) -> Sequence[UpcastSpec]:
    chain = [steps[id]]
    while (step := steps.get(chain[-1].into.id)) is not None:
        chain.append(step)
    return chain


def _lifting(chain: Sequence[UpcastSpec]) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        payload = chain[0].old.decode(data)
        for upcast in chain:
            payload = _lifted(upcast, payload)
        return payload

    return decode


def _lifted(upcast: UpcastSpec, payload: Any) -> Any:
    """The payload of the newer version, as its model has it.

    Raises:
        PayloadError: `payload.upcast-failed`.
    """
    old, into = upcast.old, upcast.into
    key = None if old.key is None else old.key(payload)
    made = called(upcast.function, payload)
    if isinstance(made, Raised):
        _fail(upcast, f"raised {made.what}")
    fitting = called(lambda it: _fitting(into, it), made)
    if isinstance(fitting, Raised):
        error = fitting.error
        why = error.message if isinstance(error, PayloadError) else fitting.what
        _fail(upcast, f"gives what is no {into.id}: {why}")
    newer, its_key = fitting
    # Order is kept by the key that was stored: under another one events of that key would seem out of order.
    if None not in {key, its_key} and its_key != key:
        _fail(upcast, "gives a payload with another key")
    return newer


def _fitting(into: EventTypeSpec, made: Any) -> tuple[Any, str | None]:
    """What was made, as the model has it, and its key; values of another class or with wrong members do not pass."""
    newer = into.decode(into.encode(made))
    return newer, None if into.key is None else into.key(newer)


def _fail(upcast: UpcastSpec, why: str) -> NoReturn:
    file, line = upcast.where
    raise PayloadError(
        "payload.upcast-failed",
        f"The upcaster {upcast.name} at {file.rsplit('/', 1)[-1]}:{line} {why}",
        "Correct it and retry the dead letter.",
    )
