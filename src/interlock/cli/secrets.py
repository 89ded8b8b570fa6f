"""`interlock secrets`: which secrets there are and whether their sources hold them; never what they are.

A secret is read from standard input or asked for, so that it stands in no argument, no history and no process list.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from interlock.cli.answers import SecretNeeded, SecretRow
from interlock.cli.check import refuse_findings
from interlock.cli.exits import FAILED, Exit
from interlock.cli.say import plain, say
from interlock.cli.session import Session
from interlock.cli.show import Answer, Format, hint, output_option, show_answer, show_table
from interlock.core.errors import InterlockError
from interlock.core.limits import SECRET_BYTES_MAX
from interlock.runtime.load import load
from interlock.runtime.secrets import SourcedSecrets, secret_file, write_secret
from interlock.runtime.settings import Settings
from interlock.spec.references import secret_references

_UNKNOWN_IS_TOLD_HERE = "spec.secret-unknown"


class Held(NamedTuple):
    """One secret by its name. `source`: None if nothing names one; `active`: how many secrets the source holds."""

    name: str
    source: str | None
    active: int
    needed_by: Sequence[str]


@click.group("secrets")
def command() -> None:
    """List secrets by name, write one, or check that none is missing. What they are is never shown."""


@command.command("ls")
@output_option
@click.pass_obj
def ls(session: Session, output: Format) -> None:
    """List the names under [secrets], where each comes from, and how many active secrets are there."""
    held = list(_held(session, session.settings, dict.fromkeys(session.settings.secrets, ())))
    told = [SecretRow(each.name, each.source, each.active) for each in held]
    if not show_answer(output, Answer(told, SecretRow, told, [row.name for row in told])):
        rows = [(row.name, row.source, row.active or "missing") for row in told]
        empty = 'no secret has a name; add "NAME" = "env:VARIABLE" or "file:PATH" under [secrets] in interlock.toml'
        show_table(("name", "source", "active"), rows, empty)
        hint("interlock secrets check", quiet=session.quiet)


@command.command("check")
@output_option
@click.pass_obj
def check(session: Session, output: Format) -> None:
    """Say which secrets the plan needs and which source answers; exits with 1 if one is missing."""
    loaded = load(session.setup)
    refuse_findings([finding for finding in loaded.findings if finding.rule != _UNKNOWN_IS_TOLD_HERE])
    webhooks = [webhook for integration in loaded.integrations for webhook in integration.webhooks]
    needed: dict[str, list[str]] = defaultdict(list)
    for reference in secret_references(webhooks, loaded.settings.bindings):
        needed[reference.name].append(reference.subject)
    held = list(_held(session, loaded.settings, needed))
    missing = [each for each in held if not each.active]
    told = [SecretNeeded(each.name, each.source, each.active, each.needed_by, each.active > 0) for each in held]
    if not show_answer(output, Answer(told, SecretNeeded, told, [each.name for each in missing])):
        rows = [(each.name, each.source, each.active or "missing", ", ".join(each.needed_by)) for each in held]
        show_table(("name", "source", "active", "needed by"), rows, "the plan needs no secret")
        if not missing:
            hint("interlock secrets ls", quiet=session.quiet)
    for each in missing:
        say(f"missing: {each.name}")
        say(f"  fix: {_fix(each)}")
    if missing:
        raise Exit(FAILED)


@command.command("set")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say which file would be written.")
@click.pass_obj
def set_(session: Session, name: str, dry_run: bool) -> None:
    """Write the secret NAME to its file, readable by you only. It comes from standard input, or is asked for.

    The file has to be named under [secrets] as "file:PATH". Several secrets, apart by white space, are all active; the
    first is the current one.
    """
    path = _file_of(session.settings, name)
    if dry_run:
        click.echo(f"{plain(str(path))} would be written")
        return
    given = _given(name, no_input=session.no_input)
    if len(given) > SECRET_BYTES_MAX:
        raise InterlockError("secret.too-long", f"that is more than {SECRET_BYTES_MAX} bytes", "give the secret alone")
    if not given.split():
        raise InterlockError("secret.empty", f"nothing was given for {name!r}", "pipe the secret in, or type it")
    try:
        write_secret(path, given)
    except OSError as error:
        raise InterlockError(
            "cli.unwritable",
            f"{path} cannot be written: {error.strerror or error}",
            "make it a file of yours in a folder that you may write to",
        ) from error
    click.echo(f"{name} written to {plain(str(path))}  ({len(given.split())} active, readable by you only)")
    hint("interlock config reload" if session.address else "interlock secrets check", quiet=session.quiet)


def _held(session: Session, settings: Settings, needed: Mapping[str, Sequence[str]]) -> Iterable[Held]:
    sourced = SourcedSecrets(settings, session.setup.environment)
    for name, by in needed.items():
        yield Held(name, settings.secrets.get(name), len(sourced.active(name)), by)


def _fix(held: Held) -> str:
    if held.source is None:
        return f'add "{held.name}" = "env:NAME" or "file:PATH" under [secrets] in interlock.toml'
    kind, _, place = held.source.partition(":")
    if kind == "env":
        return f"set the variable {place} where the process is started"
    return f"interlock secrets set {held.name}"


def _file_of(settings: Settings, name: str) -> Path:
    source = settings.secrets.get(name)
    if source is None:
        raise InterlockError(
            "secret.unknown",
            f"nothing under [secrets] is named {name!r}",
            f'add "{name}" = "file:PATH" there, or see `interlock secrets ls`',
        )
    path = secret_file(settings, source)
    if path is None:
        raise InterlockError(
            "secret.not-a-file",
            f"{name!r} comes from {source}, which is set where the process is started",
            f'set it there, or write "{name}" = "file:PATH" under [secrets]',
        )
    return path


def _given(name: str, *, no_input: bool) -> bytes:
    """What is piped in; at a terminal it is asked for without an echo."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.read(SECRET_BYTES_MAX + 1)
    if no_input:
        raise click.UsageError("Nobody is to be asked; pipe the secret in.")
    answer: str = click.prompt(f"{name} (not shown)", hide_input=True, err=True)
    return answer.encode()
