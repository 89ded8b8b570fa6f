"""The OpenAPI document: complete, resolvable, and the same as what the routes take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tests.unit.control.stage import Stage, staged

from interlock.control.openapi import document
from interlock.control.table import ENDPOINTS

DOCUMENT: Any = msgspec.json.decode(msgspec.json.encode(document(ENDPOINTS, "0.1.0")))


def refs(node: Any) -> Iterator[str]:
    match node:
        case {"$ref": str(ref)}:
            yield ref
        case dict():
            for value in node.values():
                yield from refs(value)
        case list():
            for value in node:
                yield from refs(value)
        case _:
            return


def test_every_endpoint_is_in_the_document_once() -> None:
    operations = [op for item in DOCUMENT["paths"].values() for op in item.values()]
    assert DOCUMENT["openapi"] == "3.1.0"
    assert sorted(op["operationId"] for op in operations) == sorted(endpoint.name for endpoint in ENDPOINTS)
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_every_reference_leads_somewhere_and_no_schema_is_left_over() -> None:
    used = set(refs(DOCUMENT))
    defined = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert used == defined


def test_path_parameters_are_declared_and_required() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert all("{" + name + "}" in path for name in in_path)
            assert path.count("{") == len(in_path)
            assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")


def test_every_operation_says_how_it_refuses() -> None:
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert operation["summary"].endswith(".")


def test_every_declared_parameter_is_taken() -> None:
    values = {"integer": "1", "boolean": "true", "string": "x"}

    async def scenario(stage: Stage) -> None:
        for path, item in DOCUMENT["paths"].items():
            for parameter in item.get("get", {}).get("parameters", []):
                if parameter["in"] == "query":
                    kind = str(parameter["schema"].get("type") or parameter["schema"]["anyOf"][0]["type"])
                    target = path.replace("{", "").replace("}", "")
                    answer = await stage.get(f"{target}?{parameter['name']}={values[kind]}")
                    assert answer.json().get("code") not in ("request.invalid", "request.unknown-member"), parameter

    staged(scenario)


def test_it_is_served_as_it_is() -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.get("/api/v1/openapi.json")).json() == DOCUMENT

    staged(scenario)
