"""The registry against the code: every record that is emitted is known with its fields, and nothing else is known."""

from __future__ import annotations

import ast
from pathlib import Path

from interlock.telemetry.records import LEVELS, RECORDS, level_of

SOURCE = Path(__file__).parents[3] / "src" / "interlock"
OPEN_FIELDS = {"function.log"}
"""Whoever logs from a function chooses the fields."""


def emitted() -> dict[str, set[str]]:
    """Record -> the fields that it is emitted with, read from the source."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and called(node.func).lstrip("_") == "emit":
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str) and "testing" not in path.parts:
                    fields = found.setdefault(name.value, set())
                    fields.update(keyword.arg for keyword in node.keywords if keyword.arg)
    return found


def called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def test_every_record_that_is_emitted_is_registered_with_its_fields() -> None:
    for name, fields in emitted().items():
        assert name in RECORDS, f"{name} is not in telemetry/records.py"
        assert fields <= set(RECORDS[name].fields) or name in OPEN_FIELDS, (name, fields - set(RECORDS[name].fields))


def test_nothing_is_registered_that_nobody_emits() -> None:
    found = emitted()
    assert found.keys() == RECORDS.keys()
    for name, record in RECORDS.items():
        assert set(record.fields) == found[name], name


def test_records_are_named_by_their_noun_and_explained() -> None:
    for name, record in RECORDS.items():
        assert name.count(".") == 1
        assert name == name.lower()
        assert record.says.endswith(".")
        assert record.level in LEVELS
        assert not [field for field in record.fields if field.endswith(("_ms", "_seconds"))]


def test_a_record_that_nobody_registered_is_shown() -> None:
    assert level_of("nobody.knows") == "info"
