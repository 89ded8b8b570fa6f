"""`POST /events`: CloudEvents in their three modes, and what each kind of bad input is answered."""

from __future__ import annotations

import json

import pytest
from tests.unit.edge.plane import TOKEN, FakeExchange, Plane, cloud_event

BATCH = "application/cloudevents-batch+json"
BINARY = [("ce-specversion", "1.0"), ("ce-id", "e-1"), ("ce-source", "/till/4"), ("ce-type", "payment.settled@1")]
PAYLOAD = b'{"account":"a-1","amount":5}'


def test_a_structured_event_becomes_an_event_of_its_type():
    plane = Plane()
    answer = plane.post_json(cloud_event(subject="s", time="2026-11-22T12:51:00Z", ext="kept"))
    assert answer.status == 202
    [event] = plane.log.events
    assert answer.json == {"id": event.id, "ids": [event.id], "duplicate": False}
    draft = event.draft
    assert (draft.stream, draft.type, draft.source, draft.id, draft.key) == (
        "shop",
        "payment.settled@1",
        "/till/4",
        "e-1",
        "a-1",
    )
    assert (draft.subject, draft.time, draft.extensions) == ("s", "2026-11-22T12:51:00Z", (("ext", "kept"),))
    assert json.loads(draft.data) == {"account": "a-1", "amount": 5}


def test_a_binary_event_is_the_same_event():
    structured, in_fields = Plane(), Plane()
    structured.post_json(cloud_event())
    in_fields.post(PAYLOAD, *BINARY, ("content-type", "application/json"))
    a, b = structured.log.drafts[0], in_fields.log.drafts[0]
    assert (a.stream, a.type, a.source, a.id, a.key, json.loads(a.data)) == (
        b.stream,
        b.type,
        b.source,
        b.id,
        b.key,
        json.loads(b.data),
    )


def test_an_event_without_a_media_type_is_json():
    plane = Plane()
    assert plane.post(PAYLOAD, *BINARY).status == 202
    assert plane.log.drafts[0].datacontenttype == "application/json"


def test_a_batch_is_one_commit_and_answers_with_every_id():
    plane = Plane()
    answer = plane.post_json([cloud_event(id=f"e-{n}") for n in range(3)], BATCH)
    assert answer.json["ids"] == [event.id for event in plane.log.events]
    assert (len(plane.log.events), plane.log.commits) == (3, 1)


def test_an_empty_batch_is_answered_200_without_a_commit():
    plane = Plane()
    answer = plane.post_json([], BATCH)
    assert (answer.status, answer.json, plane.log.commits) == (200, {"ids": [], "duplicate": False}, 0)


def test_a_batch_with_faults_records_nothing_and_lists_every_one():
    plane = Plane()
    events = [
        cloud_event(),
        cloud_event(id=""),
        cloud_event(id="e-2", data={"account": "a", "amount": "much"}),
        cloud_event(id="e-3", type="nope"),
        7,
        cloud_event(id="e-5"),
    ]
    answer = plane.post_json(events, BATCH)
    assert (answer.status, answer.json["code"]) == (422, "events.batch-refused")
    assert [error["pointer"] for error in answer.json["errors"]] == ["/1/id", "/2/data/amount", "/3/type", "/4"]
    assert plane.log.events == []


def test_a_batch_whose_faults_are_of_one_kind_has_their_status():
    plane = Plane()
    assert plane.post_json([cloud_event(id=""), cloud_event(source="")], BATCH).status == 400


def test_a_batch_with_a_thousand_faults_lists_a_hundred():
    answer = Plane().post_json([cloud_event(id="")] * 1000, BATCH)
    assert len(answer.json["errors"]) == 100
    assert answer.json["detail"].startswith("1000 of 1000")


def test_a_batch_that_gives_one_id_two_payloads_is_refused_before_the_commit():
    plane = Plane()
    events = [cloud_event(), cloud_event(data={"account": "a-1", "amount": 6})]
    answer = plane.post_json(events, BATCH)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (409, "/1")
    assert plane.log.events == []
    assert plane.post_json([cloud_event(), cloud_event()], BATCH).status == 202


def test_an_event_sent_again_is_a_duplicate_and_with_another_payload_a_conflict():
    plane = Plane()
    first, again = plane.post_json(cloud_event()), plane.post_json(cloud_event())
    assert again.json == {**first.json, "duplicate": True}
    conflict = plane.post_json(cloud_event(data={"account": "a-1", "amount": 6}))
    assert (conflict.status, conflict.json["code"]) == (409, "events.id-conflict")
    assert conflict.json["instance"] == first.json["id"]
    assert len(plane.log.events) == 1


