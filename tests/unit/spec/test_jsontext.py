"""Whatever bytes come, strict JSON answers with a value or a PayloadError."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core import limits
from interlock.spec import jsontext
from interlock.spec.jsontext import PayloadError


class Order(msgspec.Struct):
    state: str


class Orders(msgspec.Struct):
    orders: list[Order]


HOSTILE = {
    "NaN": (b"NaN", "json.malformed"),
    "a hidden NaN": (b'{"a":[1,NaN]}', "json.malformed"),
    "Infinity": (b"-Infinity", "json.malformed"),
    "a float out of range": (b"1e999", "payload.invalid"),
    "too many digits": (b"1" * 5_000, "payload.invalid"),
    "a lone surrogate": (rb'"\ud800"', "json.malformed"),
    "a lone surrogate as a name": (rb'{"\udfff":1}', "json.malformed"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "json.malformed"),
    "not UTF-8": (b'"\xff"', "json.malformed"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "json.malformed"),
    "nothing": (b"", "json.malformed"),
    "two documents": (b"{} {}", "json.malformed"),
    "a control in a string": (b'"\x00"', "json.malformed"),
    "one level too deep": (b"[" * 65 + b"]" * 65, "json.too-deep"),
    "far too deep": (b"[" * 100_000 + b"]" * 100_000, "json.too-deep"),
    "deep and never closed": (b'{"a":' * 100_000, "json.too-deep"),
    "deep behind closers in strings": (b'["]]]]",' * 65 + b"1" + b"]" * 65, "json.too-deep"),
    "deep behind an escaped quote": (rb'["\"]",' * 65 + b"1" + b"]" * 65, "json.too-deep"),
}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=40,
)


@pytest.mark.parametrize(("document", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_document_is_refused_with_a_code(document, code):
    with pytest.raises(PayloadError) as refused:
        jsontext.decode(document)
    assert refused.value.code == code


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_payload_error(document):
    with contextlib.suppress(PayloadError):
        jsontext.decode(document)
        json.loads(document)


@given(VALUES)
def test_what_is_json_is_read_as_it_was_written(value):
    assert jsontext.decode(msgspec.json.encode(value)) == value


@given(VALUES, st.integers(0, 70))
def test_the_depth_is_exact_where_it_could_exceed_the_bound(value, wraps):
    document = msgspec.json.encode(value)
    for _ in range(wraps):
        document = b"[" + document + b"]"
    true_depth = wraps + _depth(value)
    assert (jsontext.depth(document) > limits.JSON_DEPTH_MAX) == (true_depth > limits.JSON_DEPTH_MAX)


def test_a_wide_document_with_many_brackets_is_not_deep():
    assert len(jsontext.decode(b"[" + b",".join([b'{"a":[1]}'] * 10_000) + b"]")) == 10_000


def test_a_member_given_twice_counts_as_given_last():
    assert jsontext.decode(b'{"a":1,"a":2}') == {"a": 2}


def test_a_misfit_names_path_and_type_and_never_the_value():
    with pytest.raises(PayloadError) as refused:
        jsontext.strictly(msgspec.json.Decoder(Orders).decode, b'{"orders":[{"state":"a"},{"state":7001}]}')
    assert refused.value.path == "$.orders[1].state"
    assert refused.value.fields == {"path": "$.orders[1].state"}
    assert "Expected str, got int" in refused.value.message
    assert "7001" not in str(refused.value)


def test_an_unknown_choice_is_not_repeated():
    error = jsontext.misfit("Invalid enum value 'hunter2' - at `$.a`")
    assert "hunter2" not in str(error)
    assert error.path == "$.a"


def _depth(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0
