"""The JSON of every verb: of the type that the reference names, and never less than it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from tests.unit.cli.project import BOOK, Project

from interlock.cli.answers import ANSWERS
from interlock.cli.main import root

SHAPES = Path(__file__).with_name("json_shapes.json")
STORED = (
    ("events ls",),
    ("events show", "EVENT"),
    ("dead ls",),
    ("dead show", "fp_aaaaaaaaaaaa"),
    ("dead show", "DEAD"),
    ("dead blocked",),
    ("dead jobs",),
    ("subscriptions ls",),
    ("subscriptions show", BOOK),
    ("config show",),
    ("secrets ls",),
    ("doctor",),
)


def leaves() -> list[tuple[str, click.Command]]:
    """Every command with its words."""
    context = click.Context(root)
    found: list[tuple[str, click.Command]] = []
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        below = command.commands if isinstance(command, click.Group) else {"": command}
        found += [(f"{name} {word}".strip(), leaf) for word, leaf in below.items()]
    return found


def has_output(command: click.Command) -> bool:
    return any("--output" in parameter.opts for parameter in command.params)


def test_every_verb_with_an_output_has_its_shape_in_the_reference() -> None:
    spoken = {words for words, leaf in leaves() if has_output(leaf)}
    assert spoken - ANSWERS.keys() == set()
    assert ANSWERS.keys() - spoken == {"check", "tail"}


def test_every_listing_takes_the_four_outputs() -> None:
    for words, leaf in leaves():
        if words.endswith((" ls", " show")) or has_output(leaf):
            (output,) = [parameter for parameter in leaf.params if "--output" in parameter.opts]
            assert isinstance(output.type, click.Choice)
            assert list(output.type.choices) == ["table", "json", "csv", "id"], words


@pytest.mark.parametrize("asked", STORED, ids=lambda asked: asked[0])
def test_what_a_verb_gives_is_what_the_reference_says(project: Project, asked: tuple[str, ...]) -> None:
    project.with_history()
    words, *arguments = asked
    event = project.interlock("events", "ls", "-n", "1", "-o", "id").out.strip()
    dead = project.interlock("dead", "show", "fp_aaaaaaaaaaaa", "-o", "id").out.split()[0]
    arguments = [{"EVENT": event, "DEAD": dead}.get(argument, argument) for argument in arguments]
    said = project.interlock(*words.split(), *arguments, "-o", "json")
    given = msgspec.json.decode(said.out, type=ANSWERS[words])
    assert json.loads(msgspec.json.encode(given)) == json.loads(said.out)
    rows = project.interlock(*words.split(), *arguments, "-o", "csv").out
    assert rows.count("\n") >= 1


def shapes() -> dict[str, dict[str, Any]]:
    """The members and their types of every struct that a verb gives, as JSON Schema has them."""
    _, named = msgspec.json.schema_components(list(ANSWERS.values()), ref_template="{name}")
    kept = ("type", "$ref", "anyOf", "items", "additionalProperties", "enum", "prefixItems")
    return {
        name: {
            member: {key: value for key, value in told.items() if key in kept}
            for member, told in shape.get("properties", {}).items()
        }
        for name, shape in sorted(named.items())
        if "properties" in shape
    }


def test_a_member_is_only_added_never_renamed_removed_or_given_another_type() -> None:
    """A deliberate addition is recorded here; whatever else this finds breaks somebody's script."""
    recorded = json.loads(SHAPES.read_text())
    present = shapes()
    broken = [
        f"{name}.{member}"
        for name, members in recorded.items()
        for member, told in members.items()
        if present.get(name, {}).get(member) != told
    ]
    assert broken == []
    unrecorded = {name: members for name, members in present.items() if recorded.get(name) != members}
    assert unrecorded == {}, f"add to {SHAPES.name}: {json.dumps(unrecorded)}"
