"""`interlock replay`: settled events again, from the log. It says what speaks against it before it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from interlock.cli.exits import FAILED, Exit
from interlock.cli.rate import Rate
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_ids, span
from interlock.cli.times import Since
from interlock.control import shapes, table
from interlock.core.words import many

_KEYS_TOLD: Final = 5
_NAMES: Final = ("stream", "type", "key")
"""What a filter may name: the options of `events ls`."""


class Filter(click.ParamType[dict[str, str]]):
    """`type=order.paid@1 key=o-17`: all of it must fit."""

    name = "filter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """Read it."""
        found: dict[str, str] = {}
        for part in str(value).split():
            name, _, text = part.partition("=")
            if name not in _NAMES or not text or name in found:
                self.fail(f"{part!r} is no filter: write type=order.paid@1, key=o-17, stream=shop", param, ctx)
            found[name] = text
        return found


@click.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--filter", "fits", type=Filter(), default="", help='As `events ls`: "type=order.paid@1 key=o-17".')
@click.option("--since", type=Since(), help="Accepted then or later: 2h, today 09:00, 2026-01-31T09:00.")
@click.option("--after", metavar="ID", help="Newer than this event: where a former command was cut.")
@click.option("--subscription", help="To this one only; else to each that has settled the event.")
@click.option("--rate", type=Rate(), help="Spread over time: 20/s, 30/m, 100/h. Default: at once.")
@click.option("--reason", default="", help="Why; kept in the audit and on the event's timeline.")
@click.option("--dry-run", is_flag=True, help="Only say what would be delivered again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def command(
    session: Session, ids: tuple[str, ...], output: Format, yes: bool, dry_run: bool, fits: dict[str, str], **given: Any
) -> None:
    """Deliver settled events again, from the log: by ID, or all that fit a filter, oldest first.

    Each is delivered once more, with the Idempotency-Key that it had. What is dead or held is for `interlock dead`.
    """
    if bool(ids) == bool(fits or given["since"] is not None or given["after"]):
        raise click.UsageError("Say which events are meant: by their ids, or by --filter, --since and --after.")
    asked = shapes.ReplayCommand(
        events=ids,
        stream=fits.get("stream"),
        type=fits.get("type"),
        key=fits.get("key"),
        since_at=given["since"],
        after=given["after"],
        subscription=given["subscription"],
        per_second=given["rate"],
        reason=given["reason"],
        actor=actor(),
        dry_run=True,
    )
    meant: shapes.ReplayAnswer = session.ask(table.REPLAY, asked)
    if dry_run or not meant.of:
        _show(meant, output, session)
        return
    if not (yes and session.quiet):
        for line in _told(meant):
            say(line)
    ask(_question(meant), yes=yes, no_input=session.no_input)
    done: shapes.ReplayAnswer = session.ask(table.REPLAY, msgspec.structs.replace(asked, dry_run=False))
    _show(done, output, session)
    if done.applied < done.of and not done.takes_us:
        raise Exit(FAILED)


def _question(meant: shapes.ReplayAnswer) -> str:
    return f"Deliver again {_what(meant)}?"


def _what(meant: shapes.ReplayAnswer) -> str:
    """`3 events to orders.to_books and 3 events to orders.to_shelf, over 5 min`."""
    parts = [f"{many(share.events, 'event')} to {plain(share.subscription)}" for share in meant.shares]
    told = " and ".join(parts) if len(parts) < 3 else f"{meant.of} times, to {len(parts)} subscriptions"
    return told + (f", over {span(meant.takes_us)}" if meant.takes_us else "")


def _told(meant: shapes.ReplayAnswer) -> list[str]:
    """What a person should know before it happens."""
    lines: list[str] = []
    for share in meant.shares:
        is_paused = ", which is paused: they wait until it is resumed" if share.paused else ""
        lines.append(f"{plain(share.subscription)}: {many(share.events, 'event')}{is_paused}")
        lines += _newer(share, meant)
        if share.effects:
            effects = " and ".join(share.effects)
            lines.append(
                f"  its calls declared {effects} are made again; no idempotency key keeps them from acting twice"
            )
    behind = [share for share in meant.shares if not share.paused]
    if meant.shares:
        lines.append("a replay keeps order in itself, not against what is delivered meanwhile or was before")
    if behind:
        lines.append("to have nothing delivered meanwhile, pause first, replay, and resume then:")
        lines += [f"  interlock subscriptions pause {plain(share.subscription)}" for share in behind[:_KEYS_TOLD]]
    lines += _passed_over(meant.passed_over)
    if meant.more:
        lines.append(f"more fit than one command takes; these are the oldest. For the rest: --after {meant.more}")
    return lines


def _newer(share: shapes.ReplayShare, meant: shapes.ReplayAnswer) -> list[str]:
    at_least = "" if meant.newer_counted else "at least "
    lines = [
        f"  {at_least}{many(each.events, 'newer event')} of key {plain(each.key)}"
        f" {'was' if each.events == 1 else 'were'} delivered already"
        for each in share.keys[:_KEYS_TOLD]
    ]
    others = share.newer - sum(each.events for each in share.keys[:_KEYS_TOLD])
    if others:
        lines.append(f"  and {at_least}{others} of other keys")
    if not share.keys and not meant.newer_counted:
        lines.append("  so much came after them that not all of it was looked at for newer events of their keys")
    return lines


def _passed_over(passed_over: Sequence[shapes.PassedOver]) -> list[str]:
    lines = [f"not {each.event}: {plain(each.says)}; {plain(each.instead)}" for each in passed_over[:_KEYS_TOLD]]
    if len(passed_over) > _KEYS_TOLD:
        lines.append(f"and {len(passed_over) - _KEYS_TOLD} more are passed over; -o json has them")
    return lines


def _show(answer: shapes.ReplayAnswer, output: Format, session: Session) -> None:
    if show_answer(output, Answer(answer, shapes.ReplayShare, answer.shares, answer.events)):
        return
    if answer.job is None:
        for line in _told(answer):
            say(line)
        click.echo(f"would be delivered again: {_what(answer)}" if answer.of else "nothing that fits has been settled")
        show_ids(answer.events if answer.of else [])
        return
    told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(answer.answers.items()))
    click.echo(f"applied {answer.applied:,} of {answer.of:,}" + (f": {told}" if told else "") + f"  job {answer.job}")
    if answer.takes_us:
        say(f"the others follow over {span(answer.takes_us)}, also after a restart")
    elif answer.applied < answer.of:
        say("the other answers are not there yet: a busy lane answers when it can")
        say(f"  see `interlock dead job {answer.job}`")
    hint(f"interlock events show {answer.events[0]}", quiet=session.quiet)
