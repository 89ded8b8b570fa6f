"""CloudEvents 1.0.2 from HTTP (https://github.com/cloudevents/spec): binary, structured and batched, as pure functions.

Attributes come out as text, the payload as the bytes that were sent. What the attributes mean to us is not here.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from interlock.core import limits
from interlock.edge.cloudevent import SPECIFIED, CloudEvent
from interlock.edge.problem import Refused
from interlock.spec import jsontext
from interlock.spec.problem import Fault

Mode = Literal["binary", "structured", "batched"]

JSON_MEDIA_TYPE: Final = "application/json"
_STRUCTURED: Final = "application/cloudevents+json"
_EXTENSIONS_MAX: Final = 64
_VALUE_CHARS_MAX: Final = 4096
_INTEGER_MAX: Final = 2**31
_NAME_CHARS_SHOWN: Final = 80

_ATTRIBUTE: Final = re.compile(r"[a-z0-9]+")
# The String type of the specification holds no controls, no surrogates and no noncharacters.
_NONCHARACTERS: Final = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_FORBIDDEN: Final = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef{_NONCHARACTERS}]")
_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.[0-9]{1,64})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_REQUIRED: Final = ("id", "source", "type")
_NOT_ATTRIBUTES: Final = frozenset({"data", "data_base64"})
_FIELDS: Final = {f"ce-{name}": name for name in SPECIFIED - {"datacontenttype"}} | {"content-type": "datacontenttype"}
"""The fields that most requests have, and nothing but these."""

Members = dict[str, msgspec.Raw]
Value = str | int | bool | None
_read_event: Final = msgspec.json.Decoder(Members).decode
_read_batch: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_value: Final = msgspec.json.Decoder(Value).decode
_read_values: Final = msgspec.json.Decoder(list[Value]).decode
_read_text: Final = msgspec.json.Decoder(str).decode


def mode_of(media_type: str) -> Mode | Refused:
    """How a request with this Content-Type carries its events; media types are matched in any case."""
    if media_type == JSON_MEDIA_TYPE:
        return "binary"
    if media_type == _STRUCTURED:
        return "structured"
    essence = media_type.partition(";")[0].strip(" \t").lower()
    if not essence.startswith("application/cloudevents"):
        return "binary"
    if charset_of(media_type) not in {"", "utf-8"}:
        return _unsupported(f"the charset of {essence} must be utf-8")
    if essence == _STRUCTURED:
        return "structured"
    if essence == "application/cloudevents-batch+json":
        return "batched"
    return _unsupported("only the JSON format of CloudEvents is read here")


def charset_of(media_type: str) -> str:
    """The charset parameter in lower case, "" if there is none."""
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip(" \t").lower() == "charset":
            return value.strip(' \t"').lower()
    return ""


def is_json(media_type: str) -> bool:
    """Whether a payload of this media type is a JSON document in UTF-8."""
    if media_type == JSON_MEDIA_TYPE:
        return True
    essence = media_type.partition(";")[0].strip(" \t").lower()
    known = essence in {JSON_MEDIA_TYPE, "text/json"} or (essence.endswith("+json") and "/" in essence)
    return known and charset_of(media_type) in {"", "utf-8", "us-ascii"}


def binary(headers: Sequence[tuple[str, str]], body: bytes) -> CloudEvent:
    """An event whose attributes are `ce-` fields and whose payload is the body.

    Raises:
        Refused: 400, with the field that is at fault.
    """
    attributes: dict[str, str] = {}
    for field, value in headers:
        name = _FIELDS.get(field)
        if name is None:
            if not field.startswith("ce-"):
                continue
            name = field[3:]
            if name == "datacontenttype" or name in _NOT_ATTRIBUTES or not _ATTRIBUTE.fullmatch(name):
                raise _malformed("is not the field of an attribute", header=field)
        if name != "datacontenttype" and (value[:1] == '"' or "%" in value or not value.isascii()):
            value = _field_value(field, value)
        if name in attributes:
            raise _malformed("comes more than once", header=field)
        attributes[name] = value
    return _checked(attributes, body, "ce-")


def structured(body: bytes, under: str = "") -> CloudEvent:
    """An event that is one JSON object; `under` is the pointer to it in the request.

    Raises:
        Refused: 400, with the pointer to what is at fault.
    """
    try:
        members = jsontext.strictly(_read_event, body)
    except jsontext.PayloadError as error:
        raise _unreadable(error, under) from None
    attributes: dict[str, str] = {}
    named = {name: raw for name, raw in members.items() if name not in _NOT_ATTRIBUTES}
    for name, value in zip(named, _values(list(named.values())), strict=True):
        if name not in SPECIFIED and not _ATTRIBUTE.fullmatch(name):
            raise _malformed("is not the name of an attribute", pointer=f"{under}/{_escaped(name)}")
        text = value if isinstance(value, str) else _canonical(name, value, f"{under}/{name}")
        if text is not None:
            attributes[name] = text
    return _checked(attributes, _data(members, under), f"{under}/")


def batched(body: bytes) -> list[msgspec.Raw]:
    """The events of a batch, each still to be read by `structured`.

    Raises:
        Refused: 400 if it is not an array, 413 if it is too long.
    """
    try:
        events = jsontext.strictly(_read_batch, body)
    except jsontext.PayloadError as error:
        raise _unreadable(error, "") from None
    if len(events) > limits.BATCH_EVENTS_MAX:
        raise Refused(
            413,
            "events.batch-too-long",
            f"A batch holds at most {limits.BATCH_EVENTS_MAX} events, because it is one commit.",
            "Send it in parts.",
        )
    return events


def _field_value(field: str, value: str) -> str:
    """The value behind a field: a quoted string unquoted, then percent-decoded once (HTTP binding 3.1.3.2).

    Some senders put raw UTF-8 in the field; its bytes come here as latin-1 and mean what they mean in UTF-8.
    """
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    if value.isascii() and "%" not in value:  # it was only quoted
        return value
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError:
        raise _malformed("is not UTF-8 after percent-decoding", header=field) from None


def _values(raws: list[msgspec.Raw]) -> Sequence[Value | msgspec.Raw]:
    """All values, read at once; as they came if one of them cannot be read, so that it is told which."""
    try:
        return _read_values(b"[%b]" % b",".join(raws))
    except msgspec.DecodeError:
        return raws


def _canonical(name: str, given: Value | msgspec.Raw, pointer: str) -> str | None:
    """The text form of an attribute's value (CloudEvents 3.1); null is the same as absent."""
    try:
        value = _read_value(given) if isinstance(given, msgspec.Raw) else given
    except msgspec.DecodeError:
        raise _malformed("is not a string, an integer or a boolean", pointer=pointer) from None
    if name in SPECIFIED and not isinstance(value, str | None):
        raise _malformed("is not a string", pointer=pointer)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -_INTEGER_MAX <= value < _INTEGER_MAX:
            raise _malformed("is an integer beyond 32 bits", pointer=pointer)
        return str(value)
    return value


