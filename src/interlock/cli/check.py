"""`interlock check`: everything that is wrong with the project, each thing with its place, the reason and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import block, plain, say
from interlock.cli.session import Session
from interlock.cli.show import show_json
from interlock.runtime.load import load
from interlock.spec.findings import Finding

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
        show_json([_members(finding) for finding in loaded.findings])
    elif form == "github":
        for finding in loaded.findings:
            click.echo(_annotation(finding))
    else:
        for finding in loaded.findings:
            click.echo(finding_text(finding) + "\n")
    if loaded.plan is not None:
        plan = loaded.plan
        say(f"{len(plan.subscriptions)} subscriptions  {len(plan.systems)} systems  {len(plan.webhooks)} webhooks")
    say(f"check: {'ok' if not loaded.findings else f'{len(errors)} errors, {warnings} warnings'}")
    if errors or (strict and warnings):
        raise Exit(FINDINGS)


def finding_text(finding: Finding) -> str:
    """A finding as a block for people."""
    message = f"{finding.subject}: {finding.why}"
    return block(finding.severity, finding.rule, message, finding.fix, str(finding.where))


def refuse_findings(findings: Sequence[Finding]) -> None:
    """Say the errors among them, and end with 3 if there is one."""
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in errors:
        say_block(finding)
    if errors:
        raise Exit(FINDINGS)


def say_block(finding: Finding) -> None:
    """A finding on standard error."""
    click.echo(finding_text(finding), err=True)


def _members(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "subject": finding.subject,
        "file": finding.where.file,
        "line": finding.where.line,
        "why": finding.why,
        "fix": finding.fix,
    }


def _annotation(finding: Finding) -> str:
    """A workflow command of GitHub; what would end it early is escaped as its toolkit does."""
    place = f"file={_property(finding.where.file)},line={finding.where.line},title={_property(finding.rule)}"
    return f"::{finding.severity} {place}::{_escaped(f'{finding.subject}: {finding.why} {finding.fix}')}"


def _escaped(text: str) -> str:
    return plain(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
