"""One call of the command line: which project it is about, and whom to ask, the running process or the store.

Questions go to the process if one runs; where none does, those that only read are answered from the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from interlock.cli.client import Client, Unreachable
from interlock.cli.exits import UNREACHABLE, Exit
from interlock.cli.say import say_error
from interlock.control.address import Address, announced
from interlock.control.endpoint import Endpoint
from interlock.core.errors import InterlockError
from interlock.runtime.clock import SystemClock
from interlock.runtime.settings import ListenSettings, Settings, Setup, process_environment, read_settings
from interlock.security.tokens import read_token

T = TypeVar("T")
TOKEN_FILE = "token"  # noqa: S105  # the name of a file


class Session:
    """What the options before the verb say, and what follows from them."""

    def __init__(self, *, folder: str, overlay: str | None, quiet: bool, no_input: bool) -> None:
        self.quiet = quiet
        self.no_input = no_input
        self.setup = Setup(Path(folder), overlay, process_environment())

    @cached_property
    def settings(self) -> Settings:
        """The project's settings; what is wrong with them is `check`'s to say."""
        return read_settings(self.setup).settings

    @cached_property
    def state(self) -> Path:
        """The folder of the store, with the token and the address of the process that runs."""
        return (self.settings.store_file() or self.settings.folder / ".interlock" / "memory").parent

    @property
    def address(self) -> Address | None:
        """What the last start announced, whether or not it still runs."""
        return announced(self.state)

    @property
    def now(self) -> int:
        """The present moment, µs since the epoch."""
        return SystemClock().now()

    def ask(self, endpoint: Endpoint[Any], taken: msgspec.Struct) -> Any:  # Any: what the endpoint gives.
        """The answer of the process, or, for a question that only reads, of the store.

        Raises:
            InterlockError: what was refused.
            Exit: 4, if neither can be asked.
        """
        try:
            return self.ask_process(endpoint, taken)
        except Unreachable:
            pass
        if not endpoint.offline or not self._has_store():
            self.unreachable()
        from interlock.cli.offline import read_offline

        return self.run(read_offline(self.settings, endpoint, taken))

    def ask_process(self, endpoint: Endpoint[Any], taken: msgspec.Struct) -> Any:  # Any: what the endpoint gives.
        """The answer of the process.

        Raises:
            InterlockError: what was refused.
            Unreachable: if no process answers.
        """
        address = self.address
        if address is None:
            raise Unreachable(f"no process has told its address in {self.state}")
        return self._client(address.control, self.settings.control).call(endpoint, taken)

    def wait(self, us: int) -> None:
        """Do nothing for a while."""
        clock = SystemClock()
        self.run(clock.sleep_until(clock.monotonic() + us))

    def data_client(self) -> Client:
        """The data port of the running process."""
        address = self.address
        if address is None:
            self.unreachable()
        return self._client(address.data, self.settings.data)

    def is_running(self) -> bool:
        """Whether a process answers at the announced address."""
        address = self.address
        if address is None:
            return False
        try:
            return self._client(address.control, self.settings.control).send("GET", "/healthz").status == 200
        except Unreachable:
            return False

    def can_read(self) -> bool:
        """Whether a question that only reads has somebody to answer it: a process, or a store."""
        return self._has_store() or self.is_running()

    def unreachable(self) -> NoReturn:
        """End with exit code 4."""
        address = self.address
        where = f"at {address.control}" if address else f"in {self.state}"
        what = f"no process of this project answers {where}"
        say_error(
            InterlockError("cli.unreachable", what, "start `interlock run`, or name the project that runs with -C")
        )
        raise Exit(UNREACHABLE)

    def run(self, work: Awaitable[T]) -> T:
        """Run something that awaits, on a loop of its own."""
        return asyncio.run(_awaited(work))

    def _client(self, base: str, listen: ListenSettings) -> Client:
        served = listen.tls_certificate if base.startswith("https:") else None
        certificate = None if served is None else self.settings.folder / served
        return Client(base, read_token(self.state / TOKEN_FILE), certificate)

    def _has_store(self) -> bool:
        file = self.settings.store_file()
        return file is not None and file.exists()


def actor() -> str:
    """The user of the operating system, for the audit: a claim, as the token is what proves."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return ""


async def _awaited(work: Awaitable[T]) -> T:
    return await work
