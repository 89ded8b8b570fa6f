"""Configuration as text: files, environment and flags laid over each other, each value with the place it came from.

What the keys mean is `runtime.settings`'. A file that is not TOML is a finding, not a traceback.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from interlock.spec.findings import Finding
from interlock.spec.plan import Where

Key = tuple[str, ...]

_SHORT = {"INTERLOCK_STORE": ("store", "url")}
"""The one setting that everybody needs has a short name; all others are INTERLOCK_SECTION__KEY."""
_PREFIX = "INTERLOCK_"
_ASSIGNED = re.compile(r"""\s*((?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:\s*\.\s*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*)\s*=""")
_HEADER = re.compile(r"\s*\[[^\[\]]+\]")
_DEPTH_MAX = 8


class Value(NamedTuple):
    """One value. `is_text` for what environment and flags give: text that is still to be read as a number or list."""

    value: Any  # Any: configuration before it has met its type.
    where: Where
    is_text: bool = False


class Layered(NamedTuple):
    """Every value by its key, later layers over earlier ones; `texts` are the files, for whoever looks into them."""

    values: Mapping[Key, Value]
    texts: Mapping[str, str]
    findings: Sequence[Finding]


def layered(files: Mapping[str, str], environment: Mapping[str, str], flags: Mapping[str, str]) -> Layered:
    """Lay the files over each other in their order, then environment, then flags (`{"data.port": "9000"}`).

    Arrays are replaced whole, tables are merged key by key.
    """
    values: dict[Key, Value] = {}
    findings: list[Finding] = []
    for file, text in files.items():
        try:
            tree = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            findings.append(_not_toml(file, error))
            continue
        lines = key_lines(text)
        for key, value in _leaves(tree):
            values[key] = Value(value, Where(file, _line(lines, key)))
    for name, text in environment.items():
        key = _SHORT.get(name) or _environment_key(name, values)
        if key:
            values[key] = Value(text, Where(f"${name}", 0), is_text=True)
    for name, text in flags.items():
        values[tuple(name.split("."))] = Value(text, Where(f"--{name}", 0), is_text=True)
    return Layered(values, files, findings)


def key_lines(text: str) -> dict[Key, int]:
    """The line of each table and key of a TOML document. Keys of an inline table are on the line of the table."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        assigned = None if header else _ASSIGNED.match(line)
        if header:
            table = _key(header[0]) or table
            lines.setdefault(table, number)
        elif assigned:
            lines.setdefault((*table, *_key(f"{assigned[1]} = 0")), number)
    return lines


def _key(line: str) -> Key:
    """The path of the only key in a line, as TOML itself reads it."""
    try:
        node: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(node, dict) and node:
        name, node = next(iter(cast("dict[str, Any]", node).items()))
        path.append(name)
    return tuple(path)


def _leaves(node: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in node.items():
        key = (*above, name)
        if isinstance(value, dict) and value and len(key) < _DEPTH_MAX:
            yield from _leaves(cast("dict[str, Any]", value), key)
        else:
            yield key, value


def _line(lines: Mapping[Key, int], key: Key) -> int:
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 1)


def _environment_key(name: str, values: Mapping[Key, Value]) -> Key | None:
    """The key of INTERLOCK_SECTION__KEY; None for a name without `__`, which is not a setting.

    The environment has no small letters, dots or hyphens, so a name that a file uses is recognised without them.
    """
    if not name.startswith(_PREFIX) or "__" not in name:
        return None
    path = tuple(part.lower() for part in name.removeprefix(_PREFIX).split("__"))
    spelled = {plain: key[: len(path)] for key in values if (plain := _plain(key[: len(path)]))}
    owners = {plain: key[: len(path) - 1] for key in values if (plain := _plain(key[: len(path) - 1]))}
    return spelled.get(path) or (*owners.get(path[:-1], path[:-1]), path[-1])


def _plain(key: Key) -> Key:
    return tuple(re.sub(r"[.-]", "_", part.lower()) for part in key)


def _not_toml(file: str, error: Exception) -> Finding:
    told = re.search(r"line ([0-9]{1,7})", str(error))
    line = int(told[1]) if told else 1
    return Finding("settings.not-toml", "error", file, Where(file, line), f"it is not TOML: {error}", "Mend the line.")
