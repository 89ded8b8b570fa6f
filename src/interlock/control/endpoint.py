"""A route of the admin API as one typed record: what it takes, what it gives.

Parsing, OpenAPI and the CLI's calls all come from it. It knows no web framework: the CLI reads it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

Caller = str
"""Who calls, as the Access port names it."""
BODY_BYTES_MAX: Final = 64 * 1024
"""A command names its subject by a selector, so it is small."""
C = TypeVar("C")


class Endpoint(NamedTuple, Generic[C]):
    """One operation. `C` is what its handler works on.

    Attributes:
        method: GET reads, POST commands.
        path: with `{name}` for each path parameter; they are fields of `takes` too.
        name: the operationId.
        summary: one sentence.
        takes: a struct of all path and query parameters and, for POST, the members of the body.
        gives: the answer's type.
        handler: `(context, caller, taken) -> answer`.
        tag: the noun it belongs to.
        body_bytes_max: what the body of a command may take.
        offline: it only reads the store, so the CLI may run it where no process does.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    takes: type[msgspec.Struct]
    gives: Any  # Any: msgspec takes any type form, there is no narrower static type for that.
    handler: Callable[[C, Caller, Any], Awaitable[object]]
    tag: str
    offline: bool = False
    body_bytes_max: int = BODY_BYTES_MAX

    @property
    def in_path(self) -> tuple[str, ...]:
        """Names of the path parameters, in order."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


def struct_types(endpoints: Sequence[Endpoint[Any]]) -> list[Any]:
    """Every type that the endpoints take or give, once, for the schemas of the document."""
    return list(dict.fromkeys(kind for endpoint in endpoints for kind in (endpoint.takes, endpoint.gives)))
