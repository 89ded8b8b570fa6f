"""The processes of the story: Interlock, the two Systems, and short-lived ones for the sender and the command line.

They live in a folder of their own and have ended when a `with Stage(...)` block has, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

INTERLOCK = Path(sys.executable).with_name("interlock")
SYSTEMS = ("chat", "tracker")
PATIENCE_SECONDS = 90


class BrokenPromise(Exception):
    """Something that this example promises did not hold."""


class Sent(NamedTuple):
    """What the sender saw: how often each status, and the ids that were answered 202, in its order."""

    statuses: Counter[int]
    accepted: list[str]


class Seen(NamedTuple):
    """What a System took, in its order, and how often it was called, refused a call, and saw a key again."""

    taken: list[dict[str, str]]
    calls: int
    refused: int
    repeated: int


class Stage:
    """A copy of this example in `folder`, and everybody who takes part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = ""
        self.environment = {
            **os.environ,
            "GITHUB_WEBHOOK_SECRET": "example-only-not-a-secret",
            "INTERLOCK_DATA__PORT": "0",
            "INTERLOCK_CONTROL__PORT": "0",
            "NO_COLOR": "1",
        }
        self._urls: dict[str, str] = {}
        self._open = ExitStack()

    def __enter__(self) -> Stage:
        try:
            for name in SYSTEMS:
                self._urls[name] = self._open.enter_context(self._system(name))
                self.environment[f"INTERLOCK_SYSTEMS__GITHUB_{name.upper()}__URL"] = self._urls[name]
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    @contextmanager
    def _system(self, name: str) -> Iterator[str]:
        command = [sys.executable, "systems.py", name, "0"]
        # A session of its own: Ctrl-C is for the teller of the story, who then ends the others.
        with subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                assert process.stdout is not None
                yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
            finally:
                process.kill()

    @contextmanager
    def interlock(self) -> Iterator[None]:
        """`interlock run` until the block ends: then SIGTERM, and it drains."""
        log = self.folder / "interlock.log"
        address = self.folder / ".interlock" / "process.json"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [INTERLOCK, "run"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            self.until("interlock answers", lambda: address.exists() or process.poll() is not None)
            if process.poll() is not None:
                raise BrokenPromise(f"interlock ended as it began:\n{log.read_text()[-4000:]}")
            self.data = json.loads(address.read_text())["data"]
            yield
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=PATIENCE_SECONDS):
                raise BrokenPromise(f"interlock ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        finally:
            process.kill()
            process.wait()

    def send(self, *arguments: str) -> Sent:
        """Let the independent sender post all payloads."""
        lines = self._output(sys.executable, "sender.py", self.data, *arguments).splitlines()
        answers = [line.split() for line in lines]
        accepted = [id for status, _, id in answers if status == "202"]
        return Sent(Counter(int(status) for status, _, _ in answers), accepted)

    def cli(self, *arguments: str) -> str:
        """What `interlock` prints, run as an operator would."""
        return self._output(str(INTERLOCK), *arguments)

    def cli_json(self, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(self.cli(*arguments, "-o", "json"))

    def seen_by(self, name: str) -> Seen:
        """What a System has in its books."""
        with urllib.request.urlopen(f"{self._urls[name]}/taken", timeout=PATIENCE_SECONDS) as answer:
            books = json.load(answer)
        return Seen(books["taken"], **books["counts"])

    def until(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait for something, with an end to patience."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            if time.monotonic() > end:
                raise BrokenPromise(f"waited {PATIENCE_SECONDS} s until {what}")
            time.sleep(0.05)

    def _output(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BrokenPromise(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout
