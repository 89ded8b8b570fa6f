"""What every status and every failure without an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.call.classify import Failure, FailureKind, answered, disabled, failed
from interlock.core.handler import Call, Effect
from interlock.core.limits import US_PER_SECOND
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unavailable, Unknown

NOW = 1_767_225_600_000_000


def call(method: str = "POST", effect: Effect = "keyed") -> Call:
    return Call("payments.ledger", method, "/entries", effect=effect, key="il_1")


def outcome_of(status: int, method: str = "POST", effect: Effect = "keyed", **headers: str):
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return answered(call(method, effect), Answer(status, fields), NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_success_is_done_with_its_answer(status: int):
    assert outcome_of(status) == Done(Answer(status))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 520, 599, 302, 303, 307])
def test_what_may_pass_is_later_as_often_as_the_policy_says(status: int):
    outcome = outcome_of(status)
    assert isinstance(outcome, Later)
    assert (outcome.reason, outcome.status, outcome.attempts_max) == (f"http {status}", status, None)


@pytest.mark.parametrize(
    "status", [300, 301, 304, 308, 400, 402, 403, 404, 405, 406, 411, 413, 415, 418, 422, 451, 501, 505]
)
def test_what_cannot_pass_is_rejected(status: int):
    outcome = outcome_of(status)
    assert isinstance(outcome, Reject)
    assert outcome.status == status
    assert outcome.answer == Answer(status)


def test_an_unauthorised_call_is_tried_once_more_and_no_more():
    outcome = outcome_of(401)
    assert isinstance(outcome, Later)
    assert outcome.attempts_max == 2


def test_a_conflict_may_be_our_own_earlier_request_only_where_a_key_was_sent():
    assert isinstance(outcome_of(409), Later)
    assert isinstance(outcome_of(409, effect="natural", method="PUT"), Reject)
    assert isinstance(outcome_of(409, effect="once"), Reject)


def test_gone_stops_the_system_for_posts_and_only_the_event_for_the_resource_methods():
    posted, got = outcome_of(410), outcome_of(410, method="DELETE")
    assert disabled(call(), posted)
    assert isinstance(posted, Later)
    assert isinstance(got, Reject)
    assert not disabled(call("DELETE"), got)
    assert not disabled(call(), outcome_of(404))


def hinted(status: int, hint: str, effect: Effect = "keyed") -> Outcome:
    return answered(call(effect=effect), Answer(status, (("webhook-delivery", hint),)), NOW)


@pytest.mark.parametrize("status", [400, 410, 429, 500, 503])
def test_a_receiver_that_wants_an_event_no_more_is_not_sent_it_again(status: int):
    for effect in ("keyed", "once"):
        assert isinstance(hinted(status, " Abort-Message ", effect), Reject)
    assert isinstance(hinted(200, "abort-message"), Done)
    assert isinstance(hinted(status, "slower"), type(outcome_of(status)))


def test_a_receiver_that_wants_nothing_more_stops_its_system_and_the_event_waits():
    failed_so, done_so = hinted(422, "disable"), hinted(200, "disable")
    assert isinstance(failed_so, Later)
    assert failed_so.attempts_max is None
    assert isinstance(done_so, Done)
    assert isinstance(hinted(500, "disable", "once"), Unknown)
    for outcome in (failed_so, done_so, hinted(500, "disable", "once")):
        assert disabled(call("PUT"), outcome) == "it answered webhook-delivery: disable"
    assert not disabled(call(), hinted(503, "abort-message"))


@pytest.mark.parametrize("status", [500, 502, 504, 507, 520])
def test_an_effect_that_may_happen_once_only_is_unknown_after_an_ambiguous_status(status: int):
    assert isinstance(outcome_of(status, effect="once"), Unknown)


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_a_plain_refusal_is_not_ambiguous_even_for_once(status: int):
    assert isinstance(outcome_of(status, effect="once"), Later)


def test_retry_after_is_taken_from_the_answer():
    outcome = outcome_of(503, retry_after="7")
    assert isinstance(outcome, Later)
    assert outcome.after_us == 7 * US_PER_SECOND


@pytest.mark.parametrize("kind", ["connect", "dns", "tls", "timeout", "reset", "malformed"])
def test_a_call_that_got_no_answer_is_later(kind: FailureKind):
    outcome = failed(call(), Failure(kind, True, "it broke"))
    assert outcome == Later(kind, None, "payments.ledger: it broke")


def test_what_left_no_byte_is_not_ambiguous_for_once():
    assert isinstance(failed(call(effect="once"), Failure("connect", False, "")), Later)
    assert isinstance(failed(call(effect="once"), Failure("timeout", False, "")), Later)
    assert isinstance(failed(call(effect="once"), Failure("timeout", True, "")), Unknown)
    assert isinstance(failed(call(effect="once"), Failure("too-large", True, "")), Unknown)


def test_a_call_that_the_lease_forbade_was_never_made():
    assert failed(call(), Failure("not-sent", False, "")) == Unavailable("lease", None, "payments.ledger")


def test_an_answer_over_the_bound_would_be_as_large_the_next_time():
    assert isinstance(failed(call(), Failure("too-large", True, "9 MB")), Reject)


@given(st.integers(0, 999), st.sampled_from(["keyed", "natural", "probe", "once"]), st.text())
def test_every_status_has_an_outcome_and_only_success_is_done(status: int, effect: Effect, retry_after: str):
    outcome = answered(call(effect=effect), Answer(status, (("retry-after", retry_after),)), NOW)
    assert isinstance(outcome, Done) == (200 <= status < 300)
    if effect != "once":
        assert not isinstance(outcome, Unknown)
