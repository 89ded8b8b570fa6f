"""`interlock tail`: events and failures as they happen, until Ctrl-C. A process that starts anew is waited for."""

from __future__ import annotations

import sys
from typing import Final

import click
import msgspec

from interlock.cli.client import Unreachable
from interlock.cli.say import plain, say, styled
from interlock.cli.session import Session
from interlock.cli.show import clock
from interlock.cli.times import Since
from interlock.control import shapes, table
from interlock.core import limits
from interlock.core.words import many

BEHIND_MAX: Final = 10_000
"""Events: whoever cannot read faster is moved on to what happens now, and told how many were skipped."""
AWAY_US: Final = 30 * limits.US_PER_SECOND
"""How long a process that went away is waited for: a reload and a slow restart fit into it."""
_LOOK_US: Final = 500 * limits.US_PER_MS
_FAILURES = ("failed", "lost", "dead", "poison", "gone", "doubt", "breaker", "refused", "missing", "conflict")


@click.command("tail")
@click.argument("text", required=False)
@click.option("--errors", is_flag=True, help="Failures only.")
@click.option("--since", type=Since(), help="From then on: 2h, today 09:00, 2026-01-31T09:00. Default: now.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(session: Session, text: str | None, errors: bool, since: int | None, as_json: bool) -> None:
    """Follow events and failures until Ctrl-C; with TEXT, only lines that have it in them.

    Whatever comes faster than it can be shown is skipped, and how much that was is said.
    """
    page: shapes.Tail = session.ask(table.TAIL, shapes.TailAsked(since_at=since))
    if not session.quiet:
        say("following; Ctrl-C stops")
    # What is asked for by its time is told in full; from the present on, what matters is what happens now.
    behind_max = BEHIND_MAX if since is None else None
    while True:
        page = _next(session, shapes.TailAsked(after=page.next, behind_max=behind_max))
        if page.skipped:
            say(f"skipped {many(page.skipped, 'item')}: they came faster than they could be shown")
        for item in page.items:
            line = msgspec.json.encode(item).decode() if as_json else _line(item)
            if (text is None or text in line) and not (errors and not _is_failure(item)):
                click.echo(line if as_json else _coloured(line, item))
        sys.stdout.flush()
        if not page.items:
            behind_max = BEHIND_MAX


def _next(session: Session, asked: shapes.TailAsked) -> shapes.Tail:
    """The next page. A process that is gone is waited for, and then asked for what came since.

    Raises:
        Exit: 4, if none comes back.
    """
    try:
        found: shapes.Tail = session.ask_process(table.TAIL, asked)
    except Unreachable:
        say("the process has gone; waiting for it to come back")
    else:
        return found
    for _ in range(AWAY_US // _LOOK_US):
        session.wait(_LOOK_US)
        try:
            page: shapes.Tail = session.ask_process(table.TAIL, asked)
        except Unreachable:
            continue
        say("following again")
        return page
    return session.unreachable()


def _is_failure(item: shapes.TailItem) -> bool:
    return any(word in item.what for word in _FAILURES)


def _coloured(line: str, item: shapes.TailItem) -> str:
    return styled(line, sys.stdout, fg="red") if _is_failure(item) else line


def _line(item: shapes.TailItem) -> str:
    parts = (clock(item.at)[11:], item.event, item.type, item.key or "", item.subscription, item.what, item.says)
    return "  ".join(plain(part) for part in parts if part)
