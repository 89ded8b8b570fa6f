"""`interlock run`: the process itself. What it says goes to standard error; the log is JSON, one object a line."""

from __future__ import annotations

from importlib.metadata import version

import click

from interlock.cli.check import contents, refuse_findings
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.ports import port_flags, port_options
from interlock.cli.say import say
from interlock.cli.session import Session
from interlock.runtime.load import load
from interlock.runtime.serve import Outside, Ready, serve


@click.command("run")
@port_options
@click.option("--paused", is_flag=True, help="Take events in and deliver none until subscriptions are resumed.")
@click.pass_obj
def command(session: Session, port: int | None, control_port: int | None, paused: bool) -> None:
    """Run until SIGTERM or Ctrl-C, then drain: nothing new is taken, what is under way ends, leases go back."""
    setup = session.setup._replace(flags=port_flags(port, control_port))
    loaded = load(setup)
    refuse_findings(loaded.findings)
    if loaded.plan is None:
        raise Exit(FINDINGS)
    plan = loaded.plan

    def told(ready: Ready) -> None:
        _banner(session, contents(plan), ready, paused=paused)

    serve(setup, loaded.settings, plan, told, outside=Outside(paused=paused))


def _banner(session: Session, contents: str, ready: Ready, *, paused: bool) -> None:
    if session.quiet:
        return
    say(f"Interlock {version('interlock')}  {contents}")
    say(f"  data     {ready.data}")
    say(f"  control  {ready.control}/api/v1")
    say(f"  token    {ready.token_file}" + ("  (made now, readable by you only)" if ready.token_is_new else ""))
    say(f"  store    {ready.store}")
    if paused:
        say("  paused   every subscription, until: interlock subscriptions resume NAME, or --all")
    say("  Ctrl-C drains and stops.  Try in another terminal: interlock tail")
