"""`interlock dead retry|skip|discard|restore`: what a person decides about dead letters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click
import msgspec

from interlock.cli.dead_select import selecting, selection, spelled
from interlock.cli.exits import FAILED, Exit
from interlock.cli.progress import Advance, progress
from interlock.cli.rate import Percent, Rate
from interlock.cli.say import ask, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, hint, output_option, show_answer
from interlock.control import dead_shapes, shapes, table
from interlock.core.requests import Verb
from interlock.core.words import many
from interlock.runtime.settings import process_environment

_QUESTIONS: Final[Mapping[Verb, str]] = {
    "retry": "Retry {of}?",
    "skip": "Skip {of}, so that later events of the same keys go on?",
    "discard": "Discard {of} without delivery (restore takes it back)?",
    "restore": "Take {of} back from the discarded as dead letters?",
}
_NEXT: Final[Mapping[Verb, str]] = {
    "retry": "interlock tail",
    "skip": "interlock dead ls",
    "discard": "interlock dead ls --discarded",
    "restore": "interlock dead ls",
}
_FIRST_WAIT_US: Final = 500_000
_WAIT_US: Final = 1_000_000
_PATIENCE: Final = 5
"""So many waits in a row without one more answer end the command; a job in the audit goes on without it."""
_KEYS_TOLD: Final = 5
_UNKNOWN: Final = (
    "nothing was sent, appended or settled. What a dry run cannot know:",
    "  what a System would answer: each call was taken to be answered 200 with {}",
    "  whether a System is up, and how soon its limits let the calls pass",
    "  what code does that reaches out in another way than context.use: it did it",
)


def deciding(verb: Verb, summary: str) -> click.Command:
    """One deciding verb; they differ in their words only."""

    @click.command(verb, help=summary)
    @click.argument("fingerprint", required=False)
    @selecting
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.option("--dry-run", is_flag=True, help="Only say which events are meant.")
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @output_option
    @click.pass_obj
    def decide(session: Session, output: Format, yes: bool, dry_run: bool, reason: str, **given: Any) -> None:
        asked = shapes.DeadCommand(**selection(given), reason=reason, actor=actor(), dry_run=True)
        meant: shapes.DeadAnswer = session.ask(table.DEAD_VERBS[verb], asked)
        if dry_run or not meant.of:
            _show(meant, output)
            if meant.of:
                hint(f"interlock dead {verb} {spelled(asked)}", quiet=session.quiet)
            return
        ask(_QUESTIONS[verb].format(of=many(meant.of, "event")), yes=yes, no_input=session.no_input)
        _carry_out(session, verb, asked, meant, output)

    return decide


@click.command("retry")
@click.argument("fingerprint", required=False)
@selecting
@click.option("--canary", type=click.IntRange(1), help="So many first ones must end well before the others follow.")
@click.option("--rate", type=Rate(), help="Spread over time: 20/s, 30/m, 100/h. Default: at once.")
@click.option("--stop-if-failure-rate", type=Percent(), help="Stop when more than this share fails again: 10%.")
@click.option("--send-anyway", is_flag=True, help="Also those whose keys have had newer events delivered.")
@click.option("--supersede", is_flag=True, help="Discard those whose keys have had newer events delivered.")
@click.option("--forget-memo", is_flag=True, help="Repeat calls that had succeeded, too.")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Run today's code on them, with nothing sent.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def retry(session: Session, output: Format, yes: bool, dry_run: bool, **given: Any) -> None:
    """Start a new budget: the event is attempted at once, in its key's turn."""
    if given["send_anyway"] and given["supersede"]:
        raise click.UsageError("Choose one: --send-anyway or --supersede.")
    asked = shapes.DeadCommand(
        **selection(given),
        canary=given["canary"] or 0,
        per_second=given["rate"],
        stop_percent=given["stop_if_failure_rate"],
        newer="send-anyway" if given["send_anyway"] else "supersede" if given["supersede"] else None,
        keep_memo=not given["forget_memo"],
        reason=given["reason"],
        actor=actor(),
        dry_run=True,
    )
    if dry_run:
        _rehearse(session, asked, output)
        return
    meant: shapes.DeadAnswer = session.ask(table.DEAD_VERBS["retry"], asked)
    if not meant.of:
        _show(meant, output)
        return
    is_late = bool(meant.superseded) or not meant.newer_counted
    if is_late:
        for line in _newer(meant):
            say(line)
    if is_late and asked.newer is None and not yes and _has_person(session):
        asked = msgspec.structs.replace(asked, newer=_chosen())
    ask(_QUESTIONS["retry"].format(of=many(meant.of, "event")), yes=yes, no_input=session.no_input)
    _carry_out(session, "retry", asked, meant, output)


def _carry_out(
    session: Session, verb: Verb, asked: shapes.DeadCommand, meant: shapes.DeadAnswer, output: Format
) -> None:
    is_paced = bool(asked.canary or asked.per_second or asked.stop_percent is not None)
    asked = msgspec.structs.replace(asked, dry_run=False)
    if is_paced:
        done: shapes.DeadAnswer = session.ask(table.DEAD_VERBS[verb], msgspec.structs.replace(asked, wait_us=0))
        _show(done, output, is_paced=True)
        hint(f"interlock dead job {done.job}", quiet=session.quiet)
        return
    with progress(f"dead {verb}", meant.of, quiet=session.quiet) as advance:
        done = _done(session, verb, asked, advance)
    _show(done, output)
    if done.applied < done.of:
        raise Exit(FAILED)
    hint(_NEXT[verb], quiet=session.quiet)


