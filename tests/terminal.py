"""A command at a terminal of its own, as a person has it: what is on the screen in the end, colours and all."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PATIENCE_SECONDS = 60.0
TERMINAL = {"TERM": "xterm-256color"}


class Seen(NamedTuple):
    """How a command at a terminal ended, and all that it wrote there."""

    code: int
    text: str


class Terminal:
    """A pseudo-terminal with a command in it. Close it, or use it in a `with` block."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, width: int = 120
    ) -> None:
        self._fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**own, **TERMINAL},
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def until(self, wanted: str) -> str:
        """Read until `wanted` is on the screen."""
        end = time.monotonic() + PATIENCE_SECONDS
        while wanted not in self.text:
            assert time.monotonic() < end, f"waited for {wanted!r} in vain: {self.text}"
            assert self._read(), f"it ended without {wanted!r}: {self.text}"
        return self.text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> Seen:
        """Read to the end."""
        while self._read():
            pass
        return Seen(self.process.wait(PATIENCE_SECONDS), self.text)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing came for {PATIENCE_SECONDS} s: {self.text}"
        with suppress(OSError):  # Linux says so at the end of a terminal.
            if part := os.read(self._fd, 65_536):
                self.text += part.decode().replace("\r\n", "\n")
                return True
        return False


def interlock() -> str:
    """The command of this environment."""
    return str(Path(sys.executable).with_name("interlock"))


def at_terminal(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, width: int = 120, keys: str = ""
) -> Seen:
    """`interlock ...` to its end; `keys` are pressed at once."""
    command = [interlock(), "-C", str(folder), *arguments]
    own = environment or {name: value for name, value in os.environ.items() if name != "CI"}
    with Terminal(command, folder, own, width=width) as terminal:
        if keys:
            terminal.type(keys)
        return terminal.end()
