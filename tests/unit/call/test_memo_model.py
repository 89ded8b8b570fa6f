"""An event's calls over many attempts, beside a table of what has finished."""

from __future__ import annotations

import asyncio

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.unit.call.test_effect import Outlet, scope

from interlock.call.effect import CallFailed, Scope
from interlock.call.record import Request
from interlock.core.outcome import Answer, Done, Later, Outcome, Reject, Unknown

Name = tuple[str, str]
"""A System, and what the call to it is called."""
NAMES: tuple[Name, ...] = (("shop.crm", "reserve"), ("shop.crm", "ship"), ("shop.erp", "reserve"))
FAILURES: tuple[Outcome, ...] = (Later("http 503", status=503), Later("timeout"), Reject("http 422", status=422))
CALLS = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([b"one", b"one", b"other"]), st.sampled_from([None, None, *FAILURES])
)


class AttemptsAgainstATable(RuleBasedStateMachine):
    """What has finished is answered from memory, or held where the code asks for something else; the rest is sent."""

    @initialize()
    def begin(self) -> None:
        self.memo = b""
        self.finished: dict[Name, tuple[bytes, Answer]] = {}
        self.keys: dict[Name, str] = {}
        self.answers = 0

    @rule(calls=st.lists(CALLS, min_size=1, max_size=3, unique_by=lambda call: call[0]), crashes=st.booleans())
    def attempt(self, calls: list[tuple[Name, bytes, Outcome | None]], crashes: bool) -> None:
        """It makes some calls; then it fails, and its memo is stored, or it crashes, and what was stored stays."""
        attempt = scope(self.memo)
        finished = dict(self.finished)
        for name, body, failure in calls:
            came = self.call(attempt, name, body, failure)
            if isinstance(came, Done) and came.answer is not None:
                finished.setdefault(name, (body, came.answer))
        if not crashes:
            self.memo, self.finished = attempt.encode_memo(), finished

    def call(self, attempt: Scope, name: Name, body: bytes, failure: Outcome | None) -> Outcome:
        self.answers += 1
        answers = failure or Done(Answer(201, (), b"%d" % self.answers))
        outlet = Outlet(answers, system=name[0])
        came = _sent(attempt, outlet, Request("POST", "/orders", (), body, label=name[1]))
        if name in self.finished:
            asked, answer = self.finished[name]
            assert not outlet.calls, "a call that had finished was sent again"
            assert came == Done(answer) if asked == body else getattr(came, "reason", "") == "memo-mismatch"
            assert isinstance(came, Done | Unknown)
        else:
            (sent,) = outlet.calls
            assert self.keys.setdefault(name, sent.key) == sent.key, "an attempt has another key for the same call"
            assert came == answers
        return came

    def teardown(self) -> None:
        assert len(set(self.keys.values())) == len(self.keys), "two calls share a key"


def _sent(attempt: Scope, outlet: Outlet, request: Request) -> Outcome:
    try:
        return Done(asyncio.run(attempt.send(outlet, request)))
    except CallFailed as failed:
        return failed.outcome


TestAttemptsAgainstATable = AttemptsAgainstATable.TestCase
TestAttemptsAgainstATable.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
