"""The command line as a user types it, against a process that runs."""

from __future__ import annotations

import json
import signal
import stat
import time
from typing import Any

from tests.e2e.project import CODE, Project
from tests.e2e.receivers import Heard, Receiver

from interlock.core.limits import US_PER_SECOND

BOOKS_ATTEMPT = ("attempt", "orders.to_books")


def settled(shop: Project) -> bool:
    """Nothing lags, nothing is due."""
    rows = shop.json("subscriptions", "ls")["subscriptions"]
    return not any(row["lag"] or row["stragglers"].get("due") or row["stragglers"].get("running") for row in rows)


def causes(shop: Project, *options: str) -> list[dict[str, Any]]:
    """What died at the shelf, by cause."""
    return shop.json("dead", "ls", "--system", "orders.shelf", *options)["groups"]


def send(shop: Project, order: str, cents: int = 100, *options: str) -> str:
    """Send one paid order, and give its id."""
    told = shop.cli("send", "order.paid@1", json.dumps({"order": order, "cents": cents}), "-o", "id", *options)
    return told.out.strip()


def heard(receiver: Receiver, order: str) -> list[Heard]:
    """The calls that one receiver got for an order."""
    return [call for call in receiver.heard if call.content["order"] == order]


def test_what_is_sent_arrives_at_both_systems_and_is_shown_with_its_timeline(shop: Project) -> None:
    id = send(shop, "o-sent")
    shop.until(lambda: all(any(e["order"] == "o-sent" for e in each.effects) for each in (shop.books, shop.shelf)))
    shop.until(lambda: settled(shop))
    assert [row["id"] for row in shop.json("events", "ls", "--key", "o-sent")["events"]] == [id]
    assert shop.cli("events", "ls", "--key", "o-sent", "-o", "id").out == f"{id}\n"
    shown = shop.json("events", "show", id)
    assert {row["subscription"]: row["state"] for row in shown["subscriptions"]} == {
        "orders.to_books": "settled",
        "orders.to_shelf": "settled",
    }
    assert json.loads(shown["payload"]) == {"order": "o-sent", "cents": 100}
    assert shown["timeline"][0]["what"] == "accepted"
    table = shop.cli("events", "show", id).out
    assert id in table
    assert "orders.to_shelf" in table


def test_the_same_id_again_is_known_and_changes_nothing(shop: Project) -> None:
    first = send(shop, "o-again", 100, "--id", "again-1")
    told = shop.cli("send", "order.paid@1", '{"order": "o-again", "cents": 100}', "--id", "again-1")
    assert "all known already" in told.out
    assert [row["id"] for row in shop.json("events", "ls", "--key", "o-again")["events"]] == [first]
    shown = shop.json("events", "show", first)["seen"]
    assert (shown["times"], shown["conflicts"]) == (2, 0)
    conflict = shop.cli("send", "order.paid@1", '{"order": "o-again", "cents": 7}', "--id", "again-1", code=1)
    assert "error[events.id-conflict]" in conflict.err
    table = shop.cli("events", "show", first).out
    assert "\nseen 3 times, last 20" in table
    assert "1 of them with another payload" in table


def test_what_is_sent_at_a_rate_comes_spread_over_time(shop: Project) -> None:
    sent = ("send", "order.paid@1", '{"order": "o-rate", "cents": 1}', "--count", "3")
    ids = shop.cli(*sent, "--rate", "2/s", "-o", "id").out.split()
    first, second, third = [shop.json("events", "show", id)["event"]["accepted_at"] for id in ids]
    assert first == second
    assert third - first >= US_PER_SECOND
    assert "write 20/s, 30/m or 100/h" in shop.cli(*sent, "--rate", "fast", code=2).err


def test_what_cannot_be_sent_is_told_with_its_remedy(shop: Project) -> None:
    told = shop.cli("send", "order.payd@1", "{}", code=1)
    assert told.out == ""
    assert told.err.startswith("error[")
    assert "fix: " in told.err
    assert "not JSON" in shop.cli("send", "order.paid@1", "{", code=2).err
    assert shop.cli("events", "show", "evt_00000000", code=1).err.startswith("error[event.unknown]")


def test_tail_follows_from_now_on_until_it_is_interrupted(shop: Project) -> None:
    with shop.following("tail", "o-tail") as tail:
        assert tail.err.readline() == b"following; Ctrl-C stops\n"
        id = send(shop, "o-tail")
        line = tail.out.readline().decode()
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(10) == 130
    assert id in line
    assert "o-tail" in line


def test_a_reader_that_has_read_enough_ends_a_command_well(shop: Project) -> None:
    with shop.following("tail") as tail:
        assert tail.err.readline() == b"following; Ctrl-C stops\n"
        tail.out.close()
        send(shop, "o-enough")
        assert tail.process.wait(10) == 0
        assert tail.err.read() == b""


