"""One dead letter in full, for a person: what it is, why it died, what was tried and done, and its payload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import click
import msgspec

from interlock.cli.say import plain
from interlock.cli.session import Session
from interlock.cli.show import ago, clock, hint, show_table, span
from interlock.control import dead_shapes, shapes
from interlock.core.words import many

_NEXT: dict[str, str] = {
    "open": "interlock dead retry --event {id} --dry-run",
    "replaying": "interlock dead show {id}",
    "replayed": "interlock events show {id}",
    "discarded": "interlock dead restore --event {id}",
    "edited": "interlock dead diff {id}",
}


def show_letter(session: Session, letter: shapes.DeadLetter) -> None:
    """Show it."""
    detail = letter.detail
    assert detail is not None, "a letter that is shown alone has its detail"
    state = letter.state if letter.resolution == "open" else letter.resolution
    click.echo(f"{letter.event}  {plain(letter.type)}  key {plain(letter.key or '-')}  {state}")
    for name, said in _lines(session, letter, detail):
        click.echo(f"{name:<16}{said}")
    click.echo()
    rows = [_attempt(session, attempt) for attempt in detail.attempts]
    show_table(("attempt", "when", "outcome", "system", "took", "for", "says"), rows, "no attempt was recorded")
    for attempt in detail.attempts[-1:]:
        for name, text in (("sent", attempt.request), ("answered", attempt.response)):
            if text:
                click.echo()
                click.echo(f"{name} last:")
                click.echo("\n".join(f"  {plain(line)}" for line in text.splitlines()))
    if detail.acts:
        click.echo()
        acts = [(ago(a.at, session.now), a.verb, a.actor, a.reason, a.result, a.job) for a in detail.acts]
        show_table(("done", "what", "by", "reason", "result", "job"), acts, "")
    if not detail.acts_whole:
        click.echo("older commands were not looked at")
    click.echo()
    click.echo(_payload(detail))
    hint(_NEXT[letter.resolution].format(id=letter.event), quiet=session.quiet)


def _lines(session: Session, letter: shapes.DeadLetter, detail: dead_shapes.DeadDetail) -> Iterator[tuple[str, str]]:
    yield "subscription", plain(letter.subscription) + (f"  owner {plain(detail.owner)}" if detail.owner else "")
    yield "place", f"{plain(letter.stream)}/{letter.shard} offset {letter.offset:,}"
    yield "from", f"{plain(detail.source)}  id {plain(detail.source_id)}"
    yield "first seen", f"{clock(detail.first_seen_at)} UTC, {ago(detail.first_seen_at, session.now)}"
    if letter.died_at is not None:
        yield "died", f"{clock(letter.died_at)} UTC, {ago(letter.died_at, session.now)}"
    reason = " ".join(filter(None, (letter.reason, plain(letter.error or ""))))
    yield "reason", reason or "-"
    if letter.system:
        status = f"  status {letter.status}" if letter.status else ""
        yield "system", f"{plain(letter.system)}{status}"
    if letter.fingerprint:
        yield "cause", letter.fingerprint
    if detail.idempotency_key:
        yield "key sent", f"{detail.idempotency_key} (of its first unnamed call)"
    if detail.plan:
        yield "plan", detail.plan
    if detail.causation:
        yield "caused by", plain(detail.causation)
    if detail.traceparent:
        yield "trace", plain(detail.traceparent)
    for name, value in detail.extensions.items():
        yield plain(name), plain(value)
    for name, value in detail.headers:
        yield f"{plain(name)}:", plain(value)
    yield "put back", many(letter.replays, "time") if letter.replays else "never"
    if detail.due_at is not None:
        yield "next", ago(detail.due_at, session.now)
    if letter.state in ("dead", "discarded"):
        yield "told", f"its receiver, by {detail.told_by}" if detail.told_by else "nobody yet that it is missing"
    if letter.resolution == "edited":
        yield "edited as", detail.edited_as or "an event that is not in the log any more"
    if letter.resolution != "replayed":
        yield "kept", "until somebody decides" if detail.kept_until is None else f"until {clock(detail.kept_until)}"


def _attempt(session: Session, attempt: dead_shapes.Moment) -> tuple[object, ...]:
    outcome = f"{attempt.outcome} {attempt.status}" if attempt.status else attempt.outcome
    says = " ".join(filter(None, (attempt.error, attempt.detail)))
    took = span(attempt.duration_us) if attempt.duration_us else ""
    return attempt.number or "", ago(attempt.at, session.now), outcome, attempt.system, took, attempt.trigger, says


def _payload(detail: dead_shapes.DeadDetail) -> str:
    """Indented where it is JSON. Line ends may pass, other controls may not."""
    text = detail.payload
    if text is None:
        return f"(base64) {detail.payload_base64}"
    with suppress(msgspec.DecodeError, RecursionError):
        text = msgspec.json.format(text, indent=2)
    return "\n".join(plain(line) for line in text.splitlines())
