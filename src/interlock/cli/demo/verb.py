"""The verb: its options, how a line of the story looks in the terminal, and the exit code."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

import click

from interlock.cli.demo.books import Account
from interlock.cli.demo.play import Count, Show, play
from interlock.cli.demo.scenes import SYSTEMS
from interlock.cli.demo.story import Line, banner
from interlock.cli.demo.systems import System
from interlock.cli.exits import FAILED, INTERRUPTED, Exit
from interlock.cli.say import plain
from interlock.core.limits import US_PER_SECOND
from interlock.runtime.serve import Ready

COLORS: Final = {"*": "green", "~": "yellow", "!": "red", "x": "red", "=": "green"}


@click.command("demo")
@click.option("--headless", is_flag=True, help="Nobody watches: end with the story, instead of with Ctrl-C.")
@click.option("--assert", "asserts", is_flag=True, help="Fail, too, if the story did not show all that it should.")
@click.option("--speed", type=click.FloatRange(0.1, 50), default=1.0, show_default=True, help="How fast time goes.")
@click.option("--seed", type=int, default=7, show_default=True, help="What shop and systems do follows from it.")
@click.option("--keep", is_flag=True, help="Keep the project, its store and its log.")
def command(headless: bool, asserts: bool, speed: float, seed: int, keep: bool) -> None:
    """Play Nordwind Coffee: a shop's signed webhooks reach three systems in trouble, and all are counted at the end.

    It ends with 1 if anything was lost, doubled or overtaken.
    """
    with _folder(keep) as folder:

        def begun(ready: Ready) -> None:
            kept = "(kept)" if keep else "(removed at the end; --keep keeps it)"
            addresses = {"data": ready.data, "control": ready.control}
            _show(*banner(version("interlock"), seed, addresses, f"{folder / '.interlock' / 'interlock.db'}  {kept}"))
            stop = "Ctrl-C ends it.  " if headless else "Ctrl-C stops and counts.  "
            _show(f"  {stop}Try in another terminal: interlock -C {folder} tail --errors", "")

        show = Show(folder, seed, speed, headless)
        count = play(show, begun, _tell, [System(name, seed) for name in SYSTEMS])
    verdict(count, asserts=asserts, headless=headless)


def verdict(count: Count, *, asserts: bool, headless: bool) -> None:
    """Show the books.

    Raises:
        Exit: 1 if a promise is broken, or the story was to show something and did not; 130 if it was to end by itself.
    """
    _show("")
    for name, account in count.accounts.items():
        _show(_counted(name, account))
    _show(f"  {'doctor':<11}{count.doctor}")
    broken = [*count.broken, *(count.unshown if asserts and count.is_whole else ())]
    _show(click.style(_counted("in all", count.total), fg="red" if broken else "green", bold=True))
    for each in broken:
        _show(click.style("  FAILED: ", fg="red", bold=True) + each)
    if broken:
        raise Exit(FAILED)
    if headless and not count.is_whole:
        raise Exit(INTERRUPTED)


@contextmanager
def _folder(keep: bool) -> Generator[Path]:
    folder = Path(mkdtemp(prefix="interlock-demo-"))
    try:
        yield folder
    finally:
        if keep:
            _show("", f"  kept in {folder}")
        else:
            rmtree(folder, ignore_errors=True)


def _counted(name: str, account: Account) -> str:
    accepted, _, rest = str(account).partition(" = ")
    return f"  {name:<11}{accepted:>14} = {rest}"


def _tell(line: Line) -> None:
    minutes, seconds = divmod(line.at_us // US_PER_SECOND, 60)
    mark = click.style(line.mark, fg=COLORS[line.mark], bold=True)
    hint = click.style(f"   -> {line.hint}", dim=True) if line.hint else ""
    _show(f"  {minutes}:{seconds:02}  {mark}  {line.who:<9}  {plain(line.text)}{hint}")


def _show(*lines: str) -> None:
    for line in lines:
        click.echo(line)
