"""The control port: who gets in, what is refused and how, and what each operation of the admin API answers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.control.stage import BOOK, LEDGER, STREAM, Stage, staged

from interlock.control.table import ENDPOINTS
from interlock.core.event import Shard

OPEN = ["/healthz", "/readyz"]
GUARDED = ["/metrics", "/api/v1/openapi.json", "/api/v1/events", "/api/v1/doctor", "/nowhere"]


def test_health_and_readiness_need_no_token_and_tell_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.call("GET", "/healthz", token=None)).json() == {"alive": True}
        stage.process.state["store"] = "disk /var/lib is full"
        ready = await stage.call("GET", "/readyz", token=None)
        assert ready.status == 503
        assert ready.json() == {"ready": False, "parts": {"engine": True, "store": False, "lease": True}}

    staged(scenario)


@pytest.mark.parametrize("path", GUARDED)
def test_everything_else_wants_the_token_even_to_say_that_it_does_not_exist(path: str) -> None:
    async def scenario(stage: Stage) -> None:
        for token in (None, "wrong"):
            refused = await stage.call("GET", path, token=token)
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.json()["code"] == "control.token-refused"

    staged(scenario)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:x", "localhost@evil", None])
@pytest.mark.parametrize("path", [*OPEN, *GUARDED])
def test_a_host_that_is_not_on_the_list_is_refused_before_anything_else(path: str, host: str | None) -> None:
    async def scenario(stage: Stage) -> None:
        refused = await stage.call("GET", path, host=host)
        assert refused.status == 421
        assert refused.json()["code"] == "control.host-refused"

    staged(scenario)


def test_two_host_headers_are_refused_and_loopback_names_pass_with_any_port() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.call("GET", "/healthz", raw=[(b"host", b"127.0.0.1")])).status == 421
        for host in ("localhost", "LOCALHOST:9", "[::1]:8081", "127.0.0.1"):
            assert (await stage.call("GET", "/healthz", host=host)).status == 200

    staged(scenario)


def test_no_answer_allows_another_origin_or_may_be_kept() -> None:
    async def scenario(stage: Stage) -> None:
        for method in ("GET", "OPTIONS", "POST"):
            answer = await stage.call(method, "/api/v1/events", headers={"origin": "https://evil.example"})
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"

    staged(scenario)


def test_unknown_paths_and_methods_are_problems_too() -> None:
    async def scenario(stage: Stage) -> None:
        missing = await stage.get("/api/v1/nothing")
        assert (missing.status, missing.json()["code"]) == (404, "request.path")
        wrong = await stage.call("DELETE", "/api/v1/events")
        assert (wrong.status, wrong.json()["code"]) == (405, "request.method")
        assert "GET" in wrong.headers["allow"]
        assert wrong.headers["content-type"] == "application/problem+json"

    staged(scenario)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=ten", "request.invalid"),
        ("limit=1_0", "request.invalid"),
        ("limit=1&limit=2", "request.invalid"),
        ("limti=1", "request.unknown-member"),
        ("stream=%ff%fe", None),
        ("limit=" + "9" * 4_300, None),
        ("limit=-5", None),
    ],
)
def test_a_malformed_query_is_refused_with_what_is_wrong_and_never_a_failure(query: str, code: str | None) -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.get(f"/api/v1/events?{query}")
        assert answer.status == (400 if code else answer.status)
        assert answer.status < 500
        if code:
            problem = answer.json()
            assert problem["code"] == code
            assert problem["status"] == 400
            assert problem["remedy"]
            assert problem["type"].startswith("https://")

    staged(scenario)


def test_a_misspelt_member_is_told_the_nearest_name() -> None:
    async def scenario(stage: Stage) -> None:
        assert "did you mean limit?" in (await stage.get("/api/v1/events?limti=1")).json()["remedy"]

    staged(scenario)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request.malformed"),
        (b"[]", 400, "request.malformed"),
        (b"{", 400, "request.malformed"),
        (b"\xff", 400, "request.malformed"),
        (b'{"fingerprint":NaN}', 400, "request.malformed"),
        (b"[" * 100_000, 413, "request.too-large"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, None),
        (b'{"fingerprint":1}', 400, "request.invalid"),
        (b'{"fingerprint":"\\ud800"}', 400, None),
        (b'{"fingerprint":"fp_a","wait_us":1' + b"0" * 4_300 + b"}", 400, None),
        (b"{}", 400, "dead.unselected"),
        (b'{"fingerprint":"fp_zzz"}', 404, "dead.unknown"),
        (b'{"event":"evt_vvv"}', 404, "event.unknown"),
        (b'{"event":"evt_zzz"}', 400, "id.malformed"),
        (b'{"fingerprint":"fp_aaaaaaaaaaaa","actor":"' + b"x" * 65 + b'"}', 400, "request.invalid"),
    ],
)
def test_a_malformed_command_is_refused_and_nothing_is_asked_of_any_lane(
    body: bytes, status: int, code: str | None
) -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.call("POST", "/api/v1/dead/retry", body=body, headers={"content-type": "application/json"})
        assert answer.status == status
        assert code in (None, answer.json()["code"])
        assert await stage.store.list("request/") == []

    staged(scenario)


def test_a_wrong_value_is_pointed_at_and_not_repeated() -> None:
    async def scenario(stage: Stage) -> None:
        problem = (await stage.post("/api/v1/dead/retry", {"fingerprint": 12345})).json()
        (fault,) = problem["errors"]
        assert (fault["pointer"], fault["expected"], fault["got"]) == ("/fingerprint", "str | null", "int")
        assert "12345" not in str(problem)

    staged(scenario)


def test_a_form_cannot_send_a_command() -> None:
    async def scenario(stage: Stage) -> None:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await stage.call(
                "POST", f"/api/v1/systems/{LEDGER}/pause", body=b"{}", headers={"content-type": media_type}
            )
            assert answer.status == 415

    staged(scenario)


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "QUERY"]),
    path=st.sampled_from([endpoint.path for endpoint in ENDPOINTS]),
    name=st.text(min_size=1, max_size=30),
    query=st.text(max_size=60),
    body=st.binary(max_size=200),
)
def test_no_request_makes_a_5xx(method: str, path: str, name: str, query: str, body: bytes) -> None:
    async def scenario(stage: Stage) -> None:
        target = path.replace("{name}", name).replace("{id}", name).replace("{fingerprint}", name)
        safe = f"{target}?{query}".encode("utf-8", "replace").decode().replace("tail?", "tail?wait_us=0&")
        answer = await stage.call(method, safe, body=body, headers={"content-type": "application/json"})
        assert answer.status < 500

    staged(scenario)


def test_events_are_listed_newest_first_and_paged_by_id() -> None:
    async def scenario(stage: Stage) -> None:
        first = (await stage.get("/api/v1/events?limit=4")).json()
        assert [event["offset"] for event in first["events"]] == [6, 5, 4, 3]
        rest = (await stage.get(f"/api/v1/events?limit=4&before={first['next']}")).json()
        assert [event["offset"] for event in rest["events"]] == [2, 1]
        assert rest["next"] is None
        assert (await stage.get("/api/v1/events?type=other@1")).json()["events"] == []

    staged(scenario)


def test_an_event_is_shown_with_its_timeline_in_order_and_without_secrets() -> None:
    async def scenario(stage: Stage) -> None:
        dead = (await stage.get("/api/v1/events")).json()["events"][4]
        shown = (await stage.get(f"/api/v1/events/{dead['id']}")).json()
        assert [moment["what"] for moment in shown["timeline"]] == ["accepted", "attempt", "died"]
        assert shown["timeline"][1]["error"] == "http 503"
        assert shown["timeline"][1]["subscription"] == BOOK
        (passage,) = shown["subscriptions"]
        assert (passage["state"], passage["attempts"], passage["reason"]) == ("dead", 1, "exhausted")
        assert shown["payload"] == '{"n":2}'
        assert shown["headers"] == [["cookie", "[redacted]"]]
        assert (await stage.get(f"/api/v1/events/{dead['id']}?payload=false")).json()["payload"] is None
        assert shown["seen"] == {"times": 1, "conflicts": 0, "last_at": None}
        draft = (await stage.store.fetch(Shard(STREAM, 0), [2]))[0].draft
        for data in (draft.data, draft.data, b'{"n":"other"}'):
            stage.clock.jump(1_000)
            await stage.store.append([msgspec.structs.replace(draft, data=data)])
        again = (await stage.get(f"/api/v1/events/{dead['id']}")).json()
        assert again["seen"] == {"times": 4, "conflicts": 1, "last_at": stage.clock.now()}

    staged(scenario)


def test_a_prefix_of_an_id_must_be_unique() -> None:
    async def scenario(stage: Stage) -> None:
        one = (await stage.get("/api/v1/events")).json()["events"][0]["id"]
        assert (await stage.get(f"/api/v1/events/{one[:-1]}")).status == 200
        ambiguous = (await stage.get("/api/v1/events/evt_")).json()
        assert ambiguous["code"] == "event.ambiguous"
        assert ambiguous["detail"].count("evt_") == 5
        assert ambiguous["detail"].endswith(", ...")
        ids = [row["id"] for row in (await stage.get("/api/v1/events")).json()["events"]]
        typo = (await stage.get(f"/api/v1/events/{ids[0][:-1]}v")).json()
        assert typo["code"] == "event.unknown"
        assert typo["remedy"].removeprefix("did you mean ").removesuffix("?") in ids
        for other, verb in (("fp_aaaa", "dead show"), ("job_1", "dead job"), ("att_1", "events show")):
            refused = (await stage.get(f"/api/v1/events/{other}")).json()
            assert refused["code"] == "id.malformed"
            assert f"interlock {verb}" in refused["remedy"]
        assert (await stage.get("/api/v1/events/evt_vvv")).json()["code"] == "event.unknown"
        assert (await stage.get("/api/v1/events/evt_zzz")).json()["code"] == "id.malformed"

    staged(scenario)


def test_dead_letters_come_as_causes_and_then_as_letters() -> None:
    async def scenario(stage: Stage) -> None:
        groups = (await stage.get("/api/v1/dead")).json()
        assert groups["events"] == 3
        assert [(g["fingerprint"], g["count"], g["held"]) for g in groups["groups"]] == [
            ("fp_aaaaaaaaaaaa", 2, 0),
            ("fp_bbbbbbbbbbbb", 1, 1),
        ]
        letters = (await stage.get("/api/v1/dead/fp_aa")).json()
        assert [letter["offset"] for letter in letters["letters"]] == [2, 3]
        assert letters["letters"][0]["event"] == (await stage.get("/api/v1/events")).json()["events"][4]["id"]
        ambiguous = (await stage.get("/api/v1/dead/fp_")).json()
        assert ambiguous["code"] == "dead.ambiguous"
        assert "fp_aaaaaaaaaaaa, fp_bbbbbbbbbbbb" in ambiguous["detail"]
        typo = (await stage.get("/api/v1/dead/fp_aaaaaaaaaaac")).json()
        assert (typo["code"], typo["remedy"]) == ("dead.unknown", "did you mean fp_aaaaaaaaaaaa?")

    staged(scenario)


def test_subscriptions_streams_systems_and_plan_say_what_there_is() -> None:
    async def scenario(stage: Stage) -> None:
        row = (await stage.get("/api/v1/subscriptions")).json()["subscriptions"][0]
        assert (row["name"], row["planned"], row["owner"], row["lag"], row["behind"]) == (
            BOOK,
            True,
            "payments-team",
            1,
            1,
        )
        assert row["stragglers"] == {"dead": 2, "held": 1}
        detail = (await stage.get(f"/api/v1/subscriptions/{BOOK}")).json()
        assert detail["cursors"][0]["imbalance"] == 0
        assert (await stage.get("/api/v1/subscriptions/none")).json()["code"] == "subscription.unknown"
        system = (await stage.get("/api/v1/systems")).json()["systems"][0]
        assert (system["name"], system["breaker"], system["paused"], system["waiting"]) == (LEDGER, "open", False, 2)
        stream = (await stage.get("/api/v1/streams")).json()["streams"][0]
        assert (stream["name"], stream["oldest"], stream["newest"]) == ("payments", [1, 1], [6, 0])
        assert (await stage.get("/api/v1/plan")).json()["digest"] == "d1"

    staged(scenario)


def test_a_bug_of_ours_is_answered_without_its_stack_and_reported() -> None:
    async def scenario(stage: Stage) -> None:
        async def broken() -> None:
            raise RuntimeError("s3cret")

        stage.views.cursors = broken  # type: ignore[method-assign, assignment]
        with pytest.raises(RuntimeError):  # the server logs it; the answer has been sent before
            await stage.get("/api/v1/doctor")
        assert ("control.failed", {"route": "/api/v1/doctor", "error": "RuntimeError"}) in stage.records.all
        name, fields = stage.records.all[-1]
        assert (name, fields["status"]) == ("control.request", 500)

    staged(scenario)


def test_every_answer_is_a_record_with_its_route_and_not_its_path() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.get("/api/v1/events/evt_secret")
        name, fields = stage.records.all[-1]
        assert (name, fields["route"], fields["status"]) == ("control.request", "/api/v1/events/{id}", 404)
        assert "evt_secret" not in str(stage.records.all)

    staged(scenario)
