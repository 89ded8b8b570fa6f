"""The command line where no process runs: what reads is answered from the store, what acts is refused or acts there."""

from __future__ import annotations

import json

import pytest
from tests.terminal import at_terminal
from tests.unit.cli.project import BOOK, Project


def test_events_are_listed_as_a_table_as_json_and_as_ids(project: Project) -> None:
    project.with_history()
    table = project.interlock("events", "ls")
    assert table.code == 0
    assert "settled@1" in table.out
    assert table.err == ""
    listed = json.loads(project.interlock("events", "ls", "-o", "json").out)
    ids = project.interlock("events", "ls", "-o", "id").out.split()
    assert ids == [event["id"] for event in listed["events"]]
    assert [event["offset"] for event in listed["events"]] == [6, 5, 4, 3, 2, 1]


def test_ids_of_one_verb_feed_the_next(project: Project) -> None:
    project.with_history()
    for id in project.interlock("events", "ls", "-n", "2", "-o", "id").out.split():
        assert project.interlock("events", "show", id).code == 0


def test_an_event_is_shown_with_state_timeline_and_payload_but_no_secret(project: Project) -> None:
    project.with_history()
    id = project.interlock("events", "ls", "-o", "id").out.split()[4]
    shown = project.interlock("events", "show", id[:-1])
    assert "attempt 1" in shown.out
    assert "exhausted" in shown.out
    assert '"n": 2' in shown.out
    assert "s3cret" not in shown.out


def test_what_to_do_next_is_said_at_a_terminal_in_a_dim_line_and_not_when_quiet(project: Project) -> None:
    project.with_history()
    listed = at_terminal(project.folder, "events", "ls")
    assert "\x1b[2mhint: interlock events show evt_" in listed.text
    dead = next(line for line in listed.text.splitlines() if "k2" in line).split()[0]
    assert (
        f"hint: interlock dead retry --event {dead} --dry-run"
        in at_terminal(project.folder, "events", "show", dead).text
    )
    assert "hint:" not in at_terminal(project.folder, "--quiet", "events", "ls").text


def test_dead_letters_are_listed_by_cause_and_shown(project: Project) -> None:
    project.with_history()
    causes = json.loads(project.interlock("dead", "ls", "-o", "json").out)
    assert [(group["fingerprint"], group["count"]) for group in causes["groups"]] == [
        ("fp_aaaaaaaaaaaa", 2),
        ("fp_bbbbbbbbbbbb", 1),
    ]
    assert "http 503" in project.interlock("dead", "ls").out
    assert len(project.interlock("dead", "show", "fp_aa", "-o", "id").out.split()) == 2


def test_subscriptions_and_doctor_read_the_books(project: Project) -> None:
    project.with_history()
    row = json.loads(project.interlock("subscriptions", "ls", "-o", "json").out)["subscriptions"][0]
    assert (row["name"], row["planned"], row["lag"], row["behind"]) == (BOOK, None, 1, 1)
    assert BOOK in project.interlock("subscriptions", "show", BOOK).out
    doctor = project.interlock("doctor")
    assert doctor.code == 0
    assert "5 accounted events balance" in doctor.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead", "retry", "fp_aa"),
        ("systems", "ls"),
        ("systems", "pause", "payments.ledger", "--yes"),
        ("subscriptions", "pause", BOOK, "--yes"),
        ("subscriptions", "resume", BOOK),
        ("dead", "skip", "fp_bb"),
        ("config", "reload"),
        ("tail",),
        ("send", "settled", "{}"),
    ],
)
def test_what_needs_a_process_says_so_and_exits_with_4(project: Project, arguments: tuple[str, ...]) -> None:
    project.with_history()
    said = project.interlock(*arguments)
    assert said.code == 4
    assert said.out == ""
    assert "interlock run" in said.err


def test_without_a_store_there_is_nothing_to_read(project: Project) -> None:
    assert project.interlock("events", "ls").code == 4
    assert not (project.folder / "state").exists()


def test_a_refusal_has_its_code_and_remedy_and_exits_with_1(project: Project) -> None:
    project.with_history()
    said = project.interlock("events", "show", "evt_")
    assert said.code == 1
    assert said.err.startswith("error[event.ambiguous]")
    assert "  fix: give more of its characters" in said.err


def test_a_renamed_subscription_goes_on_where_it_stopped_and_the_audit_knows_who(project: Project) -> None:
    project.with_history()
    assert project.interlock("subscriptions", "rename", BOOK, "payments.booked", "--dry-run").code == 0
    assert BOOK in project.interlock("subscriptions", "ls").out
    renamed = project.interlock("subscriptions", "rename", BOOK, "payments.booked", "--reason", "clearer")
    assert renamed.out == f"renamed {BOOK} to payments.booked: 1 cursor\n"
    row = json.loads(project.interlock("subscriptions", "ls", "-o", "json").out)["subscriptions"][0]
    assert (row["name"], row["delivered"]) == ("payments.booked", 1)
    audited = project.interlock("events", "ls", "--stream", "_audit", "-o", "id").out.split()
    entry = json.loads(json.loads(project.interlock("events", "show", audited[0], "-o", "json").out)["payload"])
    assert (entry["action"], entry["subject"], entry["reason"]) == ("subscription.rename", BOOK, "clearer")
    assert project.interlock("doctor").code == 0


def test_an_unknown_subscription_cannot_be_renamed_and_nothing_is_audited(project: Project) -> None:
    project.with_history()
    said = project.interlock("subscriptions", "rename", "payments.none", "payments.other")
    assert (said.code, "store.subscription-unknown" in said.err) == (1, True)
    assert project.interlock("events", "ls", "--stream", "_audit", "-o", "id").out == ""


def test_retiring_says_what_is_lost_asks_and_without_a_terminal_takes_yes(project: Project) -> None:
    project.with_history()
    dry = project.interlock("subscriptions", "retire", BOOK, "--dry-run")
    assert "1 event not yet read, 3 stragglers, 1 behind them" in dry.out
    refused = project.interlock("subscriptions", "retire", BOOK)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert project.interlock("subscriptions", "retire", BOOK, "--yes").code == 0
    assert project.interlock("subscriptions", "ls", "-o", "id").out == ""


def test_quiet_keeps_the_hints_and_not_the_data(project: Project) -> None:
    project.with_history()
    said = project.interlock("-q", "events", "ls")
    assert said.err == ""
    assert "evt_" in said.out


def test_since_and_paging_narrow_the_list(project: Project) -> None:
    project.with_history()
    assert project.interlock("events", "ls", "--since", "2020-01-01", "-o", "id").out.count("evt_") == 6
    assert project.interlock("events", "ls", "--since", "2100-01-01", "-o", "id").out == ""
    assert project.interlock("events", "ls", "--since", "nonsense").code == 2
    third = project.interlock("events", "ls", "-n", "3", "-o", "id").out.split()[-1]
    assert project.interlock("events", "ls", "--before", third, "-o", "id").out.count("evt_") == 3
