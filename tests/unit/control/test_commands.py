"""Commands: one commit of cells and audit event, a chain that shows tampering, and answers from the lanes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.control.stage import BOOK, CURSOR, FED, LEDGER, NIGHTLY, STREAM, Stage, staged

from interlock.control import audit
from interlock.control.audit import AuditEntry, Chain, Who
from interlock.control.ports import ReloadRefused
from interlock.core.controls import Control, decode_control, encode_control, system_control_key
from interlock.core.cursor import CursorId
from interlock.core.errors import InterlockError
from interlock.core.event import Shard
from interlock.core.limits import LEASE_TTL_US, REQUEST_OFFSETS_MAX, US_PER_DAY, US_PER_HOUR
from interlock.core.ports import Room
from interlock.core.requests import decode_request, request_key, request_prefix
from interlock.journal.ports import Assign, CellWrite, Lease, Settlement
from interlock.spec.schedule import Place
from interlock.testing.clock import FIRST_NOW

ANN = Who("token[0] (ann)", "ledger is down")


async def entries(stage: Stage) -> list[AuditEntry]:
    batch = await stage.store.read(Shard(audit.STREAM, 0), 0, 100)
    return [msgspec.json.decode(event.draft.data, type=AuditEntry) for event in batch.events]


async def payloads(stage: Stage) -> list[bytes]:
    return [event.draft.data for event in (await stage.store.read(Shard(audit.STREAM, 0), 0, 100)).events]


def test_a_pause_writes_its_cell_and_its_audit_event_and_is_acted_on() -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.post(f"/api/v1/systems/{LEDGER}/pause", {"reason": "ledger is down", "actor": "ann"})
        assert answer.json() == {"name": LEDGER, "paused": True, "applied": 1, "of": 1}
        cell = (await stage.store.get([system_control_key(LEDGER)]))[system_control_key(LEDGER)]
        control = decode_control(cell.value)
        assert (control.paused, control.by, control.reason) == (True, "token[0] (ann)", "ledger is down")
        (entry,) = await entries(stage)
        assert (entry.action, entry.subject, entry.actor, entry.previous) == (
            "system.pause",
            LEDGER,
            control.by,
            audit.GENESIS,
        )
        assert decode_control(bytes(entry.before)) == Control()
        assert decode_control(bytes(entry.after)) == control
        assert (await stage.get("/api/v1/systems")).json()["systems"][0]["paused"] is True

    staged(scenario)


def test_resume_keeps_what_else_was_forced() -> None:
    async def scenario(stage: Stage) -> None:
        key = system_control_key(LEDGER)
        await stage.store.put([CellWrite(key, encode_control(Control(paused=True, forced="open")))])
        done = await stage.commands.pause_system(LEDGER, ANN, paused=False)
        assert (done.control.paused, done.control.forced) == (False, "open")

    staged(scenario)


def test_a_process_that_does_not_act_within_a_second_is_reported_as_such() -> None:
    async def scenario(stage: Stage) -> None:
        stage.process.deaf = True
        done = await stage.drive(stage.commands.pause_system(LEDGER, ANN, paused=True))
        assert (done.applied, done.of) == (0, 1)

    staged(scenario)


def test_a_dry_run_writes_nothing_at_all() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.post(f"/api/v1/systems/{LEDGER}/pause", {"dry_run": True})).json()["applied"] == 0
        dry = (await stage.post("/api/v1/dead/discard", {"fingerprint": "fp_aa", "dry_run": True})).json()
        assert (dry["job"], dry["of"], len(dry["events"])) == (None, 2, 2)
        assert stage.store.stream(audit.STREAM) is None
        assert await stage.store.list("control/") == []
        assert await stage.store.list("request/") == []

    staged(scenario)


def test_an_unknown_subject_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.post("/api/v1/systems/none/pause", {})).json()["code"] == "system.unknown"
        assert (await stage.post("/api/v1/subscriptions/none/pause", {})).json()["code"] == "subscription.unknown"
        assert (await stage.post(f"/api/v1/subscriptions/{BOOK}/pause", {"reason": "migration"})).status == 200
        row = (await stage.get("/api/v1/subscriptions")).json()["subscriptions"][0]
        assert (row["paused"], row["by"], row["reason"]) == (True, "token[0]", "migration")

    staged(scenario)


def test_commands_at_once_are_chained_one_after_the_other() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.drive(
            asyncio.gather(*(stage.commands.pause_system(LEDGER, ANN, paused=n % 2 == 0) for n in range(5)))
        )
        chain = Chain()
        assert [chain.holds(payload) for payload in await payloads(stage)] == [True] * 5
        assert (await stage.get("/api/v1/doctor")).json()["ok"] is True

    staged(scenario)


def test_a_changed_a_missing_and_a_moved_audit_event_break_the_chain() -> None:
    async def scenario(stage: Stage) -> None:
        for paused in (True, False, True):
            await stage.drive(stage.commands.pause_system(LEDGER, ANN, paused=paused))
        one, two, three = await payloads(stage)
        for forged in (
            [one.replace(b"ann", b"bob"), two, three],
            [one, three],
            [two, one, three],
            [one, b"not json", three],
        ):
            chain = Chain()
            assert not all(chain.holds(payload) for payload in forged)
        later = Chain(whole=False)
        assert all(later.holds(payload) for payload in (two, three))

    staged(scenario)


def test_doctor_and_the_list_of_subscriptions_take_no_poll_and_no_schedule_for_a_stranger() -> None:
    async def scenario(stage: Stage) -> None:
        lease = await stage.store.renew("w1", LEASE_TTL_US)
        assert isinstance(lease, Lease)
        await stage.store.open(lease, [Assign(CursorId(name, Shard(STREAM, 0))) for name in (FED, NIGHTLY)])
        assert (await stage.get("/api/v1/doctor")).json()["ok"] is True
        listed = (await stage.get("/api/v1/subscriptions")).json()["subscriptions"]
        assert [row["name"] for row in listed] == [BOOK]

    staged(scenario)


def test_the_list_of_schedules_has_the_next_and_the_last_run() -> None:
    async def listed(stage: Stage) -> dict[str, object]:
        [row] = (await stage.get("/api/v1/schedules")).json()["schedules"]
        return row  # type: ignore[no-any-return]

    async def scenario(stage: Stage) -> None:
        row = await listed(stage)
        assert (row["name"], row["times"], row["missed"]) == (NIGHTLY, "0 6 * * * UTC", "skip")
        assert (row["owner"], row["next_at"], row["last_at"]) == ("payments-team", None, None)
        lease = await stage.store.renew("w1", LEASE_TTL_US)
        assert isinstance(lease, Lease)
        id, ran = CursorId(NIGHTLY, Shard(STREAM, 0)), FIRST_NOW + 6 * US_PER_HOUR
        [opened] = await stage.store.open(lease, [Assign(id)])  # type: ignore[misc]
        cursor = opened.cursor
        token = Place(ran, ran).token()
        run = Settlement(id, "w1", cursor.epoch, 1, cursor.floor, cursor.above, cursor.counters, token=token)
        await stage.store.commit([run])
        row = await listed(stage)
        assert (row["next_at"], row["last_at"]) == (ran + US_PER_DAY, ran)

    staged(scenario)


def test_doctor_says_where_the_audit_was_tampered_with_and_which_cursor_does_not_balance() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.commands.pause_system(LEDGER, ANN, paused=True)
        log = stage.store.disk.shard(Shard(audit.STREAM, 0))
        event = log.events[0]
        log.events[0] = msgspec.structs.replace(
            event, draft=msgspec.structs.replace(event.draft, data=event.draft.data.replace(b'"0000', b'"1000'))
        )
        del stage.store.disk.ledgers[CURSOR].rows[2]
        found = (await stage.get("/api/v1/doctor")).json()
        failed = {check["name"]: check["says"] for check in found["checks"] if not check["ok"]}
        assert failed.keys() == {"audit", "conservation"}
        assert event.id in failed["audit"]
        assert "payments.book on payments/0: 5 = 1 + 2 + 1" in failed["conservation"]
        assert found["ok"] is False

    staged(scenario)


def test_doctor_names_a_subscription_that_only_the_store_knows_and_a_part_that_is_not_well() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.store.release("w1")
        await stage.store.rename_subscription(BOOK, "payments.old")
        stage.process.state["lease"] = "ended"
        failed = {
            check["name"]: check for check in (await stage.get("/api/v1/doctor")).json()["checks"] if not check["ok"]
        }
        assert "payments.old" in failed["plan"]["says"]
        assert "rename" in failed["plan"]["remedy"]
        assert failed["process.lease"]["says"] == "ended"

    staged(scenario)


def test_doctor_hints_at_a_disk_that_fills_and_fails_where_intake_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        async def disk() -> dict[str, Any]:
            checks = (await stage.get("/api/v1/doctor")).json()["checks"]
            return next(check for check in checks if check["name"] == "disk")

        stage.process.room = Room(40 * 2**30, 100 * 2**30), "ok"
        assert await disk() == {"name": "disk", "ok": True, "says": "40.0 GiB of 100.0 GiB are free", "remedy": ""}
        stage.process.room = Room(4 * 2**30, 100 * 2**30), "low"
        found = await disk()
        assert (found["ok"], found["remedy"]) == (True, "free space on the disk of the store; it goes on by itself")
        stage.process.room = Room(40 * 2**20, 100 * 2**30), "full"
        found = await disk()
        assert found["ok"] is False
        assert found["says"] == "40.0 MiB of 100.0 GiB are free: intake is refused (507), delivery goes on"

    staged(scenario)


def test_a_group_is_frozen_asked_of_its_lane_and_answered() -> None:
    async def scenario(stage: Stage) -> None:
        answer = (await stage.post("/api/v1/dead/retry", {"fingerprint": "fp_aa", "reason": "fixed"})).json()
        assert (answer["of"], answer["applied"], answer["answers"]) == (2, 2, {"retried": 2})
        (cell,) = await stage.store.list(request_prefix(CURSOR))
        request = decode_request(cell.value)
        assert cell.key == request_key(CURSOR, answer["job"])
        assert (request.verb, request.offsets, request.reason, request.keep_memo) == ("retry", (2, 3), "fixed", True)
        (entry,) = await entries(stage)
        assert entry.action == "dead.retry"
        assert msgspec.json.decode(entry.after)["events"] == {"payments.book/payments/0": [2, 3]}

    staged(scenario)


@pytest.mark.parametrize(
    ("verb", "selector", "count"),
    [
        ("retry", {"subscription": BOOK}, 3),
        ("skip", {"subscription": BOOK}, 1),
        ("discard", {"fingerprint": "fp_bb"}, 1),
        ("restore", {"subscription": BOOK}, 0),
        ("retry", {"fingerprint": "fp_aa", "subscription": "other"}, None),
    ],
)
def test_a_verb_selects_only_what_it_can_act_on(verb: str, selector: dict[str, str], count: int | None) -> None:
    async def scenario(stage: Stage) -> None:
        answer = await stage.post(f"/api/v1/dead/{verb}", {**selector, "dry_run": True})
        assert (answer.json()["of"] if count is not None else answer.status) == (404 if count is None else count)

    staged(scenario)


def test_one_event_is_selected_by_a_prefix_of_its_id() -> None:
    async def scenario(stage: Stage) -> None:
        id = (await stage.get("/api/v1/events")).json()["events"][3]["id"]
        answer = (await stage.post("/api/v1/dead/discard", {"event": id[:-1]})).json()
        assert answer["events"] == [id]

    staged(scenario)


def test_a_lane_that_does_not_answer_leaves_the_request_for_later_and_says_how_many_are_open() -> None:
    async def scenario(stage: Stage) -> None:
        stage.process.deaf = True
        before = stage.clock.monotonic()
        answer = (await stage.post("/api/v1/dead/retry", {"fingerprint": "fp_aa", "wait_us": 2_000_000})).json()
        assert stage.clock.monotonic() - before == 2_000_000
        assert (answer["of"], answer["applied"]) == (2, 0)
        assert len(await stage.store.list(request_prefix(CURSOR))) == 1

    staged(scenario)


def test_many_events_become_several_cells_of_one_commit() -> None:
    async def scenario(stage: Stage) -> None:
        offsets = list(range(1, 2 * REQUEST_OFFSETS_MAX + 2))
        asked = await stage.drive(stage.commands.ask("discard", {CURSOR: offsets}, ANN))
        assert (asked.applied, asked.of) == (len(offsets), len(offsets))
        cells = await stage.store.list(request_prefix(CURSOR))
        requests = [decode_request(cell.value) for cell in cells]
        assert sorted(len(request.offsets) for request in requests) == [1, REQUEST_OFFSETS_MAX, REQUEST_OFFSETS_MAX]
        assert len(await entries(stage)) == 1

    staged(scenario)


def test_a_reload_is_audited_with_what_it_took_over_and_a_dry_run_is_not() -> None:
    async def scenario(stage: Stage) -> None:
        told = {"systems": [LEDGER], "certificates": 1, "waiting": ["store"], "empty": []}
        assert (await stage.post("/api/v1/config/reload", {"dry_run": True})).json() == told
        assert (stage.reload.taken_over, stage.store.stream(audit.STREAM)) == (0, None)
        assert (await stage.post("/api/v1/config/reload", {"reason": "new key", "actor": "ann"})).json() == told
        assert stage.reload.taken_over == 1
        (entry,) = await entries(stage)
        assert (entry.action, entry.subject, entry.actor) == ("config.reload", "config", "token[0] (ann)")
        assert msgspec.json.decode(entry.after) == told
        assert (await stage.get("/api/v1/doctor")).json()["ok"] is True

    staged(scenario)


def test_a_reload_of_wrong_settings_is_refused_with_every_finding_and_not_audited() -> None:
    async def scenario(stage: Stage) -> None:
        stage.reload.answer = ReloadRefused(
            ["settings.bound at a.toml:3: it is too much", "settings.value at b.toml:1"]
        )
        for dry_run in (True, False):
            refused = await stage.post("/api/v1/config/reload", {"dry_run": dry_run})
            assert (refused.status, refused.json()["code"]) == (409, "config.refused")
            assert [error["message"] for error in refused.json()["errors"]] == stage.reload.answer.findings
        assert (stage.reload.taken_over, stage.store.stream(audit.STREAM)) == (0, None)

    staged(scenario)


def test_a_reader_without_a_process_cannot_command() -> None:
    async def scenario(stage: Stage) -> None:
        from interlock.control.shapes import DeadCommand
        from interlock.control.table import DEAD_VERBS

        offline = stage.admin._replace(commands=None)
        with pytest.raises(InterlockError) as refused:
            await DEAD_VERBS["retry"].handler(offline, "offline", DeadCommand(fingerprint="fp_aa"))
        assert refused.value.code == "control.read-only"

    staged(scenario)


def test_a_paused_schedule_is_listed_so_audited_and_an_unknown_one_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.post("/api/v1/schedules/none/pause", {})).json()["code"] == "schedule.unknown"
        dry = (await stage.post(f"/api/v1/schedules/{NIGHTLY}/pause", {"dry_run": True})).json()
        assert (dry["paused"], dry["applied"]) == (True, 0)
        done = (await stage.post(f"/api/v1/schedules/{NIGHTLY}/pause", {"reason": "month end"})).json()
        assert (done["paused"], done["applied"], done["of"]) == (True, 1, 1)
        [row] = (await stage.get("/api/v1/schedules")).json()["schedules"]
        assert (row["paused"], row["by"], row["reason"]) == (True, "token[0]", "month end")
        assert (await stage.post(f"/api/v1/schedules/{NIGHTLY}/resume", {})).json()["paused"] is False
        entries = [msgspec.json.decode(payload) for payload in await payloads(stage)]
        assert [entry["action"] for entry in entries] == ["schedule.pause", "schedule.resume"]

    staged(scenario)


def test_a_name_that_nothing_has_is_answered_with_what_may_be_meant() -> None:
    async def scenario(stage: Stage) -> None:
        for path, meant in (
            ("systems/payments.ledgr/pause", LEDGER),
            ("subscriptions/book/pause", BOOK),
            ("schedules/payments.nightli/pause", NIGHTLY),
        ):
            assert (await stage.post(f"/api/v1/{path}", {})).json()["remedy"] == f"did you mean {meant}?"
        assert (await stage.get("/api/v1/subscriptions/payments.boot")).json()["remedy"] == f"did you mean {BOOK}?"
        nothing = (await stage.post("/api/v1/systems/xyz/pause", {})).json()
        assert nothing["remedy"] == "see `interlock systems ls`"

    staged(scenario)


def test_a_job_is_found_by_a_unique_beginning_of_its_id_and_says_what_came_of_it() -> None:
    async def scenario(stage: Stage) -> None:
        asked = {"fingerprint": "fp_aa", "reason": "mended", "wait_us": 0}
        stage.process.deaf = True
        job = (await stage.post("/api/v1/dead/retry", asked)).json()["job"]
        stage.process.deaf = False
        found = (await stage.get(f"/api/v1/dead/jobs/{job[:12]}")).json()
        assert (found["job"], found["verb"], found["of"], found["reason"]) == (job, "retry", 2, "mended")
        before = stage.clock.monotonic()
        waited = (await stage.get(f"/api/v1/dead/jobs/{job}?wait_us=1000000")).json()
        assert waited["applied"] == sum(waited["answers"].values())
        assert stage.clock.monotonic() - before <= 1_000_000
        stage.clock.jump(1_000)
        other = (await stage.post("/api/v1/dead/discard", {"fingerprint": "fp_aa", "wait_us": 0})).json()["job"]
        ambiguous = (await stage.get("/api/v1/dead/jobs/job_")).json()
        assert ambiguous["code"] == "job.ambiguous"
        assert job in ambiguous["detail"]
        assert other in ambiguous["detail"]
        assert (await stage.get("/api/v1/dead/jobs/job_zzz")).json()["code"] == "job.unknown"
        assert (await stage.get("/api/v1/dead/jobs/evt_1")).json()["code"] == "id.malformed"

    staged(scenario)