def test_a_batch_with_a_known_id_and_another_payload_names_its_place():
    plane = Plane()
    first = plane.post_json(cloud_event())
    events = [cloud_event(id="e-2"), cloud_event(data={"account": "a-1", "amount": 6})]
    answer = plane.post_json(events, BATCH)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (409, "/1/id")
    assert answer.json["instance"] == first.json["id"]
    assert answer.json["detail"].endswith("so nothing was recorded.")
    assert [record["events"] for record in plane.records("events.id-conflict")] == [1]
    assert [record["events"] for record in plane.records("events.accepted")] == [1]


def test_a_batch_that_was_answered_409_has_left_nothing_and_is_taken_without_the_conflict():
    plane = Plane()
    plane.post_json(cloud_event())
    changed = cloud_event(data={"account": "a-1", "amount": 6})
    for _ in range(2):
        assert plane.post_json([cloud_event(id="e-2"), changed, cloud_event(id="e-3")], BATCH).status == 409
        assert [draft.id for draft in plane.log.drafts] == ["e-1"]
    answer = plane.post_json([cloud_event(id="e-2"), cloud_event(), cloud_event(id="e-3")], BATCH)
    assert (answer.status, answer.json["duplicate"]) == (202, False)
    assert [draft.id for draft in plane.log.drafts] == ["e-1", "e-2", "e-3"]


def test_a_batch_with_a_thousand_conflicts_lists_a_hundred():
    plane = Plane()
    plane.post_json([cloud_event(id=f"e-{n}") for n in range(1000)], BATCH)
    changed = {"account": "a-1", "amount": 6}
    answer = plane.post_json([cloud_event(id=f"e-{n}", data=changed) for n in range(1000)], BATCH)
    assert (answer.status, len(answer.json["errors"])) == (409, 100)
    assert answer.json["detail"].startswith("1000 events")


@pytest.mark.parametrize(
    ("type", "dataschema", "expected"),
    [
        ("repository.pushed", None, "repository.pushed@1"),
        ("repository.pushed", "https://schemas.example/pushed", "repository.pushed@1"),
        ("payment.settled", "https://schemas.example/settled/2", "payment.settled@2"),
        ("payment.settled", "https://schemas.example/settled/v1", "payment.settled@1"),
        ("payment.settled", "urn:settled:2", "payment.settled@2"),
        ("payment.settled", "payment.settled@2", "payment.settled@2"),
        ("payment.settled@1", "https://schemas.example/settled/2", "payment.settled@1"),
    ],
)
def test_the_version_stands_in_the_type_or_ends_the_dataschema(type, dataschema, expected):
    plane = Plane()
    data = {"account": "a", "amount": 1, "repository": "o/h", "ref": "r"}
    answer = plane.post_json(cloud_event(type=type, dataschema=dataschema, data=data))
    assert answer.status == 202
    assert (plane.log.drafts[0].type, plane.log.drafts[0].dataschema) == (expected, dataschema)


@pytest.mark.parametrize(
    ("type", "dataschema", "code"),
    [
        ("payment.settled", None, "events.version-unknown"),
        ("payment.settled", "https://schemas.example/settled", "events.version-unknown"),
        ("payment.settled", "https://schemas.example/settled/3", "events.version-unknown"),
        ("repository.pushed", "https://schemas.example/pushed/2", "events.version-unknown"),
        ("payment.settled@3", None, "events.type-unknown"),
        ("payment.setled", None, "events.type-unknown"),
        ("_audit", None, "events.type-unknown"),
        ("x" * 255, None, "events.type-unknown"),
        ("shop.from_github.request@1", None, "events.type-unknown"),
    ],
)
def test_a_type_or_version_that_nobody_declares_is_422(type, dataschema, code):
    answer = Plane().post_json(cloud_event(type=type, dataschema=dataschema))
    assert (answer.status, answer.json["code"]) == (422, code)


def test_a_misspelt_type_is_told_the_nearest():
    answer = Plane().post_json(cloud_event(type="payment.setled"))
    assert answer.json["remedy"] == "Did you mean payment.settled?"


@pytest.mark.parametrize(
    ("data", "pointer", "expected", "got"),
    [
        ({"account": 7, "amount": 5}, "/data/account", "str", "int"),
        ({"account": "a"}, "/data", "", ""),
        ([], "/data", "object", "array"),
        (None, "/data", "object", "null"),
    ],
)
def test_a_payload_that_misses_its_model_is_422_with_the_place(data, pointer, expected, got):
    plane = Plane()
    answer = plane.post_json(cloud_event(data=data))
    assert (answer.status, answer.json["code"]) == (422, "payload.invalid")
    [error] = answer.json["errors"]
    assert error["pointer"] == pointer
    assert error.get("expected", "") == expected
    assert error.get("got", "") == got
    assert plane.log.events == []


