"""SIGKILL at random moments under steady load, then the books: nothing acknowledged is missing, nothing came twice.

`python -m tests.e2e.torture --kills 20 --rate 200` is the documented run; the suite makes a shorter one. Sender and
receivers know nothing of Interlock, and the checker believes only them and the file of the log. With
`--plant ack-before-commit` a copy of the package runs that answers before its commit: the checker must notice.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.e2e.receivers import Receiver

ROOT = Path(__file__).parents[2]
SECRET = b"torture-only"
LANES, KEYS = 8, 37
PATIENCE_SECONDS = 90.0


class Plant(NamedTuple):
    """A bug: what stands in a file of the package, and what shall stand there instead."""

    file: str
    sound: str
    bug: str


PLANTS = {
    "ack-before-commit": Plant(
        "edge/webhook.py",
        "            self._admission.append(exchange, drafts, partial(self._recorded, exchange, verified))\n",
        """\
            import asyncio
            exchange.respond(202, JSON, b"{}")
            append = partial(self._admission.append, exchange, drafts, lambda _: None)
            asyncio.get_running_loop().call_later(0.1, append)
""",
    ),
}
PROJECT = """
from dataclasses import dataclass
from datetime import timedelta
from interlock import Integration, github

load = Integration("load", owner="test", purpose="to be killed")
left, right = load.http("left", honours_keys=True), load.http("right", honours_keys=True)

@dataclass
class Item:
    key: str
    number: int

item = load.event("item", Item, key=lambda it: it.key)

@load.webhook("POST /hooks/in", verify=github(secret="load.hook"))
def accept(hook):
    return [item.draft(hook.json(Item), id=hook.id)]

@load.subscribe(item, start="beginning", freshness=timedelta(minutes=1))
async def to_left(event, context):
    await context.use(left).post("/items", json={"id": event.source_id, "key": event.key, "at": event.offset})

