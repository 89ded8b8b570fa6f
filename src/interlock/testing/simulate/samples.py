"""Payloads made up from a model's JSON Schema: small pools of values, so that keys meet again and again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, cast
from uuid import UUID

Schema = Mapping[str, Any]  # Any: a JSON Schema is open JSON.

POOL: Final = 4
"""Values that one member takes: few, so that two events are often about the same thing."""
ITEMS_MAX: Final = 3
DEPTH_MAX: Final = 6
"""Below this nothing optional is made up: a model may refer to itself."""
_FIRST_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)


def sample(schema: Schema, chance: Random) -> Any:
    """One value that fits a schema, as far as a schema can be met without trying: a pattern is not."""
    return _Sampler(schema.get("$defs", {}), chance).value(schema, "value", 0)


class _Sampler:
    def __init__(self, definitions: Mapping[str, Schema], chance: Random) -> None:
        self._definitions = definitions
        self._chance = chance

    def value(self, schema: Schema, name: str, depth: int) -> Any:
        """One value; `name` is that of the member that it is for."""
        if "$ref" in schema:
            return self.value(self._definitions[schema["$ref"].rpartition("/")[2]], name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.value(self._one_of(schema[word], depth), name, depth + 1)
        if "allOf" in schema:
            merged: dict[str, Any] = {}
            for part in cast("Sequence[Schema]", schema["allOf"]):
                merged |= self._definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            return self.value(merged, name, depth + 1)
        type = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(type, list):
            type = self._chance.choice(cast("list[str]", type))
        match type:
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "array":
                return self._array(schema, name, depth)
            case "object":
                return self._object(schema, name, depth)
            case "boolean":
                return self._chance.random() < 0.5
            case "null":
                return None
            case _:
                return self._text(schema, name)

    def _one_of(self, choices: Sequence[Schema], depth: int) -> Schema:
        plain = [choice for choice in choices if choice.get("type") == "null"] if depth > DEPTH_MAX else []
        return self._chance.choice(plain or choices)

    def _text(self, schema: Schema, name: str) -> str:
        number = self._chance.randrange(POOL)
        moment = _FIRST_DAY + timedelta(days=number, minutes=number)
        match schema.get("format"):
            case "date-time":
                return moment.isoformat()
            case "date":
                return moment.date().isoformat()
            case "time":
                return moment.time().isoformat()
            case "duration":
                return f"PT{number + 1}H"
            case "uuid":
                return str(UUID(int=number + 1))
            case "email":
                return f"{name}-{number}@mail.example"
            case "uri" | "uri-reference":
                return f"https://{name}-{number}.example/"
            case "decimal":
                return f"{number}.25"
            case _:
                pass
        if schema.get("contentEncoding") == "base64":
            return b64encode(f"{name}-{number}".encode()).decode()
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
        text = f"{name}-{number}".ljust(shortest, "-")
        return text if longest is None else text[-longest:] if longest else ""

    def _integer(self, schema: Schema) -> int:
        step = int(schema.get("multipleOf", 1)) or 1
        low, high = _bounds(schema, 1)
        first = -(-(0 if low is None else int(low)) // step)
        last = first + 5 if high is None else int(high) // step
        if low is None and high is not None:
            first = min(first, last - 5)
        return self._chance.randint(first, max(first, min(last, first + 1_000))) * step

    def _number(self, schema: Schema) -> float:
        low, high = _bounds(schema, 0.5)
        least = 0.0 if low is None else float(low)
        most = least + 10 if high is None else float(high)
        return round(self._chance.uniform(min(least, most), most), 2)

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        fixed = [self.value(item, name, depth + 1) for item in schema.get("prefixItems", ())]
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return fixed
        least = schema.get("minItems", 0)
        most = min(schema.get("maxItems", least + ITEMS_MAX), least + ITEMS_MAX)
        count = least if depth > DEPTH_MAX else self._chance.randint(least, max(least, most))
        more = [self.value(cast("Schema", items), name, depth + 1) for _ in range(max(0, count - len(fixed)))]
        if schema.get("uniqueItems"):
            more = list({str(value): value for value in more}.values())
        return fixed + more

    def _object(self, schema: Schema, name: str, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        made = {
            member: self.value(of, member, depth + 1)
            for member, of in cast("Mapping[str, Schema]", schema.get("properties", {})).items()
            if member in required or (depth <= DEPTH_MAX and self._chance.random() < 0.7)
        }
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping) and depth <= DEPTH_MAX:
            made[f"{name}-{self._chance.randrange(POOL)}"] = self.value(cast("Schema", others), name, depth + 1)
        return made


def _bounds(schema: Schema, step: float) -> tuple[float | None, float | None]:
    """The least and the most that a number may be."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    return low, high