def _data(members: Members, under: str) -> bytes:
    data, encoded = members.get("data"), members.get("data_base64")
    if encoded is None or bytes(encoded) == b"null":
        return b"" if data is None else bytes(data)
    if data is not None:
        raise _malformed("comes beside data: an event has one of them", pointer=f"{under}/data_base64")
    try:
        return b64decode(_read_text(encoded), validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise _malformed("is not base64 text", pointer=f"{under}/data_base64") from None


def _checked(attributes: dict[str, str], data: bytes, prefix: str) -> CloudEvent:
    """The event, if its attributes are what the specification and our bounds ask for; `prefix` leads to one."""
    if attributes.get("specversion") != "1.0":
        raise _attribute("specversion", prefix, "must be 1.0")
    if not (attributes.get("id") and attributes.get("source") and attributes.get("type")):
        missing = next(name for name in _REQUIRED if not attributes.get(name))
        raise _attribute(missing, prefix, "is required and must not be empty")
    if len(attributes) > _EXTENSIONS_MAX and len(attributes.keys() - SPECIFIED) > _EXTENSIONS_MAX:
        raise _attribute("", prefix, f"more than {_EXTENSIONS_MAX} extensions")
    together = "".join(attributes.values())
    # Almost always all of them are as short and as plain as each must be.
    if len(together) > limits.ID_CHARS_MAX or not (together.isascii() and together.isprintable()):
        _check_values(attributes, prefix)
    if attributes.get("subject") == "" or attributes.get("dataschema") == "":
        empty = "subject" if attributes.get("subject") == "" else "dataschema"
        raise _attribute(empty, prefix, "must not be empty")
    if "time" in attributes and not _is_time(attributes["time"]):
        raise _attribute("time", prefix, "is not an RFC 3339 timestamp")
    return CloudEvent(attributes, data)


def _check_values(attributes: Mapping[str, str], prefix: str) -> None:
    for name, value in attributes.items():
        bound = limits.ID_CHARS_MAX if name in {"id", "type"} else _VALUE_CHARS_MAX
        if len(value) > bound:
            raise _attribute(name, prefix, f"is longer than {bound} characters")
        if not (value.isascii() and value.isprintable()) and _FORBIDDEN.search(value):
            raise _attribute(name, prefix, "holds a character that a CloudEvents string must not hold")


def _is_time(text: str) -> bool:
    found = _RFC3339.fullmatch(text)
    if found is None:
        return False
    day, minute, second, zone = found.groups()
    try:
        # Python knows no leap second; RFC 3339 does.
        datetime.fromisoformat(f"{day}T{minute}:{'59' if second == '60' else second}{zone.upper()}")
    except ValueError:
        return False
    return True


def _attribute(name: str, prefix: str, what: str) -> Refused:
    if prefix == "ce-":
        return _malformed(what, header="content-type" if name == "datacontenttype" else f"ce-{name}")
    return _malformed(what, pointer=prefix + name if name else prefix.removesuffix("/"))


def _malformed(what: str, *, pointer: str | None = None, header: str | None = None) -> Refused:
    pointer, header = pointer and pointer[:_NAME_CHARS_SHOWN], header and header[:_NAME_CHARS_SHOWN]
    return Refused(
        400,
        "events.malformed",
        f"{header or pointer or 'The event'} {what}.",
        "Send a CloudEvent of version 1.0.",
        errors=[Fault(what, pointer, header)],
    )


def _unreadable(error: jsontext.PayloadError, under: str) -> Refused:
    return Refused(400, "events.malformed", error.message, error.remedy, errors=[Fault(error.message, under)])


def _unsupported(what: str) -> Refused:
    return Refused(
        415,
        "events.format-unsupported",
        f"The request cannot be read: {what}.",
        "Send application/cloudevents+json, application/cloudevents-batch+json, or ce- fields with a JSON body.",
        headers=[("accept", "application/cloudevents+json, application/cloudevents-batch+json, application/json")],
    )


def _escaped(name: str) -> str:
    return name[:_NAME_CHARS_SHOWN].replace("~", "~0").replace("/", "~1")
