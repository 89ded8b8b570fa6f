"""A month in the life of an installation, on real processes: each thing that an operator meets, one after the other.

Producer and receivers know nothing of Interlock. At the end the books are the producer's acknowledgements against what
took effect at each receiver: nothing is missing, nothing came twice, and each order's events came in their order.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.project import ACCEPTED, DECLARED, PATIENCE_SECONDS, Answered, Project, signed
from tests.e2e.receivers import Receiver

ROOT = Path(__file__).parents[2]
ORDERS = 7
HOURS = 3_600

READ = """

@orders.subscribe({types}, start="beginning", freshness=timedelta(minutes=1))
async def {name}(event, context):
    body = {{"id": event.source_id, "order": event.payload.order, "cents": event.payload.cents}}
    await context.use({system}).post("/entries", json=body)
"""
SECOND_VERSION = """

@dataclass
class PaidIn:
    order: str
    cents: int
    currency: str


paid_in = orders.event("order.paid", PaidIn, version=2, key=lambda it: it.order)
"""
BOTH_ACCEPTED = """

@orders.webhook("POST /hooks/shop", verify=github(secret="orders.hook"))
def accept(hook):
    if "currency" in hook.json():
        return [paid_in.draft(hook.json(PaidIn), id=hook.id)]
    return [paid.draft(hook.json(Paid), id=hook.id)]