def test_a_dead_letter_is_listed_shown_retried_discarded_and_restored(shop: Project) -> None:
    shop.shelf.decide = lambda content: 422 if content["order"].startswith("o-dead") else 201
    retried, discarded = send(shop, "o-dead-1"), send(shop, "o-dead-2")
    shop.until(lambda: sum(group["count"] for group in causes(shop)) == 2)
    [group] = causes(shop)
    assert (group["subscription"], group["system"], group["status"]) == ("orders.to_shelf", "orders.shelf", 422)
    fingerprint = group["fingerprint"]
    assert fingerprint in shop.cli("dead", "ls", "--system", "orders.shelf").out
    assert sorted(shop.cli("dead", "show", fingerprint, "-o", "id").out.split()) == sorted([retried, discarded])

    assert "o-dead" not in str(shop.shelf.effects)
    assert shop.json("dead", "retry", fingerprint, "--dry-run")["of"] == 2
    assert "Nobody can be asked" in shop.cli("dead", "retry", fingerprint, code=2).err
    assert shop.json("dead", "discard", "--event", discarded, "--yes")["answers"] == {"discarded": 1}
    shop.shelf.decide = lambda _: 201
    assert shop.json("dead", "retry", fingerprint, "--yes", "--reason", "mended")["answers"] == {"retried": 1}
    shop.until(lambda: any(effect["order"] == "o-dead-1" for effect in shop.shelf.effects))
    shop.until(lambda: not causes(shop))

    assert [cause["count"] for cause in causes(shop, "--discarded")] == [1]
    assert shop.json("dead", "restore", "--event", discarded, "--yes")["answers"] == {"restored": 1}
    assert shop.json("dead", "retry", "--event", discarded, "--yes")["answers"] == {"retried": 1}
    shop.until(lambda: any(effect["order"] == "o-dead-2" for effect in shop.shelf.effects))
    shop.until(lambda: settled(shop))
    shop.cli("doctor")


def test_a_paused_system_gets_nothing_later_than_a_second_after_and_everything_once_resumed(shop: Project) -> None:
    def slowly(content: dict[str, Any]) -> int:
        time.sleep(0.02)
        return 201

    def arrived() -> int:
        return sum(effect["order"] == "o-pause" for effect in shop.books.effects)

    shop.books.decide = slowly
    payload = '{"order": "o-pause", "cents": 1}'
    shop.cli("send", "order.paid@1", payload, "--count", "600")
    shop.until(lambda: arrived() > 20)
    told = shop.cli("systems", "pause", "orders.books", "--yes", "--reason", "maintenance").out
    assert told == "orders.books paused  applied by 1 of 1\n"
    time.sleep(1.0)
    at_rest = shop.books.calls
    time.sleep(0.5)
    assert shop.books.calls == at_rest
    assert arrived() < 600
    shop.books.decide = lambda _: 201
    assert shop.hook("o-pause-later", "o-pause", 1) == 202
    assert "paused by" in shop.cli("systems", "ls").out
    assert shop.cli("systems", "resume", "orders.books").out == "orders.books resumed  applied by 1 of 1\n"
    shop.until(lambda: arrived() == 601)
    shop.until(lambda: settled(shop))
    assert shop.json("dead", "ls", "--system", "orders.books")["groups"] == []


def test_a_paused_subscription_starts_nothing_while_another_goes_on_and_then_catches_up(shop: Project) -> None:
    def arrived(effects: list[dict[str, Any]]) -> bool:
        return any(effect["order"] == "o-halt" for effect in list(effects))

    asked = ("subscriptions", "pause", "orders.to_books")
    assert "Nobody can be asked" in shop.cli(*asked, code=2).err
    assert shop.cli(*asked, "--dry-run").out == "orders.to_books would be paused\n"
    assert "error[subscription.unknown]" in shop.cli("subscriptions", "pause", "orders.none", "--yes", code=1).err
    told = shop.cli(*asked, "--yes", "--reason", "migration")
    assert told.out == "orders.to_books paused  applied by 1 of 1\n"
    send(shop, "o-halt")
    shop.until(lambda: arrived(shop.shelf.effects))
    assert not arrived(shop.books.effects)
    listed = shop.cli("subscriptions", "ls")
    assert "paused by" in listed.out
    assert "migration" in listed.out
    assert "hint: interlock subscriptions resume orders.to_books" in shop.terminal("subscriptions", "ls").text
    assert shop.cli("subscriptions", "resume", "orders.to_books", "-o", "id").out == "orders.to_books\n"
    shop.until(lambda: arrived(shop.books.effects))
    shop.until(lambda: settled(shop))
    assert "paused by" not in shop.cli("subscriptions", "ls").out


