"""The shape of a payload model: its JSON Schema without names and prose, so that only what the wire sees counts.

Renaming a class, rewording a docstring or changing a default keeps the digest; a member, a type or a bound does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, cast

import msgspec

_PROSE = frozenset({"title", "description", "default", "examples", "$comment", "$defs"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DEFINITIONS = "#/$defs/"

Schema = Mapping[str, Any]  # Any: a JSON Schema is open JSON.


def digest(schema: Schema) -> str:
    """32 hexadecimal digits of the shape."""
    return blake2b(msgspec.json.encode(shape(schema), order="deterministic"), digest_size=16).hexdigest()


def shape(schema: Schema) -> object:
    """The schema without prose, its definitions numbered in the order of their first use."""
    definitions: Schema = schema.get("$defs", {})
    numbers: dict[str, int] = {}
    shapes: list[object] = []

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        members = cast("dict[str, Any]", node).items()
        return {name: member(name, value) for name, value in members if name not in _PROSE}

    def member(name: str, value: Any) -> Any:
        if name in _NAMED:
            return {key: walk(item) for key, item in value.items()}
        if name == "required":
            return sorted(value)
        if name == "$ref" and str(value).startswith(_DEFINITIONS):
            return reference(value.removeprefix(_DEFINITIONS))
        # The values of an enumeration are data, not schemas with prose.
        return value if name in {"enum", "const"} else walk(value)

    def reference(name: str) -> int:
        if name not in numbers:
            numbers[name] = len(numbers)
            shapes.append(None)
            shapes[numbers[name]] = walk(definitions[name])
        return numbers[name]

    root = walk(schema)
    return [root, shapes]
