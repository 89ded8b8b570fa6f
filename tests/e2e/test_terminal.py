"""The command line as a person meets it: at a terminal, with Ctrl-C, while processes come and go."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from tests.e2e.project import CODE, Project
from tests.terminal import Terminal, interlock

SCHEDULED = (
    CODE
    + """

@orders.schedule(every=timedelta(seconds=1), missed="skip")
async def tidy(at, context):
    return []
"""
)


def send(project: Project, order: str, *options: str) -> str:
    payload = json.dumps({"order": order, "cents": 1})
    return project.cli("send", "order.paid@1", payload, "-o", "id", *options).out.strip()


def test_tail_says_that_the_process_has_gone_and_follows_the_next_one_without_a_gap(project: Project) -> None:
    project.start()
    with project.following("tail") as tail:
        assert tail.err.readline() == b"following; Ctrl-C stops\n"
        send(project, "o-before")
        assert b"o-before" in tail.out.readline()
        assert project.stop() == 0
        assert tail.err.readline() == b"the process has gone; waiting for it to come back\n"
        project.start()
        send(project, "o-after")
        assert tail.err.readline() == b"following again\n"
        line = tail.out.readline()
        while b"o-after" not in line:
            assert b"o-before" not in line
            line = tail.out.readline()
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(10) == 130
    assert project.stop() == 0


def test_tail_begins_at_a_time_and_says_what_it_skips_never_silently(shop: Project) -> None:
    id = send(shop, "o-since")
    with shop.following("tail", "o-since", "--since", "1h", "--json") as tail:
        found = json.loads(tail.out.readline())
    assert (found["event"], found["what"]) == (id, "accepted")
    assert shop.cli("tail", "--since", "yesterday-ish", code=2).out == ""


def test_without_a_process_following_ends_with_4_and_says_how_to_start_one(project: Project) -> None:
    for words in (["tail"], ["systems", "ls"], ["send", "order.paid@1", "{}"]):
        told = project.cli(*words, code=4)
        assert told.out == ""
        assert "error[cli.unreachable]" in told.err
        assert "fix: start `interlock run`" in told.err
        assert "docs: " in told.err


def test_sending_many_shows_a_count_and_feeds_ids_to_the_next_command(shop: Project) -> None:
    told = shop.cli("send", "order.paid@1", '{"order": "o-many", "cents": 1}', "--count", "1200")
    assert told.out == "accepted 1,200 events\n"
    assert told.err == ""
    id = send(shop, "o-pipe")
    assert shop.json("events", "show", id[:-1])["event"]["id"].startswith(id[:-1])


def test_a_paused_schedule_runs_no_more_within_a_second_and_is_audited(project: Project) -> None:
    project.write(SCHEDULED)
    with project.running():
        project.until(lambda: project.json("schedules", "ls")["schedules"][0]["last_at"] is not None)
        assert "Nobody can be asked" in project.cli("schedules", "pause", "orders.tidy", code=2).err
        assert "did you mean orders.tidy?" in project.cli("schedules", "pause", "tidi", "--yes", code=1).err
        assert project.cli("schedules", "pause", "orders.tidy", "--dry-run").out == "orders.tidy would be paused\n"
        told = project.cli("schedules", "pause", "orders.tidy", "--yes", "--reason", "month end")
        assert told.out == "orders.tidy paused  applied by 1 of 1\n"
        time.sleep(1.0)
        ran = project.json("schedules", "ls")["schedules"][0]["last_at"]
        time.sleep(2.0)
        [row] = project.json("schedules", "ls")["schedules"]
        assert (row["last_at"], row["paused"], row["reason"]) == (ran, True, "month end")
        listed = project.terminal("schedules", "ls", NO_COLOR="1").text
        assert "month end" in listed
        assert "hint: interlock schedules resume orders.tidy" in listed
        assert project.cli("schedules", "resume", "orders.tidy").out == "orders.tidy resumed  applied by 1 of 1\n"
        project.until(lambda: project.json("schedules", "ls")["schedules"][0]["last_at"] > ran)
        assert len(project.json("events", "ls", "--stream", "_audit")["events"]) == 2


def test_a_question_names_what_exists_before_it_is_asked_and_no_changes_nothing(shop: Project) -> None:
    unknown = shop.terminal("systems", "pause", "orders.nobody", keys="y\n")
    assert unknown.code == 1
    assert "[y/N]" not in unknown.text
    no = shop.terminal("systems", "pause", "orders.books", keys="n\n")
    assert no.code == 1
    assert "Send nothing to orders.books until it is resumed? [y/N]" in no.text
    assert not any(row["paused"] for row in shop.json("systems", "ls")["systems"])
    assert shop.terminal("systems", "pause", "orders.books", keys="y\n", CI="true").code == 2


def test_the_log_of_dev_is_text_in_colour_at_a_terminal_and_ctrl_c_ends_a_reload_at_its_first_press(
    project: Project,
) -> None:
    def slowly(_: dict[str, Any]) -> int:
        time.sleep(1.5)
        return 201

    project.books.decide = slowly
    environment = {name: value for name, value in project.environment.items() if name != "NO_COLOR"}
    with Terminal([interlock(), "dev"], project.folder, environment) as terminal:
        said = terminal.until("Ctrl-C drains and stops.")
        assert "Interlock" in said
        assert "2 subscriptions  2 systems  1 webhook" in said
        assert f"{project.control}/api/v1/doctor" in said
        terminal.until("process.ready")
        assert '{"at"' not in terminal.text
        send(project, "o-slow")
        project.until(lambda: project.books.calls > 0)
        project.write(CODE + "\n# changed\n")
        terminal.until("process.draining")
        terminal.interrupt()
        seen = terminal.end()
    assert seen.code == 0, seen.text
    assert seen.text.count("Ctrl-C drains and stops.") == 1
    assert "Traceback" not in seen.text