def test_a_held_event_is_skipped_and_its_key_goes_on_behind_it(project: Project) -> None:
    project.write(CODE.replace('on_dead="skip"', 'on_dead="halt"'))
    with project.running():
        project.shelf.decide = lambda content: 422 if content["cents"] == 1 else 201
        first, second = send(project, "o-held", 1), send(project, "o-held", 2)
        project.until(lambda: bool(causes(project)))
        [group] = causes(project)
        assert (group["count"], group["held"]) == (1, 1)
        shown = project.terminal("dead", "show", group["fingerprint"])
        assert f"hint: interlock dead retry --event {first}, or dead skip --event {first}" in shown.text
        assert f"or dead skip --event {first}" in project.terminal("events", "show", first).text
        assert "Nobody can be asked" in project.cli("dead", "skip", "--event", first, code=2).err
        assert project.shelf.effects == []
        told = project.cli("dead", "skip", "--event", first, "--yes", "--reason", "known to be wrong")
        assert told.out.startswith("applied 1 of 1: 1 skipped  job job_")
        project.until(lambda: [effect["cents"] for effect in project.shelf.effects] == [2])
        project.until(lambda: settled(project))
        states = {
            row["subscription"]: (row["state"], row["reason"])
            for row in project.json("events", "show", first)["subscriptions"]
        }
        assert states == {"orders.to_books": ("settled", None), "orders.to_shelf": ("dead", "skipped_by_operator")}
        assert project.json("events", "show", second)["subscriptions"][1]["state"] == "settled"
        assert project.json("dead", "skip", "--event", first, "--yes")["of"] == 0
        project.cli("doctor")


def test_a_settled_event_is_replayed_with_its_key_and_says_so_to_system_timeline_and_audit(shop: Project) -> None:
    first, *_ = [send(shop, "o-replay", cents) for cents in (1, 2, 3)]
    shop.until(lambda: settled(shop))
    calls = len(heard(shop.books, "o-replay"))
    meant = shop.cli("replay", first, "--dry-run")
    assert "would be delivered again: 1 event to orders.to_books and 1 event to orders.to_shelf" in meant.out
    assert "2 newer events of key o-replay were delivered already" in meant.err
    assert "interlock subscriptions pause orders.to_books" in meant.err
    assert "Nobody can be asked" in shop.cli("replay", first, code=2).err
    assert len(heard(shop.books, "o-replay")) == calls

    arguments = ("replay", first, "--subscription", "orders.to_books", "--reason", "lost in a restore", "--yes")
    done = shop.json(*arguments)
    assert (done["of"], done["answers"]) == (1, {"replayed": 1})
    shop.until(lambda: len(heard(shop.books, "o-replay")) == calls + 1)
    before, again = [call for call in heard(shop.books, "o-replay") if call.content["cents"] == 1]
    assert again.headers["interlock-replay"] == done["job"]
    assert again.headers["idempotency-key"] == before.headers["idempotency-key"]
    assert "interlock-replay" not in before.headers
    shop.until(lambda: settled(shop))

    shown = shop.json("events", "show", first)
    asked = [moment for moment in shown["timeline"] if moment["what"] == "replay"]
    assert [(moment["job"], moment["why"]) for moment in asked] == [(done["job"], "lost in a restore")]
    assert asked[0]["actor"].startswith("token[0]")
    attempts = [each for each in shown["timeline"] if (each["what"], each.get("subscription")) == BOOKS_ATTEMPT]
    assert [each.get("trigger", "auto") for each in attempts] == ["auto", "replay"]
    table = shop.cli("events", "show", first).out
    assert "lost in a restore" in table
    assert "attempt 2 (replay)" in table
    (entry,) = [entry for entry in audit(shop) if entry["subject"] == done["job"]]
    assert (entry["action"], entry["reason"]) == ("event.replay", "lost in a restore")
    shop.cli("doctor")

    rate = shop.cli("replay", "--filter", "key=o-replay", "--since", "1h", "--rate", "10/s", "--yes")
    assert "the others follow over" in rate.err
    shop.until(lambda: len(heard(shop.shelf, "o-replay")) == 6)
    shop.until(lambda: settled(shop))


def audit(shop: Project) -> list[dict[str, Any]]:
    """What people have done, oldest first."""
    rows = shop.json("events", "ls", "--stream", "_audit")["events"]
    return [json.loads(shop.json("events", "show", row["id"])["payload"]) for row in reversed(rows)]


