"""The flags that say where a process listens: the same for every verb that starts one, or shows what one would use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def port_options(function: F) -> F:
    """`--port` and `--control-port`."""
    any_port = click.IntRange(0, 65_535)
    control = click.option("--control-port", type=any_port, help="The control port, likewise.")
    data = click.option("--port", type=any_port, help="The data port; a busy one moves to the next free one.")
    return data(control(function))


def port_flags(port: int | None, control_port: int | None) -> Mapping[str, str]:
    """Those that were given, as settings."""
    given = {"data.port": port, "control.port": control_port}
    return {key: str(value) for key, value in given.items() if value is not None}
