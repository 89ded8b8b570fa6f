"""What a refusal says on either port: the problem document of RFC 9457, with a code, a remedy and each thing wrong.

It holds no stack and no value from outside. Which status an error has, and how it is sent, is each port's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from interlock.core.errors import InterlockError
from interlock.spec.jsontext import PayloadError

MEDIA_TYPE: Final = "application/problem+json"
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+|\.\.\.)\]")
_EXPECTED: Final = re.compile(r"Expected (.+), got (.+)")


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a request.

    `pointer` is its place in the body (RFC 6901; "" is all of it), or `header` the field that holds it. `expected` and
    `got` name types and bounds, never a value.
    """

    message: str
    pointer: str | None = None
    header: str | None = None
    expected: str = ""
    got: str = ""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal. `docs` repeats `type` for those who do not know the RFC; `instance` names an event."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    docs: str
    retryable: bool
    retry_after: int | None = None
    instance: str | None = None
    errors: Sequence[Fault] = ()


def problem_of(
    error: InterlockError,
    status: int,
    *,
    retry_after: int | None = None,
    instance: str | None = None,
    errors: Sequence[Fault] = (),
) -> Problem:
    """The document for an error; `retry_after` in seconds says that trying again makes sense."""
    return Problem(
        type=error.docs,
        title=_title(error.code),
        status=status,
        detail=error.message,
        code=error.code,
        remedy=error.remedy,
        docs=error.docs,
        retryable=retry_after is not None,
        retry_after=retry_after,
        instance=instance,
        errors=errors,
    )


def fault_of(error: PayloadError, under: str = "") -> Fault:
    """What does not fit its model, with its place: `$.lines[2].sku` under "/data" is "/data/lines/2/sku"."""
    steps = ["".join(pair) for pair in _STEP.findall(error.path)]
    pointer = under + "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    types = _EXPECTED.search(error.message)
    expected, got = types.groups() if types else ("", "")
    return Fault(error.message, pointer, expected=expected, got=got)


def _title(code: str) -> str:
    """The same words for the same code (RFC 9457 3.1.4); the page behind `type` says more."""
    subject, _, fault = code.partition(".")
    return f"{subject}: {fault.replace('-', ' ')}".capitalize()