def test_what_cannot_be_replayed_is_told_with_what_to_do_instead(shop: Project) -> None:
    shop.shelf.decide = lambda content: 422 if content["order"] == "o-not" else 201
    id = send(shop, "o-not")
    shop.until(
        lambda: [row["state"] for row in shop.json("events", "show", id)["subscriptions"]] == ["settled", "dead"]
    )
    told = shop.cli("replay", id, "--subscription", "orders.to_shelf", "--yes", code=1).err
    assert "error[replay.nothing]" in told
    assert f"fix: `interlock dead retry --event {id}`" in told
    done = shop.json("replay", id, "--yes")
    assert [(one["subscription"], one["state"]) for one in done["passed_over"]] == [("orders.to_shelf", "dead")]
    assert [share["subscription"] for share in done["shares"]] == ["orders.to_books"]
    shop.cli("dead", "discard", "--event", id, "--yes")
    told = shop.cli("replay", id, "--subscription", "orders.to_shelf", "--yes", code=1).err
    assert f"`interlock dead restore --event {id}`" in told
    assert "subscription.unknown" in shop.cli("replay", id, "--subscription", "orders.nope", code=1).err
    assert "Say which events" in shop.cli("replay", code=2).err
    assert "is no rate" in shop.cli("replay", id, "--rate", "soon", code=2).err
    assert "is no filter" in shop.cli("replay", "--filter", "colour=red", code=2).err
    shop.shelf.decide = lambda _: 201


def test_a_replay_to_a_paused_subscription_waits_and_goes_first_in_its_key(shop: Project) -> None:
    first = send(shop, "o-first", 1)
    shop.until(lambda: settled(shop))
    shop.cli("subscriptions", "pause", "orders.to_books", "--yes")
    send(shop, "o-first", 2)
    told = shop.cli("replay", first, "--subscription", "orders.to_books", "--reason", "again", "--yes")
    assert "which is paused" in told.err
    assert "applied 1 of 1: 1 replayed" in told.out
    rows = {row["subscription"]: row for row in shop.json("events", "show", first)["subscriptions"]}
    books = rows["orders.to_books"]
    assert (books["state"], books["trigger"], books["why"]) == ("due", "replay", "again")
    assert "dead retry" in shop.cli("replay", first, "--subscription", "orders.to_books", "--yes", code=1).err
    shop.cli("subscriptions", "resume", "orders.to_books")
    shop.until(lambda: settled(shop))
    assert [call.content["cents"] for call in heard(shop.books, "o-first")] == [1, 1, 2]
    shop.cli("doctor")


def test_subscriptions_are_listed_and_neither_renamed_nor_retired_while_the_process_runs(shop: Project) -> None:
    rows = shop.json("subscriptions", "ls")["subscriptions"]
    assert {row["name"] for row in rows} == {"orders.to_books", "orders.to_shelf", "orders.accept.inbox"}
    assert "orders.to_books" in shop.cli("subscriptions", "show", "orders.to_books").out
    for asked in (("rename", "orders.to_books", "orders.to_ledger"), ("retire", "orders.to_books", "--yes")):
        told = shop.cli("subscriptions", *asked, code=1)
        assert "error[cli.process-runs]" in told.err


def test_doctor_says_that_the_books_balance(shop: Project) -> None:
    shop.until(lambda: settled(shop))
    found = shop.json("doctor")
    assert found["ok"] is True
    assert {check["name"] for check in found["checks"] if check["ok"]} >= {"conservation", "audit", "plan"}
    assert all(cursor["imbalance"] == 0 for cursor in found["cursors"])


def test_a_second_process_on_the_same_store_is_refused_and_the_first_goes_on(shop: Project) -> None:
    told = shop.cli("run", code=1)
    assert "error[store.in-use]" in told.err
    assert "fix: " in told.err
    id = send(shop, "o-second")
    assert shop.json("events", "show", id)["event"]["key"] == "o-second"


def test_the_token_is_readable_by_its_owner_only_and_both_ports_want_it(shop: Project) -> None:
    token = shop.folder / ".interlock" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    for url in (f"{shop.control}/api/v1/events", f"{shop.control}/metrics"):
        assert shop.ask(url).status == 200
        for wrong in ("", "nonsense"):
            refused = shop.ask(url, token=wrong)
            assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json")
    assert shop.ask(f"{shop.data}/events", token="", method="POST", body=b"{}").status == 401
    assert shop.token not in shop.log.read_text()


def test_health_readiness_metrics_and_the_api_description_are_served(shop: Project) -> None:
    assert shop.ask(f"{shop.control}/healthz", token="").json == {"alive": True}
    ready = shop.ask(f"{shop.control}/readyz", token="")
    assert (ready.status, ready.json["ready"]) == (200, True)
    page = shop.ask(f"{shop.control}/metrics").body.decode()
    assert "# EOF" in page or "# HELP interlock_" in page
    assert 'interlock_subscription_stragglers{subscription="orders.to_books"}' in page
    described = shop.ask(f"{shop.control}/api/v1/openapi.json").json
    assert "/api/v1/dead/retry" in described["paths"]
