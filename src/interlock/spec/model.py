"""Payload models: what a user may declare as the payload of an event type, and how it becomes bytes and back.

A dataclass, a msgspec.Struct, a TypedDict, or a pydantic model; pydantic is never imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar, is_typeddict

import msgspec

from interlock.core.errors import SpecError
from interlock.spec import jsontext, schema

T = TypeVar("T")


class Codec(NamedTuple, Generic[T]):
    """A model's two directions and the digest of its shape (`schema.digest`).

    `decode` raises `PayloadError`. `encode` does so too if the payload does not fit the model, because a dataclass
    does not look at what it is given: nothing enters the log that its readers would refuse.
    """

    decode: Callable[[bytes], T]
    encode: Callable[[T], bytes]
    digest: str


def codec(model: type[T]) -> Codec[T]:
    """The codec of a payload model.

    Raises:
        SpecError: `spec.model-unsupported`, if it is none of the four kinds or has a member that JSON cannot carry.
    """
    if _is_pydantic(model):
        return _pydantic_codec(model)
    if not (is_typeddict(model) or is_dataclass(model) or issubclass(model, msgspec.Struct)):
        raise _unsupported(model, "it is not a dataclass, msgspec.Struct, TypedDict or pydantic model")
    try:
        read = msgspec.json.Decoder(model).decode
        digest = schema.digest(json_schema(model))
    except (TypeError, NameError) as error:
        raise _unsupported(model, str(error)) from error
    return _checked(read, msgspec.json.Encoder().encode, digest)


def json_schema(model: Any) -> schema.Schema:  # Any: a type of one of the four kinds.
    """The JSON Schema of a payload model, as its maker gives it."""
    return model.model_json_schema() if _is_pydantic(model) else msgspec.json.schema(model)


def _checked(read: Callable[[bytes], T], write: Callable[[T], bytes], digest: str) -> Codec[T]:
    def decode(data: bytes) -> T:
        return jsontext.strictly(read, data)

    def encode(payload: T) -> bytes:
        try:
            data = write(payload)
        except (TypeError, ValueError, OverflowError) as error:
            raise jsontext.PayloadError("payload.unencodable", f"The payload has no JSON form: {error}", _FIX) from None
        decode(data)
        return data

    return Codec(decode, encode, digest)


_FIX: Final = "Build the payload from values that its model declares."


def _is_pydantic(model: object) -> bool:
    # Whoever has a pydantic model has imported pydantic; asking sys.modules keeps it out of everyone else's process.
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(model, type) and issubclass(model, pydantic.BaseModel)


def _pydantic_codec(model: Any) -> Codec[Any]:  # Any: pydantic is not a dependency, so its types are not known here.
    invalid = sys.modules["pydantic"].ValidationError

    def read(data: bytes) -> Any:
        # pydantic's own parser accepts NaN, so the strict one looks first.
        msgspec.json.decode(data)
        try:
            return model.model_validate_json(data)
        except invalid as error:
            raise _pydantic_misfit(error.errors(include_input=False, include_url=False)[0]) from None

    def write(payload: Any) -> bytes:
        return payload.model_dump_json(by_alias=True, warnings="error").encode()

    return _checked(read, write, schema.digest(json_schema(model)))


def _pydantic_misfit(first: Any) -> jsontext.PayloadError:
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return jsontext.misfit(f"{first['msg']} - at `{path}`")


def _unsupported(model: object, why: str) -> SpecError:
    return SpecError(
        "spec.model-unsupported",
        f"{getattr(model, '__name__', model)!r} cannot be a payload model: {why}",
        "Declare it as a dataclass, a msgspec.Struct, a TypedDict or a pydantic model, of types that JSON can carry.",
    )
