"""Refusals as RFC 9457 problems."""

from __future__ import annotations

import json

import pytest

from interlock.core.errors import InterlockError
from interlock.edge.problem import Refused, problem, rendered
from interlock.spec.jsontext import PayloadError
from interlock.spec.problem import Fault, fault_of
from interlock.wire.exchange import Refusal


def test_a_problem_says_what_is_wrong_with_what_and_what_to_do():
    error = Refused(422, "events.type-unknown", "No such type.", "Declare it.", errors=[Fault("no such type", "/type")])
    headers, body = problem(422, error, instance="evt_1")
    assert dict(headers) == {"content-type": "application/problem+json"}
    assert json.loads(body) == {
        "type": "https://interlock.example/docs/errors/events.type-unknown",
        "title": "Events: type unknown",
        "status": 422,
        "detail": "No such type.",
        "code": "events.type-unknown",
        "remedy": "Declare it.",
        "docs": "https://interlock.example/docs/errors/events.type-unknown",
        "retryable": False,
        "instance": "evt_1",
        "errors": [{"message": "no such type", "pointer": "/type"}],
    }


def test_what_may_be_tried_again_says_when_in_the_body_and_in_the_header():
    headers, body = problem(503, InterlockError("store.busy", "Busy.", "Wait."), retry_after=7)
    assert dict(headers)["retry-after"] == "7"
    assert json.loads(body)["retryable"] is True
    assert json.loads(body)["retry_after"] == 7


def test_the_servers_own_refusals_have_the_same_form():
    headers, body = rendered(Refusal(431, "http.header-too-large", "Too large.", "Send less."), None)
    assert dict(headers)["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "http.header-too-large"
    assert dict(rendered(Refusal(503, "http.connections-exhausted", "", ""))[0])["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [("$", "/data"), ("$.a", "/data/a"), ("$.lines[2].sku", "/data/lines/2/sku"), ("$.a/b~c", "/data/a~1b~0c")],
)
def test_the_place_of_a_misfit_is_a_json_pointer(path, pointer):
    error = PayloadError("payload.invalid", f"At {path}: Expected str, got int", "Mend it.", path=path)
    assert fault_of(error, "/data") == Fault(error.message, pointer, expected="str", got="int")