def _has_person(session: Session) -> bool:
    return sys.stdin.isatty() and not session.no_input and not process_environment().get("CI")


def _chosen() -> shapes.Newer:
    """What becomes of those that newer events have overtaken, as a person says."""
    choices = click.Choice(["send-anyway", "supersede"])
    given: str = click.prompt("What becomes of them? supersede discards them", type=choices, err=True)
    return "supersede" if given == "supersede" else "send-anyway"


def _newer(meant: shapes.DeadAnswer) -> list[str]:
    at_least = "" if meant.newer_counted else "at least "
    if not meant.superseded:
        return ["so much came after them that not all of it was looked at for newer events"]
    lines = [f"{meant.superseded:,} of them: newer events of the same key were delivered already"]
    lines += [
        f"  {at_least}{many(each.events, 'newer event')} of key {plain(each.key)}" for each in meant.newer[:_KEYS_TOLD]
    ]
    if len(meant.newer) > _KEYS_TOLD:
        lines.append(f"  and of {len(meant.newer) - _KEYS_TOLD} other keys")
    return lines


def _done(session: Session, verb: Verb, asked: shapes.DeadCommand, advance: Advance) -> shapes.DeadAnswer:
    """Ask, and follow the lanes until each event has its answer, or none has come for a while."""
    endpoint = table.DEAD_VERBS[verb]
    done: shapes.DeadAnswer = session.ask(endpoint, msgspec.structs.replace(asked, wait_us=_FIRST_WAIT_US))
    told, patience = 0, _PATIENCE
    while done.job is not None:
        advance(done.applied - told)
        patience = patience - 1 if done.applied == told else _PATIENCE
        told = done.applied
        if done.applied >= done.of or not patience:
            break
        seen: dead_shapes.JobAnswer = session.ask(table.DEAD_JOB, dead_shapes.JobAsked(done.job, wait_us=_WAIT_US))
        done = msgspec.structs.replace(done, applied=seen.applied, answers=seen.answers)
    return done


def _show(answer: shapes.DeadAnswer, output: Format, *, is_paced: bool = False) -> None:
    if show_answer(output, Answer(answer, shapes.DeadAnswer, [answer], answer.events)):
        return
    if answer.superseded_job:
        click.echo(f"superseded {many(answer.superseded, 'event')}, discarded  job {answer.superseded_job}")
    if answer.job is None:
        if not answer.superseded_job:
            click.echo(
                f"{many(answer.of, 'event')} would be asked for" if answer.of else "no event fits: nothing to do"
            )
            for id in answer.events:
                click.echo(f"  {id}")
    elif is_paced:
        click.echo(f"begun: {many(answer.of, 'event')}  job {answer.job}")
        say("it goes on by itself, also after a restart")
    else:
        told = ", ".join(f"{count:,} {plain(kind)}" for kind, count in sorted(answer.answers.items()))
        counted = f"applied {answer.applied:,} of {answer.of:,}" + (f": {told}" if told else "")
        click.echo(f"{counted}  job {answer.job}")
        if answer.applied < answer.of:
            say("the other answers are not there yet: a busy lane answers when it can")
            say(f"  see `interlock dead job {answer.job}`")
    if answer.more:
        say("more fit than one command takes; run it again for the rest")


def _rehearse(session: Session, asked: shapes.DeadCommand, output: Format) -> None:
    found: dead_shapes.DeadRehearsal = session.ask(table.DEAD_REHEARSE, asked)
    ids = [result.event for result in found.results]
    answer = shapes.DeadAnswer(None, found.of, 0, {}, ids, superseded=found.newer, rehearsal=found)
    if show_answer(output, Answer(answer, dead_shapes.Rehearsal, found.results, ids)):
        return
    if not found.of:
        click.echo("no event fits: nothing to do")
        return
    for result in found.results:
        click.echo(f"{result.event}  {plain(result.subscription)}  {_outcome(result)}")
        for line in _steps(result):
            click.echo(f"  {line}")
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.outcomes.items()))
    click.echo(f"dry run of {len(found.results):,} of {many(found.of, 'event')}: {told or 'none'}")
    if found.newer:
        say(f"{found.newer:,} of them: newer events of the same key were delivered already;")
        say("  a retry wants --send-anyway or --supersede")
    for line in _UNKNOWN:
        say(line)
    hint(f"interlock dead retry {spelled(asked)}", quiet=session.quiet)


def _outcome(result: dead_shapes.Rehearsal) -> str:
    if not result.error:
        return f"would be {result.outcome}" + (", if its calls are answered so" if result.assumed else "")
    said = "would be tried again" if result.outcome == "fails" else "would be rejected again"
    guess = " (behind an answer that was made up)" if result.assumed else ""
    return f"{said}: {plain(result.error)} {plain(result.detail)}".rstrip() + guess


def _steps(result: dead_shapes.Rehearsal) -> Iterator[str]:
    for call in result.calls:
        yield f"{plain(call.system)}  {call.method} {plain(call.path)}".rstrip() + (
            "  made before, not again" if call.remembered else ""
        )
        if call.key:
            yield f"  key {call.key}"
        yield from (f"  {plain(line)}" for line in call.body.splitlines())
    for emit in result.emits:
        yield f"emits {plain(emit.type)} to {plain(emit.stream)}, id {plain(emit.id)}"


VERBS: Final[Sequence[click.Command]] = (
    retry,
    deciding("skip", "Make held ones dead, so that their keys go on behind them; with --event also one that is due."),
    deciding("discard", "Settle without delivery. `restore` takes it back."),
    deciding("restore", "Take discarded ones back as dead letters."),
)
