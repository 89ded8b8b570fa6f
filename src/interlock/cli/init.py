"""`interlock init`: a project that is complete at once, with a test and a README, from one of the templates.

A template is a folder of package data beside this module, checked and tested like the rest of the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import click

from interlock.cli.say import say
from interlock.cli.session import Session
from interlock.cli.show import hint
from interlock.core.errors import InterlockError
from interlock.core.words import many

TEMPLATES: Final = ("minimal", "webhook", "shop-demo")
NAME_MARK: Final = b"{{project}}"
"""Stands for the project's name in a README."""
_IGNORED: Final = frozenset({"__pycache__", ".pytest_cache", ".ruff_cache"})
_MAY_STAND_THERE: Final = frozenset({".git", ".venv"})


class File(NamedTuple):
    """One file of a project: its place in it, and what it holds."""

    path: PurePosixPath
    content: bytes


@click.command("init")
@click.argument("name", metavar="NAME")
@click.option(
    "--template", type=click.Choice(TEMPLATES), default="minimal", show_default=True, help="What to begin with."
)
@click.option("--dry-run", is_flag=True, help="Only say which files would be made.")
@click.pass_obj
def command(session: Session, name: str, template: str, dry_run: bool) -> None:
    """Make a project in the folder NAME. Nothing is ever overwritten: the folder has to be new or empty."""
    folder = session.setup.folder / name
    made = list(project(template, folder.resolve().name))
    _refuse_what_stands_there(folder)
    if not dry_run:
        _write(folder, made)
    for file in made:
        click.echo(str(folder / file.path))
    say(f"{'would create' if dry_run else 'created'} {folder}  ({many(len(made), 'file')})")
    at = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    hint(f"{at}interlock check, then pytest, then interlock dev", quiet=session.quiet)


def project(template: str, name: str) -> Iterator[File]:
    """The files of a template for a project of that name."""
    for path, source in _files(files("interlock.cli").joinpath("templates", template), PurePosixPath()):
        yield File(path, source.read_bytes().replace(NAME_MARK, name.encode("utf-8", "replace")))


def _files(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name in _IGNORED:
            continue
        if entry.is_dir():
            yield from _files(entry, at / entry.name)
        else:
            yield at / entry.name, entry


def _refuse_what_stands_there(folder: Path) -> None:
    if not folder.exists():
        return
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else [folder.name]
    if taken := [name for name in there if name not in _MAY_STAND_THERE]:
        raise InterlockError(
            "cli.folder-taken",
            f"{folder} holds {taken[0]}" + (f" and {len(taken) - 1} more" if len(taken) > 1 else ""),
            "name another folder, or empty this one yourself: nothing is overwritten",
        )


def _write(folder: Path, made: list[File]) -> None:
    try:
        for file in made:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as opened:
                opened.write(file.content)
    except OSError as error:
        raise InterlockError(
            "cli.unwritable",
            f"{error.filename or folder} cannot be written: {error.strerror or error}",
            "make room or take a folder that you may write to, and remove what has been made",
        ) from error
