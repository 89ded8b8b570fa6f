"""Which dead letters are meant, as options: the same for every verb about them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import click
import msgspec

from interlock.cli.times import Since
from interlock.control import shapes
from interlock.core.pointer import PointerError, found_at

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: Final[Mapping[str, str]] = {
    "event": "--event",
    "subscription": "--subscription",
    "system": "--system",
    "key": "--key",
}


class Condition(click.ParamType[tuple[str, Any]]):
    """`/lines/0/sku=S-9`: what must stand at a JSON pointer. A value that is not JSON is text."""

    name = "pointer=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Read it."""
        if isinstance(value, tuple):
            return cast("tuple[str, Any]", value)
        return read_pair(str(value), lambda why: self.fail(why, param, ctx))


def read_pair(text: str, fail: Callable[[str], Any]) -> tuple[str, Any]:
    """A pointer and a value; `fail` says why there is none."""
    pointer, equals, value = text.partition("=")
    try:
        found_at(None, pointer)
    except PointerError as error:
        fail(f"{error}; write /lines/0/sku=S-9")
    if not equals:
        fail(f"{text!r} has no value: write /lines/0/sku=S-9")
    try:
        return pointer, msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return pointer, value


def selecting(function: F) -> F:
    """The options that say which dead letters are meant; `selection` reads them."""
    options = [
        click.option("--event", help="One event, by its id or a unique prefix of it."),
        click.option("--subscription", help="Of this subscription."),
        click.option("--system", help="That failed at this System."),
        click.option("--key", help="Of this key."),
        click.option("--since", "since_at", type=Since(), help="That died then or later: 2h, today 09:00."),
        click.option("--until", "until_at", type=Since(), help="That died before then."),
        click.option(
            "--where", type=Condition(), multiple=True, help="With this in the payload: /lines/0/sku=S-9. Repeatable."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def selection(given: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a `DeadSelection`, from the options of a verb."""
    members = {name: given.get(name) for name in shapes.DeadSelection.__struct_fields__}
    where: Sequence[tuple[str, Any]] = given.get("where") or ()
    return members | {"where": msgspec.json.encode(dict(where)).decode() if where else None}


def spelled(asked: shapes.DeadSelection) -> str:
    """A selection as a command spells it, without times: those have been read."""
    parts = [asked.fingerprint] if asked.fingerprint else []
    parts += [f"{option} {shlex.quote(value)}" for name, option in _OPTIONS.items() if (value := getattr(asked, name))]
    for pointer, value in msgspec.json.decode(asked.where, type=dict[str, Any]).items() if asked.where else ():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        parts.append(f"--where {shlex.quote(f'{pointer}={text}')}")
    return " ".join(parts)
