"""`interlock dev`: `run` for whoever writes the project. A changed file ends the process well and starts it anew.

What is under way ends, or stays in the store, so a reload loses no event. What cannot run is told, and a change waited
for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click

from interlock.cli.check import contents, say_block
from interlock.cli.ports import port_flags, port_options
from interlock.cli.say import block, say, styled
from interlock.cli.session import Session
from interlock.runtime.clock import SystemClock
from interlock.runtime.load import load
from interlock.runtime.ports import ThreadOffload
from interlock.runtime.serve import Outside, Ready, serve
from interlock.runtime.settings import Setup, read_settings
from interlock.runtime.watch import Watch
from interlock.telemetry.log import text_line
from interlock.telemetry.records import Level

DRAIN = "2s"
"""How long a stop waits for what is under way, unless the project says otherwise: somebody is watching."""


@click.command("dev")
@port_options
@click.pass_obj
def command(session: Session, port: int | None, control_port: int | None) -> None:
    """Run, and take over every file that changes: drain, then start anew in the same terminal. Ctrl-C stops.

    The log is text for people; that of `run` is JSON.
    The store is kept between reloads and between runs. A file that is not Python is told, and what runs goes on.
    """
    _hold_interrupts(False)
    setup = session.setup._replace(flags=port_flags(port, control_port))
    if ("data", "drain_timeout") not in read_settings(setup).settings.origins:
        setup = setup._replace(flags={**setup.flags, "data.drain_timeout": DRAIN})
    offload = ThreadOffload("watch")
    try:
        development = Development(session, setup, Watch(setup.folder.resolve(), SystemClock(), offload))
        is_again = development.run()
    finally:
        offload.close()
    if is_again:
        _start_again()


class Development:
    """One run, until a file changes or somebody stops it."""

    def __init__(self, session: Session, setup: Setup, watch: Watch) -> None:
        self._session = session
        self._setup = setup
        self._watch = watch
        self._changed = False

    def run(self) -> bool:
        """Whether to start again.

        Raises:
            InterlockError: what keeps `run` from starting as well, for example a subscription that has to be renamed:
                that is mended by a command, while no process holds the store.
        """
        loaded = load(self._setup)
        for finding in loaded.findings:
            say_block(finding)
        if loaded.plan is None:
            return self._wait()
        outside = Outside(log_line=_log_line)
        banner = partial(self._banner, contents(loaded.plan))
        # Who interrupts the drain before a reload wants an end, not the reload.
        is_over = serve(self._setup, loaded.settings, loaded.plan, banner, self._change, outside)
        return self._changed and not is_over

    def _wait(self) -> bool:
        say("waiting for a file to change; Ctrl-C stops")
        try:
            asyncio.run(self._change())
        except KeyboardInterrupt:
            return False
        return True

    async def _change(self) -> None:
        """Wait until the project has changed, and can be read."""
        while True:
            paths = await self._watch.changed()
            error = await self._watch.broken(paths)
            if error is None:
                break
            where = f"{error.filename}:{error.lineno or 1}"
            click.echo(block("error", "spec.not-python", error.msg, "Mend the line and save.", where), err=True)
        self._changed = True
        names = ", ".join(_name(path, self._setup.folder) for path in paths[:3])
        say(f"changed: {names}{f' and {len(paths) - 3} more' if len(paths) > 3 else ''}; draining, then again")

    def _banner(self, contents: str, ready: Ready) -> None:
        if self._session.quiet:
            return
        file = self._session.settings.store_file()
        store = f"{ready.store}  (nothing is kept)" if file is None else f"{file}  (kept between runs)"
        say(f"Interlock {version('interlock')}  dev  {contents}")
        say(f"  data     {ready.data}")
        say(f"  control  {ready.control}/api/v1")
        say(f"  token    {ready.token_file}" + ("  (made now, readable by you only)" if ready.token_is_new else ""))
        say(f"  store    {store}")
        say(f"  watching {self._setup.folder.resolve()}  (a reload keeps events that are under way)")
        if ready.control.startswith("http:"):
            token = f'$(cat "{ready.token_file}")'
            say(f'  ask it   curl -H "Authorization: Bearer {token}" {ready.control}/api/v1/doctor')
        say("  Ctrl-C drains and stops.  Try in another terminal: interlock tail")


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder.resolve()))


def _log_line(at: int, level: Level, record: str, fields: dict[str, object]) -> bytes:
    line = text_line(at, level, record, fields)
    colour = {"warning": "yellow", "error": "red"}.get(level)
    return styled(line.decode(), sys.stderr, fg=colour).encode() if colour else line


def _hold_interrupts(held: bool) -> None:
    """Let Ctrl-C wait while the process becomes a new one, which would end with a traceback."""
    signal.pthread_sigmask(signal.SIG_BLOCK if held else signal.SIG_UNBLOCK, {signal.SIGINT})


def _start_again() -> None:
    """Become a new process of the same command: nothing of the old modules is left."""
    _hold_interrupts(True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell: this very command
