"""`interlock check`: everything that is wrong with the project, each thing with its place, the reason and the fix."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, TextIO

import click

from interlock.cli.answers import FindingRow
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import block, near, plain, say
from interlock.cli.session import Session
from interlock.cli.show import hint, show_json
from interlock.core.words import many
from interlock.runtime.load import load
from interlock.spec.findings import Finding
from interlock.spec.plan import Plan

_FORMATS: Final = ("text", "json", "github")


@click.command("check")
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.pass_obj
def command(session: Session, strict: bool, form: str) -> None:
    """Check declarations and bindings. It imports the project's modules; it needs no network and no store."""
    loaded = load(session.setup)
    errors = [finding for finding in loaded.findings if finding.severity == "error"]
    warnings = len(loaded.findings) - len(errors)
    if form == "json":
        show_json([_row(finding) for finding in loaded.findings])
    elif form == "github":
        for finding in loaded.findings:
            click.echo(_annotation(finding))
    else:
        for finding in loaded.findings:
            click.echo(finding_text(finding, sys.stdout) + "\n")
    if loaded.plan is not None:
        say(contents(loaded.plan))
    found = f"{many(len(errors), 'error')}, {many(warnings, 'warning')}" if loaded.findings else "ok"
    say(f"check: {found}")
    if not loaded.findings:
        hint("interlock plan", quiet=session.quiet)
    if errors or (strict and warnings):
        raise Exit(FINDINGS)


def contents(plan: Plan) -> str:
    """What is in a project, in a line."""
    counted = {
        "subscription": sum(spec.is_written for spec in plan.subscriptions.values()),
        "system": len(plan.systems),
        "webhook": len(plan.webhooks),
        "poll": len(plan.polls),
        "schedule": len(plan.schedules),
    }
    return "  ".join(
        many(count, noun) for noun, count in counted.items() if count or noun in ("subscription", "system")
    )


def finding_text(finding: Finding, stream: TextIO) -> str:
    """A finding as a block for people who read `stream`."""
    message = f"{finding.subject}: {finding.why}"
    return block(finding.severity, finding.rule, message, finding.fix, str(finding.where), stream)


def refuse_findings(findings: Sequence[Finding]) -> None:
    """Say the errors among them, and end with 3 if there is one."""
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in errors:
        say_block(finding)
    if errors:
        raise Exit(FINDINGS)


def say_block(finding: Finding) -> None:
    """A finding on standard error."""
    click.echo(finding_text(finding, sys.stderr), err=True)


def _row(finding: Finding) -> FindingRow:
    where = finding.where
    return FindingRow(finding.rule, finding.severity, finding.subject, where.file, where.line, finding.why, finding.fix)


def _annotation(finding: Finding) -> str:
    """A workflow command of GitHub; what would end it early is escaped as its toolkit does."""
    place = f"file={_property(near(finding.where.file))},line={finding.where.line},title={_property(finding.rule)}"
    return f"::{finding.severity} {place}::{_escaped(f'{finding.subject}: {finding.why} {finding.fix}')}"


def _escaped(text: str) -> str:
    return plain(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
