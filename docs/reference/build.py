"""Writes the pages of the reference that the code knows best: limits, settings, telemetry, commands, JSON.

`make docs` runs it. A test compares the pages with what this gives, so none of them can grow old.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import click
import msgspec

from interlock.cli.answers import ANSWERS
from interlock.cli.exits import MEANINGS
from interlock.cli.main import root
from interlock.core import limits
from interlock.runtime import settings
from interlock.spec.span import write_span
from interlock.telemetry.metrics import GAUGES, RULES
from interlock.telemetry.records import RECORDS

HERE = Path(__file__).parent


class Bound(NamedTuple):
    """One constant of `core/limits.py`, the group that it stands in, and its reason."""

    group: str
    name: str
    value: object
    reason: str


def bounds() -> list[Bound]:
    """Every bound in the order of the source."""
    source = Path(limits.__file__).read_text()
    groups = {
        number: line[2:].rstrip(".") for number, line in enumerate(source.splitlines(), 1) if line.startswith("# ")
    }
    found: list[Bound] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            group = [text for line, text in groups.items() if line < node.lineno]
            if group and not name.startswith("_"):
                found.append(Bound(group[-1], name, getattr(limits, name), ""))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and found:
            found[-1] = found[-1]._replace(reason=" ".join(str(node.value.value).split()))
    return found


UNITS_US = (
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("µs", 1),
)
UNITS_BYTES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024), ("bytes", 1))


def shown(name: str, value: object) -> str:
    """A value with its unit, which is the last word of its name."""
    if isinstance(value, int):
        units = UNITS_US if name.endswith("_US") else UNITS_BYTES if "BYTES" in name else ()
        for unit, size in units:
            if value >= size and value % size == 0:
                return f"{value // size:,} {unit}"
        return f"{value:,}"
    return str(value)


def limits_page() -> str:
    """A table for each group of bounds."""
    lines = ["# Limits", "", "Every bound of the product, with its default and its reason (`core/limits.py`)."]
    group = ""
    for bound in bounds():
        if bound.group != group:
            group = bound.group
            lines += ["", f"## {group}", "", "| bound | default | reason |", "|---|---|---|"]
        lines.append(f"| `{bound.name}` | {shown(bound.name, bound.value)} | {bound.reason} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """A table for each section of `interlock.toml`."""
    sections = (
        settings.AppSettings,
        settings.StoreSettings,
        settings.DataSettings,
        settings.ControlSettings,
        settings.SystemSettings,
        settings.StreamSettings,
    )
    lines = ["# Settings", "", "What `interlock.toml`, its overlay, the environment and flags may set."]
    for section in sections:
        title, _, about = inspect.cleandoc(section.__doc__ or "").partition(": ")
        about = " ".join(about.partition("Attributes:")[0].split())
        lines += ["", f"## {title.strip('`')}", "", about[:1].upper() + about[1:]]
        lines += ["", "| key | default | meaning |", "|---|---|---|"]
        meant = meanings(section)
        for field in msgspec.structs.fields(section):
            lines.append(f"| `{field.encode_name}` | {shown_default(field)} | {meant[field.name]} |")
    lines += ["", "## [secrets]", "", 'Names of secrets, and where each is: `"env:NAME"` or `"file:PATH"`.']
    return "\n".join(lines) + "\n"


def meanings(section: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstrings of a section and of its bases say about attributes; `a, b: ...` is about both."""
    found: dict[str, str] = {}
    for each in section.__mro__:
        told = inspect.cleandoc(each.__doc__ or "").partition("Attributes:")[2]
        for names, meaning in re.findall(r"^ +([a-z_, ]+): (.+)$", told, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), meaning)
    return found


def shown_default(field: msgspec.structs.FieldInfo) -> str:
    """The default of a setting, as people write it."""
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT or value in (None, "", ()):
        return "none"
    if field.name.endswith("_us"):
        return f"`{json.dumps(write_span(value))}`"
    return f"`{json.dumps(value)}`"


def telemetry_page() -> str:
    """A heading for each record."""
    lines = ["# Telemetry", "", "What the process tells of itself. Names are stable.", "", "## Metrics", ""]
    lines += ["On the control port, `/metrics`, in the format of Prometheus or OpenMetrics.", ""]
    lines += ["| metric | kind | labels | what |", "|---|---|---|---|", *metric_rows()]
    lines += ["", "## Records", "", "The lines of the log as JSON, one a line. Most metrics are counted from them."]
    for record in sorted(RECORDS.values()):
        lines += [
            "",
            f"### {record.name}",
            "",
            f"{record.says}",
            "",
            f"Level {record.level}. Fields: {listed(record.fields)}.",
        ]
    return "\n".join(lines) + "\n"


def metric_rows() -> Iterator[str]:
    """A row for each metric: those that are counted, then those that are read."""
    told: set[str] = set()
    for rule in RULES:
        if rule.metric not in told:
            told.add(rule.metric)
            name, kind = (f"{rule.metric}_total", "counter") if rule.kind == "counter" else (rule.metric, "histogram")
            yield f"| `{name}` | {kind} | {listed(rule.labels)} | {rule.help} |"
    for name, (what, labels) in GAUGES.items():
        yield f"| `{name}` | gauge | {listed(labels)} | {what} |"


