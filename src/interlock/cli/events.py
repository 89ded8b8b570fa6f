"""`interlock events`: what came in, and what became of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click
import msgspec

from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, ago, clock, hint, output_option, show_answer, show_table, span
from interlock.cli.times import Since
from interlock.control import dead_shapes, erase_shapes, shapes, table
from interlock.core.words import many


@click.group("events")
def command() -> None:
    """List events, or show one with its timeline."""


@command.command("ls")
@click.option("--stream", help="Of this stream only.")
@click.option("--type", "type", help="Of this type only, as order.paid@1.")
@click.option("--key", help="Of this key only.")
@click.option("--since", type=Since(), help="Accepted then or later: 2h, today 09:00, 2026-01-31T09:00.")
@click.option("--before", metavar="ID", help="Older than this event: the next page.")
@click.option("-n", "--limit", type=click.IntRange(1, shapes.PAGE_MAX), default=50, show_default=True)
@output_option
@click.pass_obj
def ls(session: Session, output: Format, limit: int, **asked: str | int | None) -> None:
    """List events, newest first."""
    page: shapes.Events = session.ask(table.EVENTS, _asked(limit, asked))
    if show_answer(output, Answer(page, shapes.EventRow, page.events, [event.id for event in page.events])):
        return
    rows = [(event.id, clock(event.accepted_at), event.type, event.key, event.source_id) for event in page.events]
    show_table(("id", "accepted (UTC)", "type", "key", "source id"), rows, _empty(asked))
    if page.next:
        hint(f"interlock events ls --before {page.next}", quiet=session.quiet)
    elif page.events:
        hint(f"interlock events show {page.events[0].id}", quiet=session.quiet)


def _empty(asked: dict[str, str | int | None]) -> str:
    if any(value is not None for value in asked.values()):
        return "no event fits; leave an option out, or follow what comes: interlock tail"
    return "no events yet; send one: interlock send TYPE PAYLOAD, or call a webhook"


def _asked(limit: int, asked: dict[str, str | int | None]) -> shapes.EventsAsked:
    text = {name: value for name, value in asked.items() if isinstance(value, str)}
    since = asked.get("since")
    return shapes.EventsAsked(
        stream=text.get("stream"),
        type=text.get("type"),
        key=text.get("key"),
        since_at=since if isinstance(since, int) else None,
        before=text.get("before"),
        limit=limit,
    )


@command.command("erase")
@click.argument("id", metavar="[EVENT]", required=False)
@click.option("--key", help="All events of this key.")
@click.option("--stream", help="With --key: in this stream only, not in every one.")
@click.option("--reason", required=True, help="Why; kept in the audit. Name no person in it.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def erase(session: Session, id: str | None, key: str | None, stream: str | None, output: Format, **given: Any) -> None:
    """Erase what events say, for good: those of a key, or one EVENT. Their places in the log stay.

    Payload, key, ids, headers, and what attempts and dead letters quote of them go; nothing of them is delivered any
    more. What was delivered before, and backups made before, are not reached.
    """
    asked = erase_shapes.EraseCommand(id, key, stream, given["reason"], actor(), dry_run=True)
    meant: erase_shapes.EraseAnswer = session.ask(table.ERASE, asked)
    if not given["dry_run"] and meant.of:
        ask(f"Erase {_in_streams(meant)} for good?", yes=given["yes"], no_input=session.no_input)
        meant = session.ask(table.ERASE, msgspec.structs.replace(asked, dry_run=False))
    if show_answer(output, Answer(meant, erase_shapes.EraseAnswer, [meant], [meant.job] if meant.job else [])):
        return
    if not meant.of:
        click.echo("nothing that fits is in the store")
    elif meant.job is None:
        click.echo(f"would be erased: {_in_streams(meant)}")
    elif meant.done:
        click.echo(f"erased {many(meant.erased, 'event')}  job {meant.job}")
    else:
        click.echo(f"erased {meant.erased:,} of {meant.of:,} so far  job {meant.job}")
        say("the rest follows by itself, also after a restart: attempts that run may end first")
        raise Exit(FAILED)


def _in_streams(meant: erase_shapes.EraseAnswer) -> str:
    return " and ".join(f"{many(count, 'event')} of {plain(name)}" for name, count in meant.streams.items())


@command.command("show")
@click.argument("id")
@click.option("--no-payload", is_flag=True, help="Leave the payload out.")
@output_option
@click.pass_obj
def show(session: Session, id: str, no_payload: bool, output: Format) -> None:
    """Show an event, by its id or a unique prefix of it."""
    detail: shapes.EventDetail = session.ask(table.EVENT, shapes.EventAsked(id, not no_payload))
    if show_answer(output, Answer(detail, dead_shapes.Moment, detail.timeline, [detail.event.id])):
        return
    _head(detail)
    standing = [
        (row.subscription, row.state, row.attempts, ago(row.due_at, session.now), _says(row))
        for row in detail.subscriptions
    ]
    show_table(("subscription", "state", "attempts", "due", "says"), standing, "nobody reads its stream")
    rows = [_moment(moment, detail.event.accepted_at) for moment in detail.timeline]
    click.echo()
    show_table(("after", "subscription", "what", "outcome", "system", "took", "says"), rows, "")
    if detail.payload:
        click.echo()
        click.echo(_payload(detail.payload))
    if detail.payload_absent is not None:
        click.echo(f"\nits payload is in a file, and that is {detail.payload_absent}; see interlock doctor")
    states = {row.state for row in detail.subscriptions}
    if "held" in states:
        id = detail.event.id
        hint(f"interlock dead retry --event {id} --dry-run, or dead skip --event {id}", quiet=session.quiet)
    elif "dead" in states:
        hint(f"interlock dead retry --event {detail.event.id} --dry-run", quiet=session.quiet)
    elif "settled" in states:
        hint(f"interlock replay {detail.event.id} --dry-run", quiet=session.quiet)
    else:
        hint(f"interlock events show {detail.event.id} -o json", quiet=session.quiet)


def _says(row: shapes.PassageRow) -> str:
    asked = f"{row.trigger} by {row.actor}" if row.actor else None
    return " ".join(filter(None, (row.reason, row.error, asked)))


def _head(detail: shapes.EventDetail) -> None:
    event = detail.event
    click.echo(f"{event.id}  {plain(event.type)}  key {plain(event.key or '-')}")
    click.echo(f"accepted {clock(event.accepted_at)} UTC  at {event.stream}/{event.shard} offset {event.offset:,}")
    if event.erased_at is not None:
        click.echo(f"erased {clock(event.erased_at)} UTC; of what it said nothing is left")
    click.echo(f"from {plain(event.source or '-')}  id {plain(event.source_id)}  {many(event.payload_bytes, 'byte')}")
    seen = detail.seen
    if seen.times > 1:
        told = f", {seen.conflicts:,} of them with another payload, which was not recorded" if seen.conflicts else ""
        click.echo(f"seen {many(seen.times, 'time')}, last {clock(seen.last_at)} UTC{told}")
    if detail.causation:
        click.echo(f"caused by {detail.causation}")
    if detail.traceparent:
        click.echo(f"trace {plain(detail.traceparent)}")
    click.echo()


def _moment(moment: dead_shapes.Moment, accepted_at: int) -> tuple[str, ...]:
    what = f"attempt {moment.number}" if moment.what == "attempt" and moment.number else moment.what
    if moment.what == "attempt" and moment.trigger != "auto":
        what += f" ({moment.trigger})"
    outcome = f"{moment.outcome} {moment.status}" if moment.status else moment.outcome
    says = " ".join(part for part in (moment.error, moment.detail, moment.fingerprint or "") if part)
    if moment.actor and moment.what not in ("attempt", "died", "accepted"):
        says = f"by {moment.actor}" + (f": {moment.why}" if moment.why else "") + f" ({moment.job})"
    took = span(moment.duration_us) if moment.duration_us else ""
    at = moment.at - accepted_at
    after = f"+{span(at)}" if at >= 0 else f"-{span(-at)}"
    return (after, moment.subscription, what, outcome, moment.system or "", took, says)


def _payload(text: str) -> str:
    """Indented where it is JSON. Line ends may pass, other controls may not."""
    with suppress(msgspec.DecodeError, RecursionError):
        text = msgspec.json.format(text, indent=2)
    return "\n".join(plain(line) for line in text.splitlines())
