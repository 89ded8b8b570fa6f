"""`interlock db`: the store's file. A backup is made beside a running process; a restore needs that none runs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import click

from interlock.cli.answers import StoreHeld
from interlock.cli.exits import FINDINGS, Exit
from interlock.cli.say import ask, block, plain, say
from interlock.cli.session import Session, actor
from interlock.cli.show import Answer, Format, clock, hint, output_option, show_answer
from interlock.core.errors import InterlockError
from interlock.core.words import many
from interlock.journal.sqlite.backup import Contents


@click.group("db")
def command() -> None:
    """Say what the store's file holds, back it up while a process runs, or restore a backup."""


@command.command("current")
@output_option
@click.pass_obj
def current(session: Session, output: Format) -> None:
    """Say what the store holds, and the number of its schema."""
    store = _store(session)
    found = _held(store)
    row = StoreHeld(str(store), *found)
    if not show_answer(output, Answer(row, StoreHeld, [row], [str(found.schema)])):
        click.echo(f"{plain(str(store))}  {_told(found)}")
        hint("interlock db backup FILE", quiet=session.quiet)


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@click.option("-y", "--yes", is_flag=True, help="Overwrite FILE if it is there.")
@output_option
@click.pass_obj
def backup(session: Session, file: Path, dry_run: bool, yes: bool, output: Format) -> None:
    """Copy the store to FILE, as it is at this moment, whether or not a process runs. It is not held up.

    The copy is checked before it gets its name: every page, the schema, and that the books balance. It holds payloads;
    you alone may read it. FILE may be on any disk, another one than the store's at best.
    """
    from interlock.journal.sqlite.backup import back_up

    store = _store(session)
    if dry_run:
        click.echo(f"would write {plain(str(file))}  {_told(_held(store))}")
        return
    if file.exists():
        ask(f"Overwrite {file}?", yes=yes, no_input=session.no_input)
    made = back_up(store, file)
    row = StoreHeld(str(file), *made)
    if not show_answer(output, Answer(row, StoreHeld, [row], [str(file)])):
        click.echo(f"{plain(str(file))}  {_told(made)}, checked")
        hint(f"interlock db restore {file}", quiet=session.quiet)
    _say_faults(made)
    if made.unbalanced or made.bodies_lost:
        raise Exit(FINDINGS)


class Loss(NamedTuple):
    """What lies between a backup and the store as it is: events by stream, deliveries by subscription."""

    events: Mapping[str, int]
    delivered: Mapping[str, int]


@command.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.option("--dry-run", is_flag=True, help="Only check the backup, and say what would be lost.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(session: Session, file: Path, reason: str, dry_run: bool, yes: bool) -> None:
    """Put the backup FILE in the place of the store. No process may run; the store as it is is kept beside it.

    What was accepted since the backup is not in it. What was delivered since is delivered again, with the same
    idempotency keys: a receiver that honours them makes nothing twice.
    """
    from interlock.cli.restoring import Restoring, restored
    from interlock.journal.sqlite.backup import contents, examined
    from interlock.journal.sqlite.connection import FileLock

    store = _file(session)
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(store)
    try:
        kept = examined(file)
        there = store.exists()
        former = contents(store) if there else None
        click.echo(f"backup  {plain(str(file))}  {_told(kept)}, checked")
        _say_faults(kept)
        if there:
            click.echo(f"store   {plain(str(store))}  {_told(former) if former else 'cannot be read'}")
            _say_loss(kept, former)
        if dry_run:
            return
        ask(f"Put the backup in the place of {store}?", yes=yes, no_input=session.no_input)
        aside = session.run(restored(Restoring(store, file, kept, former, actor(), reason)))
    finally:
        lock.release()
    click.echo(f"restored  {plain(str(store))}")
    if aside is not None:
        click.echo(f"aside     {plain(str(aside))}  (INTERLOCK_STORE__URL=sqlite:///{plain(str(aside))} reads it)")
    hint("interlock plan, then interlock run", quiet=session.quiet)


def _say_faults(found: Contents) -> None:
    if found.bodies_lost:
        message = f"{many(found.bodies_lost, 'payload')} above 64 KiB could not be copied: their files are lost"
        remedy = "an older backup may have them; `interlock doctor` names events that cannot be delivered"
        click.echo(block("warning", "backup.bodies-lost", message, remedy, None), err=True)
    if found.unbalanced:
        message = f"the books in the copy do not balance: {', '.join(found.unbalanced[:3])}"
        remedy = "ask `interlock doctor` about the store; keep the copy, and report it: this is a bug of Interlock"
        click.echo(block("warning", "backup.unbalanced", message, remedy, None), err=True)


def loss(kept: Contents, former: Contents) -> Loss:
    """What the store has and the backup has not."""
    events = {
        name: sum(
            max(0, newest - before) for newest, before in zip_longest(heads, kept.heads.get(name, ()), fillvalue=0)
        )
        for name, heads in former.heads.items()
    }
    delivered = {name: count - kept.delivered.get(name, 0) for name, count in former.delivered.items()}
    return Loss(_positive(events), _positive(delivered))


def _positive(counted: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counted.items()) if count > 0}


def _say_loss(kept: Contents, former: Contents | None) -> None:
    if former is None:
        say("what was accepted and delivered since the backup is not known: the store cannot be read")
        return
    lost = loss(kept, former)
    if lost.events:
        listed = ", ".join(f"{name} {count}" for name, count in lost.events.items())
        count = many(sum(lost.events.values()), "event")
        say(f"not in the backup: {count} accepted since ({listed}); producers that send")
        say("  them again are answered 202 as for the first time")
    if lost.delivered:
        listed = ", ".join(f"{name} {count}" for name, count in lost.delivered.items())
        say(f"delivered since: {sum(lost.delivered.values())} ({listed}); those of events that the backup holds are")
        say("  delivered again with the same idempotency keys")
    if not lost.events and not lost.delivered:
        say("nothing was accepted or delivered since the backup")


def _file(session: Session) -> Path:
    store = session.settings.store_file()
    if store is None:
        raise InterlockError(
            "cli.store-in-memory", "this project keeps its store in memory", "set `[store] url` to a file to keep it"
        )
    return store


def _store(session: Session) -> Path:
    store = _file(session)
    if not store.exists():
        raise InterlockError("cli.no-store", "this project has no store yet", "start `interlock run` once")
    return store


def _held(store: Path) -> Contents:
    from interlock.journal.sqlite.backup import contents

    found = contents(store)
    if found is None:
        raise InterlockError(
            "cli.store-unreadable",
            f"the store {store} cannot be read",
            "`interlock db restore FILE` puts a backup in its place and keeps this file aside",
        )
    return found


def _told(found: Contents) -> str:
    last = f", the last accepted {clock(found.newest_at)}" if found.newest_at else ""
    size = f"{found.size_bytes / 1_000_000:.1f} MB"
    if found.bodies:
        size += f", {many(found.bodies, 'large payload')} ({found.bodies_bytes / 1_000_000:.1f} MB)"
    return f"{many(found.events, 'event')}{last}, {size}, schema {found.schema}"