def listed(names: Iterable[str]) -> str:
    """Names in a cell of a table."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def contexts(context: click.Context) -> Iterator[click.Context]:
    """A command and those under it, each in its context: what `-h` is called is inherited from the root."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from contexts(click.Context(found, parent=context, info_name=name))


def commands_page() -> str:
    """A heading for each command: what it does, how it is called, its options."""
    lines = ["# Commands", "", "Standard output carries data, standard error everything that is said to people."]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    lines += ["", "`run` and `dev` end with 0 when a signal or Ctrl-C told them to stop and they have drained."]
    lines += ["", *OUTPUT.strip().splitlines()]
    for context in contexts(click.Context(root, info_name="interlock", **root.context_settings)):
        command, words = context.command, context.command_path
        usage = " ".join(command.collect_usage_pieces(context))
        lines += ["", f"## {words}", "", " ".join((command.help or "").split())]
        lines += ["", "```text", f"{words} {usage}".rstrip(), "```"]
        rows = [each.get_help_record(context) for each in command.get_params(context)]
        options = [row for row in rows if row is not None]
        if options:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += [f"| `{name.replace('|', chr(92) + '|')}` | {' '.join(what.split())} |" for name, what in options]
    return "\n".join(lines) + "\n"


def decisions_page() -> str:
    """A row for each decision record."""
    lines = [
        "# Decisions",
        "",
        "Why it is built so, and how we would notice that it is wrong.",
        "",
        "| | decision |",
        "|---|---|",
    ]
    for page in sorted((HERE.parent / "decisions").glob("[0-9]*.md")):
        title = page.read_text().partition("\n")[0].lstrip("# ")
        number, _, words = title.partition(". ")
        lines.append(f"| {int(number)} | [{words}]({page.name}) |")
    return "\n".join(lines) + "\n"


OUTPUT = """
## Output

`-o table` is for people: it fits the terminal, and where that is too narrow each row becomes a paragraph. No word is
cut. Text from outside is shown with its control characters escaped. `-o json` is one document of a stable shape, see
[the JSON reference](json.md). `-o csv` has the members of each row under their JSON names, instants in ISO 8601; text
that a spreadsheet would compute begins with an apostrophe. `-o id` is one id a line, for the next command. Ids and
fingerprints may be shortened to a unique beginning. Times are `2h` (ago), `today 09:00` or ISO 8601, in UTC.

Hints and colours are for terminals; `NO_COLOR` or `TERM=dumb` turns colours off, `--quiet` hints, banners and
progress. A command that has to ask asks at a terminal only, and not where `CI` is set: there it wants `--yes`.
"""


def members(kind: type[msgspec.Struct]) -> list[str]:
    """A table of the members of a struct."""
    lines = ["| member | type |", "|---|---|"]
    told = get_type_hints(kind)
    return lines + [f"| `{it.encode_name}` | {json_type(told[it.name])} |" for it in msgspec.structs.fields(kind)]


def json_type(kind: Any) -> str:
    """A type as JSON has it, in words; structs are linked."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if origin in (Union, UnionType):
        return " or ".join(json_type(each) for each in inner)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in inner)
    if origin is tuple:
        return "array of " + ", ".join(dict.fromkeys(json_type(each) for each in inner if each is not ...))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object of {json_type(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"array of {json_type(inner[0])}"
    return {str: "string", int: "integer", bool: "boolean", float: "number", NoneType: "null"}.get(kind, "any")


def structs_of(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs of a type, outermost first."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for told in get_type_hints(kind).values():
            yield from structs_of(told)
    for each in get_args(kind):
        yield from structs_of(each)


def json_page() -> str:
    """What each verb gives as JSON, and every struct in it."""
    lines = ["# JSON", "", *JSON_INTRODUCTION.strip().splitlines(), "", "| command | gives |", "|---|---|"]
    lines += [f"| `interlock {verb}` | {json_type(kind)} |" for verb, kind in ANSWERS.items()]
    for struct in dict.fromkeys(each for kind in ANSWERS.values() for each in structs_of(kind)):
        lines += ["", f"## {struct.__name__}", "", *inspect.cleandoc(struct.__doc__ or "").splitlines()]
        if struct.__struct_config__.omit_defaults:
            lines += ["", "A member that has nothing to say is left out."]
        lines += ["", *members(struct)]
    return "\n".join(lines) + "\n"


JSON_INTRODUCTION = """
What commands give with `-o json` (`check --format json`; `tail --json`, one object a line). The shapes are stable:
members are added, never renamed, removed or given another type without a major version. Instants (`_at`) are integer
microseconds since 1970 in UTC, durations (`_us`) integer microseconds. The admin API answers in the same shapes.
"""

PAGES = {
    "../decisions/README.md": decisions_page,
    "commands.md": commands_page,
    "json.md": json_page,
    "limits.md": limits_page,
    "settings.md": settings_page,
    "telemetry.md": telemetry_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
