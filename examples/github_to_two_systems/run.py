"""The story of this example, told in the terminal on real processes: `python run.py`. Exits 1 if a promise breaks.

Everything happens in a folder of its own that is removed at the end (`--keep` keeps it): GitHub's payloads go in by HTTP, and
come out at a flaky tracker and at a chat that limits its callers, each once and in the order of its repository.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
INTERLOCK = Path(sys.executable).with_name("interlock")
BUG = ('kind=hook.headers["x-github-event"],', 'kind=hook.headers["x-github-evnt"],')
PATIENCE_SECONDS = 60


class Story:
    """One run: where it happens, and who takes part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "GITHUB_WEBHOOK_SECRET": "example-only-not-a-secret", "NO_COLOR": "1"}
        self.began = time.monotonic()
        self.data = ""
        self.sides: dict[str, int] = {}

    def tell(self, mark: str, line: str) -> None:
        """One line of the story, with the time since its beginning."""
        seconds = time.monotonic() - self.began
        print(f"  {int(seconds // 60)}:{seconds % 60:04.1f}  {mark} {line}", flush=True)

    @contextmanager
    def side(self, name: str) -> Iterator[None]:
        """One of the other systems, as a process."""
        with subprocess.Popen(
            [sys.executable, "systems.py", name, "0"], cwd=self.folder, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            self.sides[name] = int(process.stdout.readline())
            try:
                yield
            finally:
                process.kill()

    def bind(self) -> None:
        """Write the addresses of the other systems, and ports that are free."""
        file = self.folder / "interlock.toml"
        text = file.read_text().replace("port = 8080", "port = 0").replace("port = 8081", "port = 0")
        for port, name in (("9101", "tracker"), ("9102", "chat")):
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.sides[name]}")
        file.write_text(text)

    @contextmanager
    def interlock(self) -> Iterator[None]:
        """`interlock run`, until the block ends: then SIGTERM, and it drains."""
        address = self.folder / ".interlock" / "process.json"
        address.unlink(missing_ok=True)
        with (self.folder / "log.jsonl").open("ab") as log:
            process = subprocess.Popen([INTERLOCK, "run"], cwd=self.folder, env=self.environment, stderr=log, stdout=log)
        try:
            self.until("interlock is ready", lambda: address.exists() or process.poll() is not None)
            if process.poll() is not None:
                raise SystemExit((self.folder / "log.jsonl").read_text()[-4000:])
            self.data = json.loads(address.read_text())["data"]
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)

    def send(self, *arguments: str) -> str:
        """Let the independent sender post; gives the statuses that it got."""
        done = subprocess.run(
            [sys.executable, "sender.py", self.data, *arguments],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def cli(self, *arguments: str) -> str:
        """Run the command line as an operator would."""
        done = subprocess.run(
            [INTERLOCK, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"interlock {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def accepted(self, name: str) -> list[dict[str, str]]:
        """What a system took, in its order."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.sides[name]}/accepted") as answer:
            return json.load(answer)["accepted"]

    def counts(self, name: str) -> dict[str, int]:
        """How often a system was called, refused, and saw a key again."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.sides[name]}/accepted") as answer:
            found = json.load(answer)
        return {key: found[key] for key in ("calls", "refused", "repeated")}

    def until(self, what: str, is_true: object) -> None:
        """Wait for something, with an end to patience."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_true():  # type: ignore[operator]
            if time.monotonic() > end:
                raise SystemExit(f"FAILED: waited {PATIENCE_SECONDS} s for: {what}")
            time.sleep(0.05)

    def until_both_have(self, count: int) -> None:
        """Wait until both systems accepted so many, then see that it was each once and in order."""
        for name in self.sides:
            self.until(f"{name} has {count}", lambda name=name: len(self.accepted(name)) >= count)
            taken = self.accepted(name)
            refs = [entry["ref"] for entry in taken]
            check(len(refs) == len(set(refs)) == count, f"{name} has each of {count} once")
            per_place: dict[str, list[str]] = {}
            for entry in taken:
                per_place.setdefault(entry.get("project") or entry["channel"], []).append(entry["ref"])
            # Ids sort by the time of acceptance, and one repository is in one shard.
            check(all(refs == sorted(refs) for refs in per_place.values()), f"{name} has every repository in order")


def check(holds: bool, promise: str) -> None:
    """A promise of this story."""
    if not holds:
        raise SystemExit(f"FAILED: {promise}")


def tell(story: Story) -> None:
    """From the first delivery to the last count."""
    payloads = len(list((story.folder / "payloads").glob("*.json")))
    pings = len(list((story.folder / "payloads").glob("ping.*.json")))
    real = payloads - pings
    with ExitStack() as sides:
        for name in ("tracker", "chat"):
            sides.enter_context(story.side(name))
        story.bind()
        with story.interlock():
            story.tell("*", f"interlock answers at {story.data}; tracker (flaky) and chat (rate limited) are up")
            story.tell(">", f"{payloads} signed GitHub payloads sent: {story.send()} ({pings} are pings)")
            story.until_both_have(real)
            for name in story.sides:
                counts = story.counts(name)
                story.tell(
                    "*",
                    f"{name:<8} has {real}, each once and in order per repository "
                    f"({counts['calls']} calls, {counts['refused']} refused, {counts['repeated']} answers lost and asked again)",
                )
            story.tell(">", f"all of them sent again: {story.send()}")
            story.tell(">", f"one byte flipped in each: {story.send('--flip')}")
            check(set(story.send("--flip").split()) == {f"401x{payloads}"}, "a flipped byte is refused")
            story.until_both_have(real)
            story.tell("*", "neither changed anything")
        a_bug_and_its_mending(story, real)


def a_bug_and_its_mending(story: Story, real: int) -> None:
    """A typing error is deployed. Nothing is lost: a person mends it and retries."""
    code = story.folder / "github_activity.py"
    sound = code.read_text()
    check(BUG[0] in sound, "the place for the bug is there")
    code.write_text(sound.replace(*BUG))
    with story.interlock():
        story.tell("!", f"a bug is deployed in accept(); a second round is sent: {story.send('--round', '2')}")
        story.until("the round is dead", lambda: "poison_decode" in story.cli("dead", "ls", "-o", "json"))
        print(indented(story.cli("dead", "ls")))
        check(len(story.accepted("tracker")) == real, "nothing of the second round came out")
    code.write_text(sound)
    with story.interlock():
        story.tell("*", "the bug is mended and deployed; the dead letters are retried")
        groups = json.loads(story.cli("dead", "ls", "-o", "json"))
        for group in groups:
            story.cli("dead", "retry", group["fingerprint"], "--yes", "--reason", "accept() is mended")
        story.until_both_have(2 * real)
        story.tell("*", "both systems have the second round as well, each once and in order per repository")
        doctor = story.cli("doctor")
        print(indented(doctor))
    story.tell("=", f"{2 * real} accepted = {2 * real} delivered to each of 2 systems + 0 dead + 0 lost")


def indented(text: str) -> str:
    """What the command line printed, set apart."""
    return "\n".join(f"           {line}" for line in text.rstrip().splitlines())


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="interlock-github-"))
    shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".interlock"))
    print(f"\n  Interlock: GitHub -> tracker + chat        storage {folder / '.interlock'}\n", flush=True)
    try:
        tell(Story(folder))
    finally:
        if "--keep" not in sys.argv:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
