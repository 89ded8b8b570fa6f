"""The rules of CloudEvents 1.0.2, its JSON format and its HTTP binding, one by one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.edge.plane import cloud_event

from interlock.edge.cloudevents import CloudEvent, batched, binary, is_json, mode_of, structured
from interlock.edge.problem import Refused

FIELDS = [("ce-specversion", "1.0"), ("ce-id", "e-1"), ("ce-source", "/till/4"), ("ce-type", "t")]
ALLOWED = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=50)


def as_the_binding_encodes(text: str) -> str:
    """HTTP binding 3.1.3.2: space, double quote, percent and what is not printable ASCII."""
    return "".join(c if "!" <= c <= "~" and c not in '"%' else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


def as_raw_bytes(text: str) -> str:
    """What a sender that does not encode puts on the wire, as the server hands it on."""
    return text.encode().decode("latin-1")


def refusal(event: object) -> Refused:
    with pytest.raises(Refused) as caught:
        structured(json.dumps(event).encode())
    return caught.value


@pytest.mark.parametrize(
    ("media_type", "mode"),
    [
        ("application/cloudevents+json", "structured"),
        ("Application/CloudEvents+JSON; charset=UTF-8", "structured"),
        ('application/cloudevents+json;charset="utf-8"', "structured"),
        ("application/cloudevents-batch+json", "batched"),
        ("application/json", "binary"),
        ("text/plain; x=application/cloudevents+json", "binary"),
        ("", "binary"),
    ],
)
def test_the_mode_is_told_by_the_media_type_in_any_case_and_with_parameters(media_type, mode):
    assert mode_of(media_type) == mode


@pytest.mark.parametrize(
    "media_type",
    [
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents+avro",
        "application/cloudevents-batch+xml",
        "application/cloudevents+json; charset=utf-16",
    ],
)
def test_other_formats_of_cloudevents_are_415(media_type):
    found = mode_of(media_type)
    assert isinstance(found, Refused)
    assert found.status == 415


@given(ALLOWED)
def test_a_percent_encoded_and_a_quoted_value_mean_the_text(text):
    encoded = binary([*FIELDS, ("ce-subject", as_the_binding_encodes(text))], b"")
    assert encoded.attributes["subject"] == text
    quoted = '"' + "".join("\\" + c if c in '"\\' else c for c in as_raw_bytes(text.replace("%", "%25"))) + '"'
    assert binary([*FIELDS, ("ce-subject", quoted)], b"").attributes["subject"] == text


@given(ALLOWED.filter(lambda text: "%" not in text and not text.startswith('"')))
def test_a_raw_value_of_a_sender_that_does_not_encode_means_the_text(text):
    assert binary([*FIELDS, ("ce-subject", as_raw_bytes(text))], b"").attributes["subject"] == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro \xe2\x82\xac \xf0\x9f\x98\x80", "Euro € 😀"),
        ("%41%62%63", "Abc"),
        ("100%2525", "100%25"),
        ("100%", "100%"),
        ("50%-70%", "50%-70%"),
        ('"a \\"b\\" \\\\c"', 'a "b" \\c'),
    ],
)
def test_values_are_unquoted_then_decoded_once(value, text):
    assert binary([*FIELDS, ("ce-subject", value)], b"").attributes["subject"] == text


@pytest.mark.parametrize("value", ["%C0%A0", "%FF", "\xff", "%ED%A0%80", "a%00b", "%7F", "%C2%85", "%EF%BF%BE", ""])
def test_a_value_that_is_no_cloudevents_string_is_refused(value):
    with pytest.raises(Refused) as caught:
        binary([*FIELDS, ("ce-subject", value)], b"")
    assert caught.value.status == 400
    assert caught.value.errors[0].header == "ce-subject"


@pytest.mark.parametrize(
    "field", ["ce-", "ce-foo_bar", "ce-foo-bar", "ce-datacontenttype", "ce-data", "ce-data_base64", "ce-foo.bar"]
)
def test_a_field_that_is_no_attributes_is_refused(field):
    with pytest.raises(Refused):
        binary([*FIELDS, (field, "x")], b"")


@pytest.mark.parametrize("field", ["ce-id", "ce-specversion", "content-type", "ce-ext"])
def test_an_attribute_that_comes_twice_is_refused(field):
    with pytest.raises(Refused, match="more than once"):
        binary([*FIELDS, ("content-type", "application/json"), ("ce-ext", "1"), (field, "1.0")], b"")


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 7, 7.5, True, [], {}, "\x00"])
def test_a_required_attribute_must_be_there_and_be_text(name, value):
    found = refusal(cloud_event(**{name: value}))
    assert found.status == 400
    assert found.errors[0].pointer == f"/{name}"
    missing = cloud_event()
    del missing[name]
    assert refusal(missing).errors[0].pointer == f"/{name}"


@pytest.mark.parametrize("version", ["0.3", "1.1", "2.0", " 1.0", "1", 1])
def test_another_version_of_the_specification_is_refused(version):
    assert refusal(cloud_event(specversion=version)).errors[0].pointer == "/specversion"


def test_unknown_extensions_are_kept_in_their_canonical_form():
    event = structured(json.dumps(cloud_event(comexampleext="x", n=-7, yes=True, no=False, unset=None)).encode())
    assert event.extensions() == (("comexampleext", "x"), ("n", "-7"), ("no", "false"), ("yes", "true"))
    fields = [*FIELDS, ("ce-comexampleext", "x"), ("ce-n", "-7")]
    assert binary(fields, b"").extensions() == (("comexampleext", "x"), ("n", "-7"))


@pytest.mark.parametrize("name", ["Foo", "foo_bar", "foo-bar", "_foo", "", "föö", "a b", "x" * 5000 + "!"])
def test_a_member_that_is_no_attributes_name_is_refused(name):
    found = refusal(cloud_event(**{name: "x"}))
    assert found.status == 400
    assert len(found.message) < 200


@pytest.mark.parametrize("value", [1.5, 2**31, -(2**31) - 1, 10**400, [1], {"a": 1}])
def test_an_extension_of_no_cloudevents_type_is_refused(value):
    assert refusal(cloud_event(ext=value)).errors[0].pointer == "/ext"


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-22T12:51:00Z",
        "2026-11-22t12:51:00.123456789z",
        "2026-11-22T12:51:00+05:30",
        "2016-12-31T23:59:60Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_an_rfc_3339_time_is_kept_as_it_was_given(time):
    assert structured(json.dumps(cloud_event(time=time)).encode()).attributes["time"] == time


@pytest.mark.parametrize(
    "time",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T12:51Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T12:51:00",
        "2026-11-22T24:00:00Z",
        "2026-11-22T12:51:61Z",
        "٢٠٢٦-11-22T12:51:00Z",
        "2026-11-22T12:51:00+25:00",
        1700000000,
    ],
)
def test_any_other_time_is_refused(time):
    assert refusal(cloud_event(time=time)).errors[0].pointer == "/time"


def test_the_payload_is_the_bytes_that_were_sent():
    body = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data": {"b" : 1.50,  "a":[ ]} }'
    assert structured(body).data == b'{"b" : 1.50,  "a":[ ]}'
    in_base64 = cloud_event(data_base64="eyJhIjoxfQ==")
    del in_base64["data"]
    encoded = structured(json.dumps(in_base64).encode())
    assert encoded.data == b'{"a":1}'
    assert binary(FIELDS, b"\x00\xff").data == b"\x00\xff"


@pytest.mark.parametrize("value", ["e", "eyJ", "e y", 7, "é"])
def test_data_base64_must_be_base64_and_come_alone(value):
    event = cloud_event(data_base64=value)
    assert refusal(event).errors[0].pointer == "/data_base64"
    del event["data"]
    assert refusal(event).errors[0].pointer == "/data_base64"


def test_an_empty_batch_is_legal_and_a_long_one_is_413():
    assert batched(b" [] ") == []
    with pytest.raises(Refused) as caught:
        batched(b"[" + b",".join([b"{}"] * 1001) + b"]")
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b"[{},]", b"\xef\xbb\xbf[]", b"[\xff]", b'["\xff"]'])
def test_a_batch_that_is_no_array_of_json_is_400(body):
    with pytest.raises(Refused) as caught:
        batched(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("APPLICATION/JSON; charset=utf-8", True),
        ("application/vnd.shop+json", True),
        ("text/json", True),
        ("application/json; charset=utf-16", False),
        ("text/plain", False),
        ("application/octet-stream", False),
        ("+json", False),
        ("", False),
    ],
)
def test_a_payload_is_json_if_its_media_type_says_so(media_type, expected):
    assert is_json(media_type) is expected


@given(st.binary(max_size=80))
def test_no_body_makes_the_reader_raise_anything_but_a_refusal(body):
    for read in (structured, batched):
        assert isinstance(outcome(read, body), CloudEvent | list | Refused)


def outcome(read, body):
    try:
        return read(body)
    except Refused as refused:
        return refused
