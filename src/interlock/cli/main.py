"""`interlock`: the root of the command line. Verbs are loaded when they are asked for, so that `--help` stays quick.

Standard output carries data and nothing else; everything said to people goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from io import TextIOWrapper
from typing import Final, NamedTuple

import click

from interlock.cli.exits import FAILED, INTERRUPTED, OK, USAGE, Exit
from interlock.core.errors import InterlockError

PROGRAM: Final = "interlock"


class Verb(NamedTuple):
    """Where a verb lives, and its one line in the help, which is all that `--help` needs."""

    module: str
    help: str


VERBS: Final = {
    "init": Verb("init", "Make a project from a template, with a test and a README."),
    "dev": Verb("dev", "Run while you write: a changed file is taken over, events are kept."),
    "run": Verb("run", "Run the engine, the data port and the control port."),
    "check": Verb("check", "Check declarations and bindings; no network, no store."),
    "plan": Verb("plan", "Show what the project declares, and what a deploy would change."),
    "send": Verb("send", "Send events to a running process."),
    "tail": Verb("tail", "Follow events and failures as they happen."),
    "events": Verb("events", "List events, or show one with its timeline."),
    "dead": Verb("dead", "Dead letters: list causes, show, retry, skip, discard, restore."),
    "replay": Verb("replay", "Deliver settled events again, from the log."),
    "subscriptions": Verb("subscriptions", "List subscriptions, show, pause, resume, rename or retire one."),
    "systems": Verb("systems", "List systems, pause or resume one."),
    "schedules": Verb("schedules", "List schedules with their next and last run, pause or resume one."),
    "simulate": Verb("simulate", "Run the project's functions under crashes and outages that a seed draws."),
    "config": Verb("config", "Show the settings and where each is set, or have them read again."),
    "secrets": Verb("secrets", "List secrets by name, write one, check that none is missing."),
    "db": Verb("db", "The store's file: what it holds, back it up, restore a backup."),
    "demo": Verb("demo", "See it at work: a shop and three systems in trouble, in two minutes."),
    "doctor": Verb("doctor", "Check that the books balance and the process is well."),
    "completion": Verb("completion", "Print the script that completes verbs in bash, zsh or fish."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The daily loop first, then the nouns, as the table has them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = import_module(f"interlock.cli.{verb.module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; a word that is none is answered with the nearest one."""
        if args and args[0] not in VERBS and (near := get_close_matches(args[0], VERBS, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from the table alone: no verb is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(PROGRAM), prog_name=PROGRAM)
@click.option("-C", "folder", default=".", metavar="DIR", help="The project's folder, with interlock.toml in it.")
@click.option("--env", "overlay", default=None, metavar="NAME", help="Use the overlay interlock.NAME.toml.")
@click.option("-q", "--quiet", is_flag=True, help="Say less on standard error.")
@click.option("--no-input", is_flag=True, help="Never ask; what would ask fails instead.")
@click.pass_context
def root(ctx: click.Context, folder: str, overlay: str | None, quiet: bool, no_input: bool) -> None:
    """Join systems: webhooks and events in, durable, in order, out to the systems that need them."""
    from interlock.cli.session import Session

    ctx.obj = Session(folder=folder, overlay=overlay, quiet=quiet, no_input=no_input)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is what `interlock.cli.exits` lists."""
    out = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding does not have is shown as an escape instead of ending the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = root.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE if isinstance(error, click.UsageError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exit as end:
        return end.code
    except SystemExit:
        # Click has put another stream in the place of a broken pipe: `interlock events ls | head` has read enough.
        if sys.stdout is out:
            raise
        return OK
    except InterlockError as error:
        from interlock.cli.say import say_error

        say_error(error)
        return FAILED
    except Exception as error:  # noqa: BLE001  # the shell of the command line
        from interlock.cli.say import say_unexpected

        say_unexpected(error)
        return FAILED
    return code if isinstance(code, int) else OK