"""
ARCHIVE = '\narchive = orders.http("archive", honours_keys=True)\n'


def read_by(name: str, system: str, types: str = "paid") -> str:
    return READ.format(name=name, system=system, types=types)


class Shop(Project):
    """A project whose producer keeps what was acknowledged, and a third receiver, which comes later.

    `ahead` is how many seconds the clock of the installation has been moved on.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.archive = Receiver()
        self.receivers = {"books": self.books, "shelf": self.shelf}
        self.accepted: dict[str, dict[str, Any]] = {}
        self.sent = 0
        self.extra: dict[str, object] = {}
        self.ahead = 0

    def close(self) -> None:
        super().close()
        self.archive.close()

    # The producer.

    def sell(self, count: int) -> list[str]:
        """So many webhooks, each answered 202; their ids."""
        ids = []
        for _ in range(count):
            id = f"d-{self.sent}"
            content = {"order": f"o-{self.sent % ORDERS}", "cents": self.sent, **self.extra}
            self.sent += 1
            answered = self.deliver(id, content)
            assert answered.status == 202, answered
            self.accepted[id] = content
            ids.append(id)
        return ids

    def deliver(self, id: str, content: dict[str, Any]) -> Answered:
        """One webhook."""
        body = json.dumps(content).encode()
        parts = urlsplit(self.data)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_SECONDS)
        with closing(connection):
            connection.request("POST", "/hooks/shop", body, signed(id, body))
            with connection.getresponse() as answer:
                headers = {name.lower(): value for name, value in answer.getheaders()}
                return Answered(answer.status, headers, answer.read())

    # The books.

    def wait(self, *receivers: Receiver) -> None:
        """Until these receivers, all of them if none is given, have everything that was acknowledged."""
        for receiver in receivers or self.receivers.values():
            self.until(lambda receiver=receiver: len(receiver.effects) >= len(self.accepted))

    def check(self) -> None:
        """Each acknowledged event took effect once at each receiver, in its key's order, and the process agrees."""
        for name, receiver in self.receivers.items():
            effects = Counter(effect["id"] for effect in receiver.effects)
            assert effects == Counter(dict.fromkeys(self.accepted, 1)), name
            for order in range(ORDERS):
                cents = [effect["cents"] for effect in receiver.effects if effect["order"] == f"o-{order}"]
                assert cents == sorted(cents), f"{name} had o-{order} out of order"
        # A clock that was moved by an hour has ended the lease: the lanes are back in a moment, under a new one.
        self.until(lambda: self.api("doctor")["ok"])
        assert self.api("dead")["groups"] == []

    def api(self, path: str) -> Any:
        """What the admin API says."""
        return self.ask(f"{self.control}/api/v1/{path}").json

    def well(self) -> None:
        """Until the process is ready."""
        try:
            self.until(lambda: self.ask(f"{self.control}/readyz").status == 200)
        except AssertionError as error:
            wrong = [check for check in self.api("doctor")["checks"] if not check["ok"]]
            raise AssertionError(f"{wrong}\n{self.log.read_text()[-5000:]}") from error

    def settled(self, subscription: str) -> bool:
        """Whether a subscription has nothing left to do."""
        [row] = [row for row in self.api("subscriptions")["subscriptions"] if row["name"] == subscription]
        return not (row["lag"] or row["behind"] or any(row["stragglers"].values()))

    @property
    def calls(self) -> dict[str, int]:
        """How often each receiver was called."""
        return {name: receiver.calls for name, receiver in self.receivers.items()}

    # The process, on a clock and a disk that the test has in its hand.

    @contextmanager
    def on_a_moved_clock(self) -> Iterator[None]:
        """The same process as `running`; `tell` moves its clock and fills its disk."""
        (self.folder / ".interlock" / "process.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.e2e.launcher", str(self.ahead)]
        # Whichever package is tested, and the launcher, which is none of it.
        path = os.pathsep.join(filter(None, (self.environment.get("PYTHONPATH"), str(ROOT))))
        environment = {**self.environment, "PYTHONPATH": path}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen[bytes](
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        process = self.process
        try:
            self.until(lambda: (self.folder / ".interlock" / "process.json").exists() or process.poll() is not None)
            assert process.poll() is None, self.log.read_text()[-3000:]
            yield
            assert self.stop() == 0, self.log.read_text()[-3000:]
        finally:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            self.kill()

    def tell(self, command: str) -> None:
        """One command to the launcher, carried out when this returns."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{command}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n", self.log.read_text()[-3000:]

    def advance(self, seconds: int) -> None:
        """Let so much time pass."""
        self.tell(f"advance {seconds}")
        self.ahead += seconds

    def names(self) -> list[str]:
        """The records of the log."""
        return [record["record"] for record in self.records()]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    try:
        yield shop
    finally:
        shop.close()


@pytest.mark.timeout(240)
def test_a_month_of_an_installation_loses_nothing_and_repeats_nothing(shop: Shop) -> None:
    deploys_and_sells(shop)
    renames_a_subscription(shop)
    adds_one_from_the_beginning(shop)
    changes_the_shape_of_a_model(shop)
    sits_out_an_outage_of_thirty_hours(shop)
    runs_out_of_disk(shop)
    restores_a_backup(shop)


def deploys_and_sells(shop: Shop) -> None:
    shop.write(DECLARED + ACCEPTED + read_by("to_books", "books") + read_by("to_shelf", "shelf"))
    with shop.running():
        shop.sell(40)
        shop.wait()
        shop.check()


def renames_a_subscription(shop: Shop) -> None:
    with shop.running():
        before = shop.calls
        # Nobody knows whether these took effect: only their keys tell, and those outlive the name.
        shop.books.loses_answers = True
        shop.sell(3)
        shop.wait()
    shop.books.loses_answers = False
    shop.write(DECLARED + ACCEPTED + read_by("to_ledger", "books") + read_by("to_shelf", "shelf"))
    told = shop.cli("run", code=1)
    assert "interlock subscriptions rename orders.to_books orders.to_ledger" in told.err
    shop.cli("subscriptions", "rename", "orders.to_books", "orders.to_ledger")
    with shop.running():
        shop.sell(20)
        shop.wait()
        shop.until(lambda: shop.settled("orders.to_ledger"))
        shop.check()
    assert shop.shelf.calls == before["shelf"] + 23, "something was delivered again"
    assert before["books"] + 23 < shop.books.calls < before["books"] + 40


def adds_one_from_the_beginning(shop: Shop) -> None:
    with (shop.folder / "interlock.toml").open("a") as bindings:
        bindings.write(f'[systems."orders.archive"]\nurl = "{shop.archive.url}"\n')
    shop.receivers["archive"] = shop.archive
    shop.write(DECLARED + ARCHIVE + ACCEPTED + READERS)
    with shop.running():
        shop.wait()
        assert shop.archive.calls == len(shop.accepted)
        shop.sell(20)
        shop.wait()
        shop.check()


READERS = read_by("to_ledger", "books") + read_by("to_shelf", "shelf") + read_by("to_archive", "archive")


def changes_the_shape_of_a_model(shop: Shop) -> None:
    reshaped = DECLARED.replace("    cents: int\n", "    cents: int\n    currency: str\n")
    shop.write(reshaped + ARCHIVE + ACCEPTED + READERS)
    told = shop.cli("run", code=1)
    assert "event type order.paid@1 in another shape" in told.err
    assert "fix: give order.paid@1 a new version" in told.err
    both = READERS.replace("subscribe(paid,", "subscribe(paid, paid_in,")
    shop.write(DECLARED + ARCHIVE + SECOND_VERSION + BOTH_ACCEPTED + both)
    with shop.running():
        shop.sell(10)
        shop.extra = {"currency": "EUR"}
        shop.sell(10)
        shop.wait()
        shop.check()


def sits_out_an_outage_of_thirty_hours(shop: Shop) -> None:
    with shop.on_a_moved_clock():
        before = shop.calls
        shop.shelf.decide = lambda _: 503
        shop.sell(10)
        for _ in range(30):
            shop.advance(HOURS)
            shop.sell(2)
        shop.wait(shop.books, shop.archive)
        behind = len(shop.accepted) - len(shop.shelf.effects)
        assert behind == 70
        [row] = [row for row in shop.api("subscriptions")["subscriptions"] if row["name"] == "orders.to_shelf"]
        # Older than every age that would end an event, and none of them is dead: a probe says nothing of its event.
        assert sum(row["stragglers"].values()) + row["behind"] + row["lag"] == behind
        assert set(row["stragglers"]) == {"due"}
        systems = {row["name"]: row["breaker"] for row in shop.api("systems")["systems"]}
        assert systems == {"orders.books": "closed", "orders.shelf": "open", "orders.archive": "closed"}
        opened = [record for record in shop.records() if record["record"] == "breaker.transition"]
        assert {record["system"] for record in opened} == {"orders.shelf"}
        # Thirty hours are 180 pauses of ten minutes: probes, and never a storm.
        assert shop.calls["shelf"] - before["shelf"] < 250

        shop.shelf.decide = lambda _: 201
        shop.advance(HOURS)
        shop.wait()
        shop.check()
        assert shop.calls["books"] - before["books"] == shop.calls["archive"] - before["archive"] == 70


def runs_out_of_disk(shop: Shop) -> None:
    with shop.on_a_moved_clock():
        shop.tell("disk low")
        [disk] = [check for check in shop.api("doctor")["checks"] if check["name"] == "disk"]
        assert disk["ok"]
        assert "free space on the disk" in disk["remedy"]
        shop.sell(5)

        # What waits for the shelf is delivered while nothing is taken in.
        shop.shelf.decide = lambda _: 503
        shop.sell(5)
        shop.tell("disk reserve")
        refused = shop.deliver("d-refused", {"order": "o-0", "cents": 0})
        assert (refused.status, refused.headers["retry-after"]) == (507, "30")
        assert refused.json["code"] == "store.full"
        assert "free space" in refused.json["remedy"]
        assert "FAIL" in shop.cli("doctor", code=3).out
        assert shop.ask(f"{shop.control}/readyz").status == 503
        shop.shelf.decide = lambda _: 201
        shop.advance(60)
        shop.wait()

        # Not even the reserve is left: settlements cannot be written either, so events may be sent again.
        shop.tell("disk ok")
        assert shop.ask(f"{shop.control}/readyz").status == 200
        shop.sell(5)
        shop.tell("disk full")
        assert shop.deliver("d-refused", {"order": "o-0", "cents": 0}).status == 507
        shop.advance(300)
        shop.tell("disk ok")
        shop.until(lambda: shop.deliver("d-after", {"order": "o-0", "cents": shop.sent, **shop.extra}).status == 202)
        shop.accepted["d-after"] = {}
        shop.wait()
        shop.well()
        shop.advance(60)
        shop.check()
        told = [name for name in shop.names() if name.startswith("disk.")]
        assert told == ["disk.low", "disk.full", "disk.ok", "disk.full", "disk.ok"]


def restores_a_backup(shop: Shop) -> None:
    with shop.on_a_moved_clock():
        assert "checked" in shop.cli("db", "backup", "month.db").out
        assert "add --yes to agree" in shop.cli("db", "backup", "month.db", code=2).err
        later = shop.sell(20)
        shop.wait()
        ids = {row["id"] for row in shop.api("events?limit=200")["events"]}
        running = shop.cli("db", "restore", "month.db", "--yes", code=1)
        assert "error[store.in-use]" in running.err
        assert "fix: stop it first" in running.err
    told = shop.cli("db", "restore", "month.db", "--dry-run").err
    assert "not in the backup: 20 events accepted since (orders 20)" in told
    assert "delivered again with the same idempotency keys" in told
    [aside] = [line for line in shop.cli("db", "restore", "month.db", "--yes").out.splitlines() if "aside" in line]
    assert Path(shop.folder, aside.split()[1]).exists()

    with shop.on_a_moved_clock():
        calls = shop.calls
        # Producers send again what the backup does not hold: accepted as new, known to the receivers by its key.
        for id in later:
            assert shop.deliver(id, shop.accepted[id]).status == 202
        shop.sell(10)
        shop.wait()
        shop.until(lambda: all(shop.calls[name] >= calls[name] + 30 for name in calls))
        shop.check()
        rows = [row for row in shop.api("events?limit=200")["events"] if row["stream"] == "orders"]
        new = [row for row in rows if row["id"] not in ids]
        assert len(new) == 30, "an id that was given before the restore was given again"
