"""`interlock plan`: what the project declares, on one page, and what a deploy would change in its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
import msgspec

from interlock.cli.answers import (
    EventTypeRow,
    IntegrationRow,
    PlannedChange,
    PlannedSchedule,
    PlannedStream,
    PlannedSubscription,
    PlannedSystem,
    PlannedUpcast,
    PlanShown,
    PollRow,
    WebhookRow,
)
from interlock.cli.check import refuse_findings
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import plain, say
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_table, span
from interlock.control import shapes, table
from interlock.core.words import many
from interlock.runtime.load import load
from interlock.spec.deploy import Change, changes
from interlock.spec.findings import Known
from interlock.spec.plan import Plan, SubscriptionSpec

_MARKS: Mapping[str, str] = {"new": "+", "gone": "-", "reshaped": "~"}


@click.command("plan")
@output_option
@click.pass_obj
def command(session: Session, output: Format) -> None:
    """Show what the project declares, and what a deploy would change in its store; exits with 3 if that is refused.

    With -o id or -o csv it lists the changes alone.
    """
    loaded = load(session.setup)
    refuse_findings(loaded.findings)
    if loaded.plan is None:
        raise Exit(FINDINGS)
    known: Known | None = session.ask(table.KNOWN, shapes.Nothing()) if session.can_read() else None
    found = changes(known, loaded.plan) if known is not None else None
    told = None if found is None else [PlannedChange(*change) for change in found]
    shown = _declared(loaded.plan, told)
    changed = [f"{change.what} {change}" for change in found or ()]
    if not show_answer(output, Answer(shown, PlannedChange, told or (), changed)):
        _show(shown)
        _tell(found, quiet=session.quiet)
    if any(change.remedy for change in found or ()):
        raise Exit(FINDINGS)


def _declared(plan: Plan, told: Sequence[PlannedChange] | None) -> PlanShown:
    return PlanShown(
        plan.digest,
        [IntegrationRow(it.name, it.owner, it.purpose) for it in plan.integrations],
        [PlannedSystem(name, plan.bindings[name].url) for name in plan.systems],
        [EventTypeRow(it.id, it.stream, it.key is not None, it.schema_digest[:12]) for it in plan.types.values()],
        [PlannedUpcast(it.name, it.old.id, it.into.id) for it in plan.upcasts],
        [WebhookRow(it.name, f"{it.method} {it.path}") for it in plan.webhooks],
        [PollRow(it.name, span(it.every_us)) for it in plan.polls],
        [PlannedSchedule(it.name, str(it.times), it.missed) for it in plan.schedules],
        [_subscription(it) for it in plan.subscriptions.values() if it.is_written],
        [PlannedStream(it.name, it.shards, span(it.keep_us)) for it in plan.streams],
        told,
    )


def _subscription(spec: SubscriptionSpec) -> PlannedSubscription:
    return PlannedSubscription(
        name=spec.name,
        reads=sorted(spec.type_ids),
        into=spec.into.id if spec.into else None,
        uses=list(spec.systems),
        order=spec.order,
        on_dead=spec.on_dead.kind,
        freshness=None if spec.freshness_us is None else span(spec.freshness_us),
        start=spec.start,
    )


def _show(shown: PlanShown) -> None:
    for noun in PlanShown.__struct_fields__:
        rows: object = getattr(shown, noun)
        if noun == "changes" or not isinstance(rows, list) or not rows:
            continue
        records: list[Mapping[str, object]] = msgspec.to_builtins(rows)
        columns = [name.replace("_", " ") for name in records[0]]
        columns[0] = f"{noun.replace('_', ' ')} ({len(records)})"
        show_table(columns, [[_cell(value) for value in record.values()] for record in records], "")
        click.echo()


def _cell(value: object) -> object:
    match value:
        case list():
            return ", ".join(str(each) for each in value) or None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # lists of names
        case _:
            return value


def _tell(found: Sequence[Change] | None, *, quiet: bool) -> None:
    if found is None:
        say("there is no store yet: the first start makes it, and everything is new")
        hint("interlock dev", quiet=quiet)
        return
    for change in found:
        click.echo(plain(f"{_MARKS[change.what]} {change.what:<9} {change}"))
        if change.remedy:
            click.echo(f"    fix: {plain(change.remedy)}")
    blocked = sum(change.remedy is not None for change in found)
    if blocked:
        need = "needs" if blocked == 1 else "need"
        say(f"a deploy would be refused: {blocked} of {many(len(found), 'change')} {need} a decision first")
    else:
        told = f"a deploy would change {many(len(found), 'thing')}"
        say(told if found else "a deploy would change no names and no shapes")
        hint("interlock run", quiet=quiet)