def test_a_key_that_fails_on_a_payload_is_the_payloads_fault_and_is_told_to_the_operator():
    plane = Plane()
    for data in ({"account": "", "amount": 0}, {"account": "", "amount": 1}):
        assert plane.post_json(cloud_event(type="broken.key", data=data)).status == 422
    [failed] = plane.records("events.key-failed")
    assert failed["type"] == "broken.key@1"
    assert str(failed["error"]).startswith("_Odd at plane.py:")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/json; charset=utf-16", "json"])
def test_a_payload_that_is_not_json_is_415(media_type):
    plane = Plane()
    assert plane.post(PAYLOAD, *BINARY, ("content-type", media_type)).status == 415
    assert plane.post_json(cloud_event(datacontenttype=media_type)).status == 415


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        ["Bearer wrong"],
        ["Basic abc"],
        [f"Bearer {TOKEN}"] * 2,
        [f"Bearer {TOKEN}x"],
        ["Bearer \xff"],
    ],
)
def test_without_the_token_nothing_is_read(authorization):
    plane = Plane()
    answer = plane.send("POST", "/events", [("authorization", value) for value in authorization], PAYLOAD)
    assert (answer.status, answer.json["code"], answer.collected) == (401, "access.denied", False)
    challenge = answer.fields["www-authenticate"]
    assert challenge == 'Bearer realm="interlock"' + (', error="invalid_token"' if authorization else "")


HOSTILE = [
    b"",
    b"NaN",
    b'{"account":"a","amount":NaN}',
    b'{"account":"a","amount":Infinity}',
    b'{"account":"a","amount":1e400}',
    b'{"account":"a","amount":' + b"9" * 4301 + b"}",
    b'{"account":"a","amount":1_0}',
    b'{"account":"\xff","amount":1}',
    b'{"account":"a","amount":1,"other":"\xff"}',
    b'{"account":"\\ud800","amount":1}',
    b'{"account":"a\x00","amount":1}',
    b'{"account":"a\\u0000","amount":1}',
    b'{"account":"","amount":1}',
    b'{"account":"' + b"k" * 256 + b'","amount":1}',
    b"[" * 100_000,
    b"[" * 500 + b"]" * 500,
    b'{"account":"a","amount":1,"x":' + b"[" * 65 + b"]" * 65 + b"}",
    b'{"account":"a","amount":1}}',
    b'\xef\xbb\xbf{"account":"a","amount":1}',
    '{"account":"a","amount":1}'.encode("utf-16"),
]


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json_is_a_4xx_in_every_mode_and_leaves_nothing(payload):
    plane = Plane()
    envelope = b'{"specversion":"1.0","id":"e","source":"s","type":"payment.settled@1","data":' + payload + b"}"
    answers = [
        plane.post(payload, *BINARY, ("content-type", "application/json")),
        plane.post(envelope, ("content-type", "application/cloudevents+json")),
        plane.post(b"[" + envelope + b"]", ("content-type", BATCH)),
    ]
    for answer in answers:
        assert 400 <= answer.status < 500
        assert answer.fields["content-type"] == "application/problem+json"
        assert answer.json["remedy"]
    assert plane.log.events == []


def test_two_content_types_are_refused():
    answer = Plane().post(PAYLOAD, *BINARY, ("content-type", "application/json"), ("content-type", "text/plain"))
    assert (answer.status, answer.json["errors"][0]["header"]) == (400, "content-type")


def test_unknown_routes_and_methods_are_problems_too():
    plane = Plane()
    assert plane.send("GET", "/").json["code"] == "route.unknown"
    assert plane.send("GET", "/events").fields["allow"] == "OPTIONS, POST"
    options = plane.send("OPTIONS", "/events")
    assert (options.status, options.fields["allow"]) == (204, "OPTIONS, POST")
    assert plane.send("OPTIONS", "*").status == 404


def test_an_answer_is_counted_under_its_route_and_one_without_under_none() -> None:
    plane = Plane()
    assert plane.post_json(cloud_event()).route == "/events"
    assert plane.from_sensor(b"{}").route.startswith("/hooks/")
    stranger = FakeExchange("GET", "/wp-login.php")
    plane.app(stranger)
    assert (stranger.status, stranger.route) == (404, "")
