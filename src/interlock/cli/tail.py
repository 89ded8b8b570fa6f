"""`interlock tail`: events and failures as they happen, until Ctrl-C."""

from __future__ import annotations

import click
import msgspec

from interlock.cli.say import plain, say
from interlock.cli.session import Session
from interlock.cli.show import clock
from interlock.control import shapes, table

_FAILURES = ("failed", "lost", "dead", "poison", "gone", "doubt", "breaker", "refused", "missing", "conflict")


@click.command("tail")
@click.argument("text", required=False)
@click.option("--errors", is_flag=True, help="Failures only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(session: Session, text: str | None, errors: bool, as_json: bool) -> None:
    """Follow events and failures from now on; with TEXT, only lines that have it in them."""
    page: shapes.Tail = session.ask(table.TAIL, shapes.TailAsked())
    if not as_json and not session.quiet:
        say("following; Ctrl-C stops")
    while True:
        page = session.ask(table.TAIL, shapes.TailAsked(after=page.next))
        if page.skipped:
            say(f"{page.skipped} items were skipped: they came faster than they could be shown")
        for item in page.items:
            line = msgspec.json.encode(item).decode() if as_json else _line(item)
            if (text is None or text in line) and not (errors and not _is_failure(item)):
                click.echo(line)


def _is_failure(item: shapes.TailItem) -> bool:
    return any(word in item.what for word in _FAILURES)


def _line(item: shapes.TailItem) -> str:
    parts = (clock(item.at)[11:], item.event, item.type, item.key or "", item.subscription, item.what, item.says)
    return "  ".join(plain(part) for part in parts if part)
