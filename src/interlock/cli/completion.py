"""`interlock completion`: the script by which a shell completes verbs and options. Click knows how, for each shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from interlock.cli.main import PROGRAM, root

SHELLS = ("bash", "zsh", "fish")
VARIABLE = f"_{PROGRAM.upper()}_COMPLETE"
"""How the script asks this program, as click names it."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete verbs and options; it asks no process and no store.

    It belongs in ~/.local/share/bash-completion/completions/interlock for bash, in a file _interlock in a folder of
    fpath for zsh, and in ~/.config/fish/completions/interlock.fish for fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click completes in each of these shells"
    click.echo(kind(root, {}, PROGRAM, VARIABLE).source())
