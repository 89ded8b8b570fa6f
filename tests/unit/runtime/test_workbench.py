"""The workbench for dead letters over the production engine, as a person uses it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runtime.workbench import Workbench, at_work

from interlock.control import dead_shapes, shapes, table
from interlock.control.problem import Refused
from interlock.core.limits import US_PER_SECOND
from interlock.testing.sim.swarm import limited

PICK = "shop.pick"


def command(**members: Any) -> shapes.DeadCommand:
    return shapes.DeadCommand(**{"subscription": PICK} | members)


async def refused(bench: Workbench, endpoint: Any, taken: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await bench.ask(endpoint, taken)
    return caught.value


# Selecting.


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"key": "o-2"}, 1),
        ({"where": '{"/lines/0/sku": "S-91"}'}, 1),
        ({"where": '{"/lines/0/count": 1, "/order": "o-2"}'}, 1),
        ({"where": '{"/lines/0/count": true}'}, 0),
        ({"where": '{"/lines/7/sku": "S-91"}'}, 0),
        ({"system": "shop.warehouse"}, 0),
        ({"subscription": "shop.note"}, 0),
    ],
)
def test_letters_are_selected_by_key_and_by_what_stands_in_the_payload(members: dict[str, Any], found: int) -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-2", "S-92", "2")
        assert len((await bench.ask(table.DEAD_LETTERS, shapes.DeadShow(**members))).letters) == found
        assert (await bench.ask(table.DEAD, shapes.DeadAsked(**members))).events == found
        for verb in ("retry", "discard"):
            asked = shapes.DeadCommand(**members, dry_run=True)
            assert (await bench.ask(table.DEAD_VERBS[verb], asked)).of == found  # type: ignore[index]
        exported = await bench.ask(table.DEAD_EXPORT, shapes.DeadPage(**members))
        assert len(exported.letters) == found

    at_work(story)


def test_letters_are_selected_by_when_they_died() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        between = bench.lab.clock.now()
        await bench.rest(1)
        await bench.put("o-2", "S-92", "2")
        older = await bench.ask(table.DEAD_LETTERS, shapes.DeadShow(until_at=between))
        newer = await bench.ask(table.DEAD_LETTERS, shapes.DeadShow(since_at=between))
        assert [[letter.key for letter in found.letters] for found in (older, newer)] == [["o-1"], ["o-2"]]

    at_work(story)


@pytest.mark.parametrize("where", ["[]", "{", '{"lines": 1}', '{"/a": 1'])
def test_a_condition_that_cannot_be_read_is_refused(where: str) -> None:
    async def story(bench: Workbench) -> None:
        error = await refused(bench, table.DEAD_LETTERS, shapes.DeadShow(where=where))
        assert error.code == "dead.where-malformed"

    at_work(story)


# One letter.


def test_one_letter_says_all_that_is_known_of_it() -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(event))).letters
        detail = letter.detail
        assert (letter.subscription, letter.key, letter.state, letter.resolution) == (PICK, "o-1", "dead", "open")
        assert (letter.reason, letter.error) == ("permanent", "unknown-sku")
        assert (detail.owner, detail.plan, detail.source_id) == ("shop-team", bench.lab.plan.digest, "1")
        assert '"sku":"S-91"' in detail.payload
        assert [attempt.error for attempt in detail.attempts] == ["unknown-sku"]
        assert (detail.kept_until, detail.told_by, detail.acts, detail.acts_whole) == (None, None, (), True)

    at_work(story)


def test_a_letter_tells_who_did_what_with_which_result_and_so_does_the_timeline() -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        await bench.ask(table.DEAD_VERBS["discard"], command(actor="ann", reason="old"))
        await bench.ask(table.DEAD_VERBS["restore"], command(actor="bob", reason="not so old"))
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(event))).letters
        acts = [(act.verb, act.actor, act.reason, act.result) for act in letter.detail.acts]
        assert acts == [
            ("discard", "token[0] (ann)", "old", "discarded"),
            ("restore", "token[0] (bob)", "not so old", "restored"),
        ]
        shown = await bench.ask(table.EVENT, shapes.EventAsked(event))
        told = [(moment.what, moment.why) for moment in shown.timeline if moment.actor]
        assert told == [("discard", "old"), ("restore", "not so old")]

    at_work(story)


def test_the_letter_says_which_event_told_its_receiver_that_it_is_missing() -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        teller = await bench.put("o-1", "S-1", "2")
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(event))).letters
        assert letter.detail.told_by == teller

    at_work(story)


def test_a_letter_that_a_retry_has_settled_is_told_as_replayed() -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        bench.bad = ""
        await bench.ask(table.DEAD_VERBS["retry"], command(reason="mended"))
        await bench.rest()
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(event))).letters
        assert (letter.resolution, letter.replays, letter.error) == ("replayed", 1, "unknown-sku")
        assert [attempt.outcome for attempt in letter.detail.attempts] == ["reject", "done"]
        error = await refused(bench, table.DEAD_LETTER, dead_shapes.LetterAsked(event, "shop.note"))
        assert error.code == "dead.none"

    at_work(story)


# The dry run.


def test_a_dry_run_says_what_todays_code_would_call_and_sends_emits_and_settles_nothing() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        bench.bad, bench.emits = "", True
        before = bench.state
        found = await bench.ask(table.DEAD_REHEARSE, command())
        assert bench.state == before
        assert bench.lab.system(bench.warehouse).calls == []
        assert bench.lab.system(bench.books).receipts == 0
        assert bench.lab.system(bench.books).rows("SELECT name FROM sqlite_schema WHERE name = 'picks'") == []
        (result,) = found.results
        assert (result.outcome, result.assumed, found.outcomes) == ("delivered", True, {"delivered": 1})
        http, sql = result.calls
        assert (http.system, http.method, http.path, http.body) == (
            "shop.warehouse",
            "POST",
            "/picks",
            '{"order":"o-1"}',
        )
        assert http.key.startswith("il_")
        assert (sql.system, sql.body.splitlines()[1]) == ("shop.books", "INSERT INTO picks VALUES ($1)  -- 'o-1'")
        assert [(emit.type, emit.id) for emit in result.emits] == [("paid@1", "1-emitted")]

    at_work(story)


def test_a_dry_run_has_the_key_that_the_retry_sends() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        bench.bad = ""
        (result,) = (await bench.ask(table.DEAD_REHEARSE, command())).results
        await bench.ask(table.DEAD_VERBS["retry"], command())
        await bench.rest()
        (sent,) = bench.lab.system(bench.warehouse).calls
        assert sent.key == result.calls[0].key

    at_work(story)


def test_a_dry_run_says_that_it_would_be_rejected_again_and_what_a_made_up_answer_breaks() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        (result,) = (await bench.ask(table.DEAD_REHEARSE, command())).results
        assert (result.outcome, result.error, result.calls, result.assumed) == ("rejected", "unknown-sku", [], False)
        bench.bad, bench.reads_answer = "", True
        (result,) = (await bench.ask(table.DEAD_REHEARSE, command())).results
        assert (result.outcome, result.error, result.assumed, len(result.calls)) == ("fails", "KeyError", True, 1)

    at_work(story)


def test_a_dry_run_is_bounded_in_time_and_number() -> None:
    async def story(bench: Workbench) -> None:
        for number in range(55):
            # With as many good ones between them, or the guard would pause the subscription.
            for sku in ("S-9", "S-1", "S-1"):
                await bench.put(f"{sku}-{number}", sku, f"{sku}-{number}-{bench.lab.clock.now()}")
        bench.bad = ""
        found = await bench.ask(table.DEAD_REHEARSE, command())
        assert (found.of, len(found.results), found.outcomes) == (55, 50, {"delivered": 50})
        bench.hangs = True
        before = bench.lab.clock.monotonic()
        found = await bench.ask(table.DEAD_REHEARSE, command())
        assert {result.error for result in found.results} == {"timeout"}
        assert (found.of, len(found.results)) == (55, 4)
        assert bench.lab.clock.monotonic() - before <= 21 * US_PER_SECOND

    at_work(story)


# Jobs.


async def dead(bench: Workbench, count: int) -> None:
    for number in range(count):
        await bench.put(f"o-{number}", f"S-9{number}", str(number))


async def job_of(bench: Workbench, name: str) -> Any:
    return await bench.ask(table.DEAD_JOB, dead_shapes.JobAsked(name))


def test_a_canary_that_succeeds_lets_the_others_follow() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 5)
        bench.bad = ""
        name = (await bench.ask(table.DEAD_VERBS["retry"], command(canary=1, wait_us=0))).job
        assert (await job_of(bench, name)).released in (1, 5)
        await bench.rest(3)
        job = await job_of(bench, name)
        assert (job.state, job.released, job.succeeded, job.failed, job.waiting) == ("done", 5, 5, 0, 0)
        assert len(bench.lab.system(bench.warehouse).calls) == 5

    at_work(story)


def test_a_canary_that_fails_again_stops_the_job_and_resume_lets_it_go_on() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 5)
        name = (await bench.ask(table.DEAD_VERBS["retry"], command(canary=2, wait_us=0))).job
        await bench.rest(3)
        job = await job_of(bench, name)
        assert (job.state, job.released, job.failed) == ("stopped", 2, 2)
        assert job.why == "2 of the first 2 failed again"
        assert len((await bench.ask(table.DEAD_LETTERS, shapes.DeadShow())).letters) == 5
        bench.bad = ""
        await bench.ask(table.DEAD_JOB_RESUME, dead_shapes.JobCommand(name, "mended", "ann"))
        await bench.rest(3)
        job = await job_of(bench, name)
        assert (job.state, job.released, job.succeeded, job.failed) == ("done", 5, 3, 2)

    at_work(story)


def test_a_job_keeps_its_pace_is_paused_and_resumed_and_a_pause_releases_nothing_more() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 4)
        bench.bad = ""
        asked = command(per_second=1.0, wait_us=0)
        name = (await bench.ask(table.DEAD_VERBS["retry"], asked)).job
        await bench.rest(1.5)
        assert (await job_of(bench, name)).released == 2
        paused = await bench.ask(table.DEAD_JOB_PAUSE, dead_shapes.JobCommand(name, "lunch", "ann"))
        assert (paused.state, paused.why) == ("paused", "paused by token[0] (ann)")
        await bench.rest(10)
        assert (await job_of(bench, name)).released == 2
        await bench.ask(table.DEAD_JOB_RESUME, dead_shapes.JobCommand(name))
        await bench.rest(5)
        job = await job_of(bench, name)
        assert (job.state, job.released, job.succeeded) == ("done", 4, 4)
        (listed,) = (await bench.ask(table.DEAD_JOBS, dead_shapes.JobsAsked())).jobs
        assert (listed.job, listed.state) == (name, "done")
        assert (await bench.ask(table.DEAD_JOBS, dead_shapes.JobsAsked(running=True))).jobs == []
        error = await refused(bench, table.DEAD_JOB_PAUSE, dead_shapes.JobCommand(name))
        assert error.code == "job.not-steered"

    at_work(story)


def test_a_job_goes_on_after_its_process_was_killed_and_sends_nothing_twice() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 6)
        bench.bad = ""
        name = (await bench.ask(table.DEAD_VERBS["retry"], command(per_second=0.5, canary=1, wait_us=0))).job
        await bench.rest(3)
        before = (await job_of(bench, name)).released
        assert 1 < before < 6
        await bench.restart()
        await bench.rest(90)
        job = await job_of(bench, name)
        assert (job.state, job.released, job.succeeded, job.failed) == ("done", 6, 6, 0)
        assert len(bench.lab.system(bench.warehouse).accepted) == 6
        assert len(bench.lab.system(bench.warehouse).calls) <= 7

    at_work(story)


def test_a_job_stops_when_too_many_fail_again() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 12)
        asked = command(per_second=5.0, stop_percent=50.0, wait_us=0)
        name = (await bench.ask(table.DEAD_VERBS["retry"], asked)).job
        await bench.rest(6)
        job = await job_of(bench, name)
        assert (job.state, job.succeeded) == ("stopped", 0)
        assert 10 <= job.failed <= 12
        assert "more than 50 %" in job.why

    at_work(story)


def test_a_letter_that_dies_after_the_command_is_not_of_its_job() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 2)
        name = (await bench.ask(table.DEAD_VERBS["retry"], command(per_second=0.5, wait_us=0))).job
        await bench.put("o-9", "S-99", "9")
        bench.bad = ""
        await bench.rest(6)
        assert (await job_of(bench, name)).of == 2
        letters = (await bench.ask(table.DEAD_LETTERS, shapes.DeadShow())).letters
        assert "o-9" in [letter.key for letter in letters]

    at_work(story)


# Order.


def test_a_retry_behind_newer_events_demands_a_choice() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-1", "S-1", "2")
        await bench.put("o-1", "S-2", "3")
        await bench.put("o-2", "S-92", "4")
        bench.bad = ""
        error = await refused(bench, table.DEAD_VERBS["retry"], command())
        assert error.code == "dead.newer-delivered"
        assert [fault.message for fault in error.errors] == ["2 newer events of key o-1"]
        assert "--send-anyway" in error.remedy
        assert "--supersede" in error.remedy
        answer = await bench.ask(table.DEAD_VERBS["retry"], command(newer="supersede", reason="overtaken"))
        assert (answer.of, answer.superseded, answer.answers) == (1, 1, {"retried": 1})
        await bench.rest()
        (old, *_) = (await bench.ask(table.EVENTS, shapes.EventsAsked(key="o-1", limit=10))).events[::-1]
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(old.id))).letters
        assert letter.resolution == "discarded"
        assert [(act.verb, act.reason, act.result) for act in letter.detail.acts] == [
            ("supersede", "overtaken", "discarded")
        ]

    at_work(story)


def test_send_anyway_delivers_it_late_and_without_order_nobody_is_asked() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-1", "S-1", "2")
        bench.bad = ""
        answer = await bench.ask(table.DEAD_VERBS["retry"], command(newer="send-anyway"))
        assert (answer.of, answer.superseded) == (1, 0)

    async def unordered(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-1", "S-1", "2")
        assert (await bench.ask(table.DEAD_VERBS["retry"], command())).of == 1

    at_work(story)
    at_work(unordered, order="none")


def test_where_not_all_that_came_after_was_looked_at_a_choice_is_demanded_too() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        for number in range(3):
            await bench.put("o-1" if number == 2 else "o-1x", "S-1", f"later-{number}")
        with limited({"NEWER_SCANNED_MAX": 0}):
            error = await refused(bench, table.DEAD_VERBS["retry"], command())
        assert (error.code, error.errors) == ("dead.newer-delivered", [])
        assert "not known" in error.message
        assert (await bench.ask(table.DEAD_VERBS["retry"], command(newer="send-anyway"))).of == 1

    at_work(story)


# Blocked keys.


def test_blocked_keys_have_their_head_their_age_and_how_many_wait_behind() -> None:
    async def story(bench: Workbench) -> None:
        head = await bench.put("o-1", "S-91", "1")
        for number in range(2, 5):
            await bench.put("o-1", "S-1", str(number))
        await bench.put("o-2", "S-1", "9")
        (key,) = (await bench.ask(table.DEAD_BLOCKED, dead_shapes.BlockedAsked())).keys
        assert (key.key, key.event, key.state, key.behind, key.behind_counted) == ("o-1", head, "held", 3, True)
        assert key.since_at is not None
        await bench.ask(table.DEAD_VERBS["skip"], shapes.DeadCommand(event=head))
        await bench.rest()
        assert (await bench.ask(table.DEAD_BLOCKED, dead_shapes.BlockedAsked())).keys == []

    at_work(story, on_dead="halt")


def test_a_key_whose_head_is_tried_again_is_blocked_too() -> None:
    async def story(bench: Workbench) -> None:
        bench.lab.system(bench.warehouse).answers(503, 503, 503, 503, 503, 503)
        await bench.put("o-1", "S-1", "1")
        await bench.put("o-1", "S-1", "2")
        (key,) = (await bench.ask(table.DEAD_BLOCKED, dead_shapes.BlockedAsked(PICK))).keys
        assert (key.state, key.behind, key.fingerprint is not None) == ("due", 1, True)
        assert key.due_at is not None

    at_work(story)


# Editing.


def edited(event: str, payload: str, **members: Any) -> dead_shapes.DeadEdit:
    return dead_shapes.DeadEdit(**{"event": event, "payload": payload, "reason": "typo", "actor": "ann"} | members)


GOOD = '{"order": "o-1", "lines": [{"sku": "S-1", "count": 1}]}'


def test_an_edited_letter_is_a_new_event_with_its_cause_and_both_know_of_each_other() -> None:
    async def story(bench: Workbench) -> None:
        old = await bench.put("o-1", "S-91", "1")
        await bench.put("o-1", "S-2", "2")
        meant = await bench.ask(table.DEAD_EDIT, edited(old, GOOD, dry_run=True))
        assert (meant.new, meant.behind, meant.subscriptions) == (None, 1, [PICK])
        assert (meant.readers, meant.delivered) == (["shop.pick", "shop.note"], ["shop.note"])
        assert [(one.pointer, one.before, one.after) for one in meant.changes] == [("/lines/0/sku", '"S-91"', '"S-1"')]
        done = await bench.ask(table.DEAD_EDIT, edited(old, GOOD))
        assert done.answers == {"edited": 1}
        await bench.rest()
        new = await bench.ask(table.EVENT, shapes.EventAsked(done.new))
        assert (new.causation, new.event.key, new.event.type) == (old, "o-1", "paid@1")
        assert new.event.source_id != "1"
        assert [one.state for one in new.subscriptions] == ["settled", "settled"]
        (letter,) = (await bench.ask(table.DEAD_LETTER, dead_shapes.LetterAsked(old))).letters
        assert (letter.resolution, letter.detail.edited_as) == ("edited", done.new)
        assert [(act.verb, act.result) for act in letter.detail.acts] == [("edit", "edited")]
        diff = await bench.ask(table.DEAD_DIFF, dead_shapes.LetterAsked(old))
        assert (diff.against, diff.other, diff.changes) == ("edited", done.new, meant.changes)

    at_work(story)


def test_an_edited_letter_is_not_restored() -> None:
    async def story(bench: Workbench) -> None:
        old = await bench.put("o-1", "S-91", "1")
        await bench.ask(table.DEAD_EDIT, edited(old, GOOD))
        error = await refused(bench, table.DEAD_VERBS["restore"], shapes.DeadCommand(event=old))
        assert error.code == "dead.edited"

    at_work(story)


@pytest.mark.parametrize(
    ("payload", "members", "code"),
    [
        ('{"order": 7}', {}, "dead.edit-invalid"),
        ("{", {}, "dead.edit-invalid"),
        (GOOD, {"reason": " "}, "dead.reason-missing"),
        ('{"order":"o-1","lines":[{"sku":"S-91","count":1}]}', {}, "dead.edit-same"),
        (GOOD, {"subscription": "shop.note"}, "dead.none"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_changes_nothing(
    payload: str, members: dict[str, Any], code: str
) -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        before = bench.state
        assert (await refused(bench, table.DEAD_EDIT, edited(event, payload, **members))).code == code
        assert bench.state == before

    at_work(story)


def test_a_diff_without_an_edit_shows_what_todays_code_reads() -> None:
    async def story(bench: Workbench) -> None:
        event = await bench.put("o-1", "S-91", "1")
        diff = await bench.ask(table.DEAD_DIFF, dead_shapes.LetterAsked(event))
        assert (diff.against, diff.other, diff.changes, diff.error) == ("current", None, [], None)

    at_work(story)


# Moving.


def test_letters_move_to_a_mended_installation_with_their_identity_once() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-2", "S-92", "2")
        exported = await bench.ask(table.DEAD_EXPORT, shapes.DeadPage())
        lines = [bytes(letter).decode() for letter in exported.letters]
        again = await bench.ask(table.DEAD_IMPORT, dead_shapes.DeadImport(lines))
        assert (again.appended, len(again.known)) == ([], 2)

        async def elsewhere(other: Workbench) -> None:
            other.bad = ""
            for expected in (2, 0):
                done = await other.ask(table.DEAD_IMPORT, dead_shapes.DeadImport(lines, "moved", "ann"))
                assert (done.of, len(done.appended), done.readers) == (2, expected, ["shop.note", "shop.pick"])
            await other.rest()
            assert len(other.lab.system(other.warehouse).calls) == 2

        mended = Workbench()
        async with mended.lab:
            await elsewhere(mended)

    at_work(story)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("interlock.dead-letter", "a-postcard"), "no dead letter"),
        (('"stream":"shop"', '"stream":"none"'), "no stream"),
        (("paid@1", "lost@9"), "reads the type"),
        (('\\"order\\":\\"o-2\\"', '\\"order\\":5'), "its payload is no paid@1"),
        (('{"kind"', '{"kind'), "no line that `dead export` wrote"),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_the_file_is_taken_in(change: tuple[str, str], told: str) -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        await bench.put("o-2", "S-92", "2")
        exported = await bench.ask(table.DEAD_EXPORT, shapes.DeadPage())
        lines = sorted(bytes(letter).decode() for letter in exported.letters)
        lines = sorted(lines, key=lambda line: '"id":"2"' in line)
        lines[1] = lines[1].replace(*change)
        mended = Workbench()
        async with mended.lab:
            before = mended.state
            error = await refused(mended, table.DEAD_IMPORT, dead_shapes.DeadImport(lines))
            assert error.code == "dead.import-invalid"
            assert [fault.message.partition(":")[0] for fault in error.errors] == ["line 2"]
            assert told in error.errors[0].message
            assert mended.state == before

    at_work(story)


def test_a_line_of_a_later_version_is_read_and_one_with_another_payload_is_a_conflict() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        (letter,) = (await bench.ask(table.DEAD_EXPORT, shapes.DeadPage())).letters
        line = bytes(letter).decode()
        later = line.replace('"version":1', '"version":7,"mood":"good"')
        assert len((await bench.ask(table.DEAD_IMPORT, dead_shapes.DeadImport([later]))).known) == 1
        other = line.replace("S-91", "S-77")
        error = await refused(bench, table.DEAD_IMPORT, dead_shapes.DeadImport([other]))
        assert (error.code, error.errors[0].message.startswith("line 1: the log has its identity")) == (
            "dead.import-conflict",
            True,
        )

    at_work(story)


def test_what_was_discarded_or_edited_is_not_exported() -> None:
    async def story(bench: Workbench) -> None:
        await bench.put("o-1", "S-91", "1")
        old = await bench.put("o-2", "S-92", "2")
        await bench.ask(table.DEAD_VERBS["discard"], command(key="o-1"))
        await bench.ask(table.DEAD_EDIT, edited(old, GOOD))
        assert (await bench.ask(table.DEAD_EXPORT, shapes.DeadPage())).letters == []

    at_work(story)


def test_an_export_comes_in_pages() -> None:
    async def story(bench: Workbench) -> None:
        await dead(bench, 3)
        seen: list[Any] = []
        after, pages = None, 0
        with limited({"PAGE_BYTES": 1}):
            while pages == 0 or after is not None:
                page = await bench.ask(table.DEAD_EXPORT, shapes.DeadPage(after=after))
                seen += page.letters
                pages, after = pages + 1, page.next
        assert (len(seen), len({bytes(one) for one in seen}), pages) == (3, 3, 3)

    at_work(story)