@load.subscribe(item, start="beginning", freshness=timedelta(minutes=1))
async def to_right(event, context):
    await context.use(right).post("/items", json={"id": event.source_id, "key": event.key, "at": event.offset})
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
[systems."load.left"]
url = "{left}"
[systems."load.right"]
url = "{right}"
"""


@dataclass
class Sender:
    """Posts signed deliveries at a steady rate and keeps what it was told: 202, a refusal, or nothing (None).

    Of those without an answer every second one is sent again, as providers do.
    """

    told: dict[str, int | None] = field(default_factory=dict)
    repeated: int = 0
    base: str = ""
    stop: bool = False

    def run(self, lane: int, rate: float) -> None:
        """One of the connections that share the rate."""
        due = time.monotonic()
        connection: http.client.HTTPConnection | None = None
        for number in self._numbers(lane):
            due += LANES / rate
            time.sleep(max(0.0, due - time.monotonic()))
            if connection is None:
                parts = urlsplit(self.base)
                connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
            try:
                self.told[delivery_id(number)] = self._post(connection, number)
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _numbers(self, lane: int) -> Iterator[int]:
        number = lane
        while not self.stop:
            self.told[delivery_id(number)] = None
            yield number
            while number // LANES % 2 and self.told[delivery_id(number)] is None and not self.stop:
                self.repeated += 1
                yield number
            number += LANES

    def _post(self, connection: http.client.HTTPConnection, number: int) -> int:
        body = json.dumps({"key": f"k{number % KEYS}", "number": number}).encode()
        headers = {
            "content-type": "application/json",
            "x-github-event": "item",
            "x-github-delivery": delivery_id(number),
            "x-hub-signature-256": "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest(),
        }
        connection.request("POST", "/hooks/in", body, headers)
        with connection.getresponse() as response:
            response.read()
            return response.status

    def with_status(self, holds: Callable[[int | None], bool]) -> set[str]:
        """The ids that were told such a status."""
        return {id for id, status in self.told.items() if holds(status)}


def delivery_id(number: int) -> str:
    """How a delivery is called."""
    return f"delivery-{number}"


class Verdict(NamedTuple):
    """What the checker found."""

    acknowledged: int
    unanswered: int
    repeated: int
    in_log: int
    effects: int
    calls: int
    problems: list[str]


class Torture:
    """A project in a folder of its own, run and killed again and again.

    Args:
        folder: where it lives.
        plant: the bug that its copy of the package has.
        tell: takes what happens, line by line.
    """

    def __init__(self, folder: Path, plant: str | None, tell: Callable[[str], object] = lambda _: None) -> None:
        self.folder = folder
        self.tell = tell
        self.receivers = {"left": Receiver(), "right": Receiver()}
        self.environment = {**os.environ, "LOAD_SECRET": SECRET.decode(), "PYTHONPATH": str(self._package(plant))}
        (folder / "load.py").write_text(PROJECT)
        urls = {name: receiver.url for name, receiver in self.receivers.items()}
        (folder / "interlock.toml").write_text(BINDINGS.format(**urls))

    def _package(self, plant: str | None) -> Path:
        """The package as it is, or a copy with one bug."""
        if plant is None:
            return ROOT / "src"
        copy = self.folder / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        file, sound, bug = PLANTS[plant]
        text = (copy / "interlock" / file).read_text()
        assert sound in text, f"the place for the bug in {file} is gone"
        (copy / "interlock" / file).write_text(text.replace(sound, bug))
        return copy

    def run(self, kills: int, rate: float, seed: int) -> Verdict:
        """Kill so often, then let it drain, stop it, and check."""
        chance = random.Random(seed)
        sender = Sender()
        process = self._ready(self._start(), sender)
        threads = [threading.Thread(target=sender.run, args=(lane, rate), daemon=True) for lane in range(LANES)]
        for thread in threads:
            thread.start()
        for kill in range(1, kills + 1):
            time.sleep(chance.uniform(0.2, 1.5))
            process.kill()
            process.wait()
            process = self._start()
            # One kill in four is followed by another one while the process still opens its store.
            if chance.random() < 0.25:
                time.sleep(chance.uniform(0.1, 0.6))
                process.kill()
                process.wait()
                process = self._start()
            self._ready(process, sender)
            self.tell(f"kill {kill:>2} of {kills}: {len(sender.told)} sent")
        time.sleep(1.0)
        sender.stop = True
        for thread in threads:
            thread.join()
        self._drained(sender)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_SECONDS)
        for receiver in self.receivers.values():
            receiver.close()
        return self.check(sender)

    def _start(self) -> subprocess.Popen[bytes]:
        (self.folder / ".interlock" / "process.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "interlock", "run"]
        with (self.folder / "log.jsonl").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def _ready(self, process: subprocess.Popen[bytes], sender: Sender) -> subprocess.Popen[bytes]:
        """Wait until it answers, and tell the sender where."""
        address = self.folder / ".interlock" / "process.json"
        end = time.monotonic() + PATIENCE_SECONDS
        while not address.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "log.jsonl").read_text()[-3000:])
            time.sleep(0.02)
        sender.base = json.loads(address.read_text())["data"]
        return process

    def _drained(self, sender: Sender) -> None:
        """Wait until both receivers have everything that was acknowledged, or for as long as patience lasts."""
        acknowledged = sender.with_status(lambda status: status == 202)
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if all(acknowledged <= {one["id"] for one in list(each.effects)} for each in self.receivers.values()):
                return
            # What was acknowledged and is not in the file will not come.
            if acknowledged - logged(self.folder).keys():
                return
            time.sleep(0.2)

    def check(self, sender: Sender) -> Verdict:
        """The sender's and the receivers' histories against the log."""
        acknowledged = sender.with_status(lambda status: status == 202)
        refused = sender.with_status(lambda status: status is not None and 400 <= status < 500)
        log = logged(self.folder)
        problems = [f"{id} was answered 202 and is not in the log" for id in sorted(acknowledged - log.keys())]
        problems += [f"{id} is {count} times in the log" for id, count in log.items() if count > 1]
        problems += [f"{id} is in the log and nobody sent it" for id in sorted(log.keys() - sender.told.keys())]
        problems += [f"{id} was refused and is in the log" for id in sorted(refused & log.keys())]
        for name, receiver in self.receivers.items():
            problems += [f"{problem} at {name}" for problem in _wrong_at(receiver, log)]
        receivers = self.receivers.values()
        return Verdict(
            len(acknowledged),
            len(sender.with_status(lambda status: status is None)),
            sender.repeated,
            log.total(),
            sum(len(receiver.effects) for receiver in receivers),
            sum(receiver.calls for receiver in receivers),
            problems,
        )


def _wrong_at(receiver: Receiver, log: Counter[str]) -> Iterator[str]:
    effects = Counter(effect["id"] for effect in receiver.effects)
    yield from (f"{id} is missing" for id in sorted(log.keys() - effects.keys()))
    yield from (f"{id} took effect {count} times" for id, count in effects.items() if count > 1)
    last: dict[str, int] = {}
    for effect in receiver.effects:
        if effect["at"] <= last.get(effect["key"], 0):
            yield f"{effect['id']} came after a later event of {effect['key']}"
        last[effect["key"]] = effect["at"]


def logged(folder: Path) -> Counter[str]:
    """The producer's ids in the log, each with how often it is there: read by SQLite alone, without our code."""
    with closing(sqlite3.connect(folder / ".interlock" / "interlock.db")) as file:
        [(stream,)] = file.execute("SELECT id FROM streams WHERE name = 'load'")
        tables = file.execute("SELECT name FROM sqlite_schema WHERE name GLOB ?", (f"events_{stream}_*",)).fetchall()
        return Counter(id for (table,) in tables for (id,) in file.execute(f'SELECT id FROM "{table}"'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0, help="deliveries a second")
    parser.add_argument("--seed", type=int, default=7, help="of the moments")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="run a package with this bug")
    asked = parser.parse_args()
    out = sys.stdout.write
    folder = Path(tempfile.mkdtemp(prefix="interlock-torture-"))
    try:
        torture = Torture(folder, asked.plant, lambda line: (out(f"  {line}\n"), sys.stdout.flush()))
        verdict = torture.run(asked.kills, asked.rate, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out(
        f"  {verdict.acknowledged} acknowledged, {verdict.unanswered} never answered, {verdict.repeated} sent again\n"
        f"  {verdict.in_log} in the log; {verdict.effects} effects at two receivers, in {verdict.calls} calls\n"
    )
    for problem in verdict.problems[:20]:
        out(f"  PROBLEM {problem}\n")
    out(
        f"  {len(verdict.problems)} problems\n" if verdict.problems else "  nothing lost, nothing twice, all in order\n"
    )
    sys.exit(bool(verdict.problems))


if __name__ == "__main__":
    main()
