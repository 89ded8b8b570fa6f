"""The OpenAPI 3.1 document of the admin API, made from the table of its endpoints, so it cannot differ from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from interlock.control.endpoint import Endpoint, struct_types
from interlock.spec.problem import MEDIA_TYPE, Problem

_REFS = "#/components/schemas/{name}"
Json = dict[str, Any]  # Any: a JSON document.


def document(endpoints: Sequence[Endpoint[Any]], version: str) -> Json:
    """The whole document.

    A command's body holds the members of its struct that are not in the path; a query takes those of its struct.
    """
    kinds = [*struct_types(endpoints), Problem]
    shapes, schemas = msgspec.json.schema_components(kinds, ref_template=_REFS)
    shape_of = dict(zip(kinds, shapes, strict=True))
    paths: dict[str, Json] = {}
    taken: set[str] = set()
    for endpoint in endpoints:
        schema = schemas[endpoint.takes.__name__]
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schema, shape_of)
        taken.add(endpoint.takes.__name__)
    # What an operation takes is written out where it is taken.
    kept = {name: schema for name, schema in schemas.items() if name not in taken}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Interlock admin API", "version": version},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {"schemas": kept, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint[Any], taken: Json, shape_of: Mapping[Any, Json]) -> Json:
    properties: dict[str, Json] = taken.get("properties", {})
    required: Sequence[str] = taken.get("required", ())
    outside = {name: shape for name, shape in properties.items() if name not in endpoint.in_path}
    operation: Json = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [_parameter(name, "path", properties[name], required=True) for name in endpoint.in_path],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": shape_of[endpoint.gives]}}},
            "default": {"description": "Refused.", "content": {MEDIA_TYPE: {"schema": shape_of[Problem]}}},
        },
    }
    if endpoint.method == "GET":
        operation["parameters"] += [
            _parameter(name, "query", shape, required=name in required) for name, shape in outside.items()
        ]
    else:
        needed = [name for name in required if name in outside]
        body: Json = {"type": "object", "properties": outside, "required": needed, "additionalProperties": False}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _parameter(name: str, place: str, shape: Json, *, required: bool) -> Json:
    return {"name": name, "in": place, "required": required, "schema": shape}
