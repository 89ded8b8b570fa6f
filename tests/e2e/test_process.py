"""The life of a process: ports, drains, deploys, and what can be asked of the store while nothing runs."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

from tests.e2e.project import CODE, Project


def test_a_busy_port_moves_to_the_next_free_one_and_that_is_said(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with project.running("--port", str(port)):
            moved_to = urlsplit(project.data).port or 0
            assert port < moved_to < port + 20
            project.until(lambda: f"data     http://127.0.0.1:{moved_to}" in project.log.read_text())
            assert project.hook("d-1", "o-1", 1) == 202


def test_sigterm_under_load_loses_nothing_and_delivers_nothing_twice(project: Project) -> None:
    told: dict[str, int | None] = {}
    stop = threading.Event()

    def load(lane: int) -> None:
        for number in range(lane, 100_000, 4):
            if stop.is_set():
                return
            id = f"d-{number}"
            try:
                told[id] = project.hook(id, f"o-{number % 20}", number)
            except (OSError, http.client.HTTPException):
                told[id] = None

    project.start()
    threads = [threading.Thread(target=load, args=(lane,), daemon=True) for lane in range(4)]
    for thread in threads:
        thread.start()
    project.until(lambda: len(project.books.effects) > 100)
    began = time.monotonic()
    code = project.stop()
    took = time.monotonic() - began
    stop.set()
    for thread in threads:
        thread.join()
    assert code == 0
    assert took < 5
    acknowledged = {id for id, status in told.items() if status == 202}
    assert {status for status in told.values() if status is not None} <= {202, 503}

    with project.running():
        for receiver in (project.books, project.shelf):
            project.until(lambda receiver=receiver: acknowledged <= {one["id"] for one in list(receiver.effects)})
            # Every call took effect: none was made again because its settlement had been lost.
            assert receiver.calls == len(receiver.effects)
        project.cli("doctor")


def test_ctrl_c_ends_a_process_as_sigterm_does(project: Project) -> None:
    project.start()
    assert project.stop(signal.SIGINT) == 0
    records = [record["record"] for record in project.records()]
    assert records.index("process.ready") < records.index("process.draining")
    assert not (project.folder / ".interlock" / "process.json").exists()


def test_who_follows_or_stalls_on_the_control_port_does_not_hold_up_a_stop(project: Project) -> None:
    project.start()
    parts = urlsplit(project.control)
    head = f"POST /api/v1/dead/retry HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {project.token}\r\n"
    head += "content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
    with (
        project.following("tail") as tail,
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as stalled,
    ):
        assert tail.err.readline() == b"following; Ctrl-C stops\n"
        stalled.sendall(head.encode())
        # It is asked for its body, which never comes.
        assert stalled.recv(1000).startswith(b"HTTP/1.1 100 ")
        assert project.stop() == 0
        assert tail.err.readline() == b"the process has gone; waiting for it to come back\n"
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(10) == 130
    assert "Traceback" not in project.log.read_text()


def test_the_store_is_read_where_no_process_runs_and_what_needs_one_says_so(project: Project) -> None:
    assert "error[cli.unreachable]" in project.cli("events", "ls", code=4).err
    with project.running():
        assert project.hook("d-1", "o-1", 1) == 202
        project.until(lambda: len(project.books.effects) == len(project.shelf.effects) == 1)
    [row] = project.json("events", "ls")["events"]
    assert (row["source_id"], row["key"]) == ("d-1", "o-1")
    assert project.json("events", "show", row["id"])["subscriptions"][0]["state"] == "settled"
    assert {one["name"] for one in project.json("subscriptions", "ls")["subscriptions"]} >= {"orders.to_books"}
    assert project.json("doctor")["ok"] is True
    for asked in (("systems", "pause", "orders.books", "--yes"), ("send", "order.paid@1", "{}"), ("tail",)):
        assert "error[cli.unreachable]" in project.cli(*asked, code=4).err


def test_a_renamed_subscription_goes_on_where_it_was_and_a_retired_one_is_forgotten(project: Project) -> None:
    with project.running():
        assert project.hook("d-1", "o-1", 1) == 202
        project.until(lambda: len(project.books.effects) == len(project.shelf.effects) == 1)

    project.write(CODE.replace("async def to_books", "async def to_ledger"))
    told = project.cli("run", code=1)
    assert "orders.to_books" in told.err
    assert re.search(r"fix: .*interlock subscriptions (rename|retire)", told.err)
    assert "renamed" in project.cli("subscriptions", "rename", "orders.to_books", "orders.to_ledger").out
    with project.running():
        assert project.hook("d-2", "o-1", 2) == 202
        project.until(lambda: len(project.books.effects) == 2)
        assert [effect["id"] for effect in project.books.effects] == ["d-1", "d-2"]
        assert project.books.calls == 2, "it started again from the beginning"

    project.write(CODE[: CODE.index("@orders.subscribe")])
    project.cli("run", code=1)
    for name in ("orders.to_ledger", "orders.to_shelf"):
        assert "Nobody can be asked" in project.cli("subscriptions", "retire", name, code=2).err
        project.cli("subscriptions", "retire", name, "--yes", "--reason", "no longer needed")
    with project.running():
        names = {one["name"] for one in project.json("subscriptions", "ls")["subscriptions"]}
        assert names == {"orders.accept.inbox"}
        project.cli("doctor")


def test_plan_says_what_a_deploy_would_change_while_the_process_runs_and_after_it_has_stopped(project: Project) -> None:
    renamed = CODE.replace("async def to_books", "async def to_ledger")
    with project.running():
        assert project.json("plan")["changes"] == []
        project.write(renamed)
        running = project.cli("plan", code=3)
    for told in (running, project.cli("plan", code=3)):
        assert "- gone      subscription orders.to_books" in told.out
        assert "fix: `interlock subscriptions rename orders.to_books orders.to_ledger`" in told.out
        assert "+ new       subscription orders.to_ledger" in told.out
        assert "a deploy would be refused: 1 of 2" in told.err
    project.cli("subscriptions", "rename", "orders.to_books", "orders.to_ledger")
    assert "a deploy would change no names and no shapes" in project.cli("plan").err


def test_a_paused_start_delivers_nothing_until_a_person_resumes_also_after_a_restart(project: Project) -> None:
    with project.running("--paused"):
        project.until(lambda: "paused   every subscription" in project.log.read_text())
        assert [project.hook(f"d-{n}", "o-1", n) for n in range(5)] == [202] * 5
        rows = project.json("subscriptions", "ls")["subscriptions"]
        assert {(row["paused"], row["by"], row["reason"]) for row in rows} == {(True, "interlock", "started paused")}
        # A command of one subscription goes on where it stood, and the other one waits.
        project.cli("subscriptions", "resume", "orders.to_books")
        project.until(lambda: len(project.books.effects) == 5)
        assert project.shelf.calls == 0
    with project.running():
        assert project.hook("d-5", "o-1", 5) == 202
        project.until(lambda: len(project.books.effects) == 6)
        assert project.shelf.calls == 0, "a restart resumes nothing"
        assert "Name one, or say --all" in project.cli("subscriptions", "resume", code=2).err
        told = project.cli("subscriptions", "resume", "--all", "--reason", "the shelf is up").out
        assert "orders.to_shelf resumed" in told
        assert "orders.to_books" not in told
        project.until(lambda: [effect["id"] for effect in project.shelf.effects] == [f"d-{n}" for n in range(6)])
        assert "nothing is paused" in project.cli("subscriptions", "resume", "--all").err
        project.cli("doctor")
