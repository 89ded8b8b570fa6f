"""SIGKILL at random moments under steady load, then the books: nothing acknowledged is missing, nothing came twice.

`python -m tests.e2e.torture --kills 20 --rate 200` is the documented run; the tests make a shorter one. The sender and both
receivers are independent of Interlock, and the checker believes only them and the log. `--plant ack-before-commit`
runs a copy of the package that answers before its commit: the checker must notice.
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
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
SECRET = b"torture-only"
PLANTS = {
    "ack-before-commit": (
        "edge/webhook.py",
        "            self._admission.append(exchange, drafts, partial(self._recorded, exchange, verified))\n",
        "            import asyncio\n"
        '            exchange.respond(202, JSON, b"{}")\n'
        "            asyncio.get_running_loop().call_later(\n"
        "                0.1, self._admission.append, exchange, drafts, lambda _: None\n"
        "            )\n",
    ),
}
PROJECT = '''
from dataclasses import dataclass
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

@load.subscribe(item, start="beginning")
async def to_left(event, context):
    await context.use(left).post("/items", json={"id": event.source_id, "key": event.key, "at": event.offset})

@load.subscribe(item, start="beginning")
async def to_right(event, context):
    await context.use(right).post("/items", json={"id": event.source_id, "key": event.key, "at": event.offset})
'''


class Sink:
    """A receiver that honours idempotency keys and keeps the order of what took effect."""

    def __init__(self) -> None:
        self.effects: list[dict[str, object]] = []
        self.raw = 0
        self.seen: set[str] = set()
        self.lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with sink.lock:
                    sink.raw += 1
                    if self.headers["idempotency-key"] not in sink.seen:
                        sink.seen.add(self.headers["idempotency-key"])
                        sink.effects.append(content)
                self.send_response(201)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Sender:
    """Posts signed deliveries at a steady rate and keeps what it was told: 202, a refusal, or nothing."""

    told: dict[str, int | None] = field(default_factory=dict)
    number: int = 0
    base: str = ""
    stop: bool = False

    def run(self, rate: float, lane: int, lanes: int) -> None:
        connection: http.client.HTTPConnection | None = None
        due = time.monotonic()
        number = lane
        while not self.stop:
            number += lanes
            due += lanes / rate
            time.sleep(max(0.0, due - time.monotonic()))
            body = json.dumps({"key": f"k{number % 37}", "number": number}).encode()
            id = f"delivery-{number}"
            headers = {
                "content-type": "application/json",
                "x-github-event": "item",
                "x-github-delivery": id,
                "x-hub-signature-256": "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest(),
            }
            self.told[id] = None
            try:
                if connection is None:
                    parts = urlsplit(self.base)
                    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
                connection.request("POST", "/hooks/in", body, headers)
                response = connection.getresponse()
                response.read()
                self.told[id] = response.status
            except (OSError, http.client.HTTPException):
                if connection is not None:
                    connection.close()
                connection = None


class Verdict(NamedTuple):
    """What the checker found."""

    acknowledged: int
    unanswered: int
    in_log: int
    effects: int
    raw: int
    problems: list[str]


class Torture:
    """A project in a folder of its own, run and killed again and again."""

    def __init__(self, folder: Path, plant: str | None) -> None:
        self.folder = folder
        self.sinks = [Sink(), Sink()]
        self.environment = {**os.environ, "LOAD_SECRET": SECRET.decode()}
        self.environment["PYTHONPATH"] = str(self._package(plant))
        (folder / "load.py").write_text(PROJECT)
        (folder / "interlock.toml").write_text(
            "[app]\nmodules = ['load']\n[data]\nport = 0\n[control]\nport = 0\n[secrets]\n'load.hook' = 'env:LOAD_SECRET'\n"
            f"[systems.'load.left']\nurl = 'http://127.0.0.1:{self.sinks[0].port}'\n"
            f"[systems.'load.right']\nurl = 'http://127.0.0.1:{self.sinks[1].port}'\n"
        )

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

    def start(self) -> subprocess.Popen[bytes]:
        """`interlock run`, once it answers."""
        address = self.folder / ".interlock" / "process.json"
        address.unlink(missing_ok=True)
        log = (self.folder / "log.jsonl").open("ab")
        command = [sys.executable, "-m", "interlock", "run"]
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not address.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "log.jsonl").read_text()[-3000:])
            time.sleep(0.02)
        self.base = json.loads(address.read_text())["data"]
        return process

    def run(self, kills: int, rate: float, seed: int) -> Verdict:
        """Kill so often, then let it drain, stop it, and check."""
        chance = random.Random(seed)
        sender = Sender()
        process = self.start()
        sender.base = self.base
        lanes = 8
        threads = [threading.Thread(target=sender.run, args=(rate, lane, lanes)) for lane in range(lanes)]
        for thread in threads:
            thread.start()
        for kill in range(kills):
            time.sleep(chance.uniform(0.2, 1.5))
            process.kill()
            process.wait()
            process = self.start()
            sender.base = self.base
            print(f"  kill {kill + 1:>2} of {kills}: {len(sender.told)} sent", flush=True)
        time.sleep(1.0)
        sender.stop = True
        for thread in threads:
            thread.join()
        self._drained(sender)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        return self.check(sender)

    def _drained(self, sender: Sender) -> None:
        """Wait until both receivers have everything that was acknowledged, or for as long as patience lasts."""
        acknowledged = {id for id, status in sender.told.items() if status == 202}
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if all(acknowledged <= {str(effect["id"]) for effect in list(sink.effects)} for sink in self.sinks):
                return
            time.sleep(0.2)

    def in_log(self) -> Counter[str]:
        """The producer's ids in the log, each with how often it is there, read from the file by itself."""
        script = (
            "import asyncio,json;from pathlib import Path;from interlock.core.event import Shard;"
            "from interlock.journal.sqlite.store import SqliteStore;from interlock.runtime.ports import *;"
            "from interlock.cli.offline import Silence\n"
            "async def main():\n"
            "    s=await SqliteStore.open_file(Path('.interlock/interlock.db'),SystemClock(),Silence(),ThreadOffload('s'),Silence())\n"
            "    found=[]\n"
            "    for n in range(s.stream('load').shards):\n"
            "        at=0\n"
            "        while True:\n"
            "            b=await s.read(Shard('load',n),at,1000,None)\n"
            "            found+=[e.draft.id for e in b.events]\n"
            "            at=b.upto\n"
            "            if not b.events: break\n"
            "    print(json.dumps(found)); await s.close()\n"
            "import os\nasyncio.run(main());os._exit(0) if False else None\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return Counter(json.loads(done.stdout))

    def check(self, sender: Sender) -> Verdict:
        """The sender's and the receivers' histories against the log."""
        acknowledged = {id for id, status in sender.told.items() if status == 202}
        log = self.in_log()
        problems = [f"{id} was answered 202 and is not in the log" for id in sorted(acknowledged - log.keys())]
        problems += [f"{id} is {count} times in the log" for id, count in log.items() if count > 1]
        problems += [f"{id} is in the log and nobody sent it" for id in log.keys() - sender.told.keys()]
        refused = {id for id, status in sender.told.items() if status is not None and 400 <= status < 500}
        problems += [f"{id} was refused and is in the log" for id in refused & log.keys()]
        for name, sink in zip(("left", "right"), self.sinks, strict=True):
            effects = Counter(str(effect["id"]) for effect in sink.effects)
            problems += [f"{id} did not reach {name}" for id in sorted(log.keys() - effects.keys())]
            problems += [f"{id} took effect {count} times at {name}" for id, count in effects.items() if count > 1]
            last: dict[object, int] = {}
            for effect in sink.effects:
                at = int(str(effect["at"]))
                if at <= last.get(effect["key"], 0):
                    problems.append(f"{effect['id']} overtook an earlier event of {effect['key']} at {name}")
                last[effect["key"]] = at
        unanswered = sum(status is None for status in sender.told.values())
        effects = sum(len(sink.effects) for sink in self.sinks)
        return Verdict(len(acknowledged), unanswered, len(log), effects, sum(s.raw for s in self.sinks), problems)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plant", choices=sorted(PLANTS))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="interlock-torture-"))
    try:
        verdict = Torture(folder, asked.plant).run(asked.kills, asked.rate, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"  seed {asked.seed}: {verdict.acknowledged} acknowledged, {verdict.unanswered} without an answer, {verdict.in_log} in "
        f"the log, {verdict.effects} effects in {verdict.raw} deliveries"
    )
    for problem in verdict.problems[:20]:
        print(f"  PROBLEM {problem}")
    print("  FAILED" if verdict.problems else "  nothing lost, nothing twice, every key in order")
    sys.exit(bool(verdict.problems))


if __name__ == "__main__":
    main()
