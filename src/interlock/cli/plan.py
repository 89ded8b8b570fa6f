"""`interlock plan`: what the project declares, on one page, and what a deploy would change in its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from interlock.cli.check import refuse_findings
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import plain, say
from interlock.cli.session import Session
from interlock.cli.show import Format, hint, output_option, show_ids, show_json, show_table, span
from interlock.control import shapes, table
from interlock.runtime.load import load
from interlock.spec.deploy import Change, changes
from interlock.spec.findings import Known
from interlock.spec.plan import Plan, SubscriptionSpec

Row = Mapping[str, object]
_MARKS: Mapping[str, str] = {"new": "+", "gone": "-", "reshaped": "~"}


@click.command("plan")
@output_option
@click.pass_obj
def command(session: Session, output: Format) -> None:
    """Show what the project declares, and what a deploy would change in its store; exits with 3 if that is refused.

    With -o id it lists the changes alone.
    """
    loaded = load(session.setup)
    refuse_findings(loaded.findings)
    if loaded.plan is None:
        raise Exit(FINDINGS)
    known: Known | None = session.ask(table.KNOWN, shapes.Nothing()) if session.can_read() else None
    found = changes(known, loaded.plan) if known is not None else None
    if output == "json":
        told = None if found is None else [change._asdict() for change in found]
        show_json({"digest": loaded.plan.digest, **_declared(loaded.plan), "changes": told})
    elif output == "id":
        show_ids([f"{change.what} {change}" for change in found or ()])
    else:
        _show(loaded.plan)
        _tell(found, quiet=session.quiet)
    if any(change.remedy for change in found or ()):
        raise Exit(FINDINGS)


def _declared(plan: Plan) -> Mapping[str, Sequence[Row]]:
    """The nouns and their rows, as JSON has them and as the page shows them."""
    return {
        "integrations": [{"name": it.name, "owner": it.owner, "purpose": it.purpose} for it in plan.integrations],
        "systems": [{"name": name, "url": plan.bindings[name].url} for name in plan.systems],
        "event_types": [
            {"id": it.id, "stream": it.stream, "key": it.key is not None, "shape": it.schema_digest[:12]}
            for it in plan.types.values()
        ],
        "webhooks": [{"name": it.name, "route": f"{it.method} {it.path}"} for it in plan.webhooks],
        "polls": [{"name": it.name, "every": span(it.every_us)} for it in plan.polls],
        "subscriptions": [_subscription(it) for it in plan.subscriptions.values() if it.is_written],
        "streams": [{"name": it.name, "shards": it.shards, "keep": span(it.keep_us)} for it in plan.streams],
    }


def _subscription(spec: SubscriptionSpec) -> Row:
    return {
        "name": spec.name,
        "reads": sorted(spec.type_ids),
        "into": spec.into.id if spec.into else None,
        "uses": list(spec.systems),
        "order": spec.order,
        "on_dead": spec.on_dead.kind,
        "freshness": None if spec.freshness_us is None else span(spec.freshness_us),
        "start": spec.start,
    }


def _show(plan: Plan) -> None:
    for noun, rows in _declared(plan).items():
        if rows:
            columns = [f"{noun} ({len(rows)})".upper().replace("_", " "), *(name.upper() for name in list(rows[0])[1:])]
            columns = [column.replace("_", " ") for column in columns]
            show_table(columns, [[_cell(value) for value in row.values()] for row in rows], "")
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
        say(f"a deploy would be refused: {blocked} of {len(found)} changes need a decision first")
    else:
        say(f"a deploy would change {len(found)} things" if found else "a deploy would change no names and no shapes")
