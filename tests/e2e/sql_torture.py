"""Events by HTTP into a real PostgreSQL with `once()`, and SIGKILL at random moments: each row is there once.

`python -m tests.e2e.sql_torture --events 50000 --kills 20` is the documented run. The table has no key of its own, so
nothing but the inbox keeps a row from coming twice. The checker believes only the sender, the log's file and the table.
With `--plant no-inbox` a copy of the package runs that writes no receipts: the checker must notice.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.contract import postgresql
from tests.e2e.torture import KEYS, LANES, PATIENCE_SECONDS, PLANTS, Plant, Sender, Torture, delivery_id, logged

PLANTS["no-inbox"] = Plant(
    "systems/postgres.py",
    "with_receipt = await self.asked(connection, connection.execute(_RECEIPT, key, self._clock.now()))",
    'with_receipt = "INSERT 0 1"',
)
PROJECT = """
from dataclasses import dataclass
from datetime import timedelta
from interlock import Integration, github

load = Integration("load", owner="test", purpose="to be killed")
ledger = load.sql("ledger")

@dataclass
class Item:
    key: str
    number: int

item = load.event("item", Item, key=lambda it: it.key)

@load.webhook("POST /hooks/in", verify=github(secret="load.hook"))
def accept(hook):
    return [item.draft(hook.json(Item), id=hook.id)]

@load.subscribe(item, start="beginning", freshness=timedelta(minutes=1), on_dead="halt")
async def book(event, context):
    async with context.use(ledger).once() as tx:
        row = (event.source_id, event.key, event.offset)
        await tx.execute("INSERT INTO entries (id, key, at) VALUES ($1, $2, $3)", *row)
        await tx.execute("UPDATE balances SET entries = entries + 1 WHERE key = $1", event.key)
    if tx.done:
        context.log("found its receipt")
"""
BINDINGS = """
[app]
modules = ["load"]
[data]
port = 0
[control]
port = 0
[secrets]
"load.hook" = "env:LOAD_SECRET"
[systems."load.ledger"]
url = "{url}"
"""
TABLES = (
    "CREATE TABLE entries (n bigserial, id text NOT NULL, key text NOT NULL, at bigint NOT NULL)",
    "CREATE TABLE balances (key text PRIMARY KEY, entries bigint NOT NULL)",
    f"INSERT INTO balances SELECT 'k' || i, 0 FROM generate_series(0, {KEYS - 1}) i",
)


@dataclass
class WholeSender(Sender):
    """Sends so many deliveries, each until it is answered 202."""

    events: int = 0

    def _numbers(self, lane: int) -> Iterator[int]:
        for number in range(lane, self.events, LANES):
            self.told[delivery_id(number)] = None
            yield number
            while self.told[delivery_id(number)] != 202 and not self.stop:
                time.sleep(0.02)
                self.repeated += 1
                yield number


class SqlVerdict(NamedTuple):
    """What the checker found."""

    acknowledged: int
    in_log: int
    rows: int
    found: int
    seconds: float
    problems: list[str]


class SqlTorture(Torture):
    """A project that writes to a database, run and killed again and again."""

    def __init__(
        self, folder: Path, url: str, plant: str | None, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        super().__init__(folder, plant, tell)
        for receiver in self.receivers.values():
            receiver.close()
        self.receivers = {}
        self.url = url
        (folder / "load.py").write_text(PROJECT)
        (folder / "interlock.toml").write_text(BINDINGS.format(url=url))
        for statement in TABLES:
            postgresql.ask(url, statement)

    def deliver(self, events: int, kills: int, rate: float, seed: int) -> SqlVerdict:
        """Kill so often while so many events are sent, then let it drain, stop it, and check."""
        chance = random.Random(seed)
        sender = WholeSender(events=events)
        began = time.monotonic()
        process = self._ready(self._start(), sender)
        threads = [threading.Thread(target=sender.run, args=(lane, rate), daemon=True) for lane in range(LANES)]
        for thread in threads:
            thread.start()
        for kill in range(1, kills + 1):
            while len(sender.told) < events * kill // (kills + 1):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            process.wait()
            process = self._ready(self._start(), sender)
            self.tell(f"kill {kill:>2} of {kills}: {len(sender.told)} sent")
        for thread in threads:
            thread.join()
        self._booked(events)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_SECONDS)
        return self.judge(sender, seconds)

    def _booked(self, events: int) -> None:
        """Wait until there are as many entries, for as long as more of them come."""
        count, end = -1, time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            ((found,),) = postgresql.ask(self.url, "SELECT count(DISTINCT id) FROM entries")
            if found == events:
                return
            if found != count:
                count, end = found, time.monotonic() + PATIENCE_SECONDS
            time.sleep(0.3)

    def judge(self, sender: Sender, seconds: float) -> SqlVerdict:
        """The sender's history and the log against the table."""
        acknowledged = sender.with_status(lambda status: status == 202)
        log = logged(self.folder)
        entries = postgresql.ask(self.url, "SELECT id, key, at FROM entries ORDER BY n")
        rows = Counter(str(id) for id, _, _ in entries)
        problems = [f"{id} was answered 202 and is not in the log" for id in sorted(acknowledged - log.keys())]
        problems += [f"{id} is {count} times in the log" for id, count in log.items() if count > 1]
        problems += [f"{id} is in the log and not in the table" for id in sorted(log.keys() - rows.keys())]
        problems += [f"{id} is in the table and not in the log" for id in sorted(rows.keys() - log.keys())]
        problems += [f"{id} is {count} times in the table" for id, count in rows.items() if count > 1]
        last: dict[object, int] = {}
        for id, key, at in entries:
            if int(str(at)) <= last.get(key, 0):
                problems.append(f"{id} came after a later event of {key}")
            last[key] = int(str(at))
        counts = Counter(key for _, key, _ in entries)
        for key, count in postgresql.ask(self.url, "SELECT key, entries FROM balances"):
            if counts[key] != count:
                problems.append(f"{key} has {counts[key]} entries and a balance of {count}")
        lines = (self.folder / "log.jsonl").read_text(errors="replace").splitlines()
        found = sum("found its receipt" in line for line in lines)
        return SqlVerdict(len(acknowledged), log.total(), len(entries), found, seconds, problems)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=500.0, help="deliveries a second")
    parser.add_argument("--seed", type=int, default=7, help="of the moments")
    parser.add_argument("--plant", choices=["no-inbox"], help="run a package with this bug")
    asked = parser.parse_args()
    out = sys.stdout.write
    folder = Path(tempfile.mkdtemp(prefix="interlock-sql-torture-"))
    try:
        with postgresql.database(otherwise_skip=False) as url:
            torture = SqlTorture(folder, url, asked.plant, lambda line: (out(f"  {line}\n"), sys.stdout.flush()))
            verdict = torture.deliver(asked.events, asked.kills, asked.rate, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out(
        f"  {verdict.acknowledged} acknowledged, {verdict.in_log} in the log, {verdict.rows} rows,"
        f" in {verdict.seconds:.0f} s\n  {verdict.found} attempts found the receipt of a former one\n"
    )
    for problem in verdict.problems[:20]:
        out(f"  PROBLEM {problem}\n")
    out(f"  {len(verdict.problems)} problems\n" if verdict.problems else "  each row is there once, all in order\n")
    sys.exit(bool(verdict.problems))


if __name__ == "__main__":
    main()
