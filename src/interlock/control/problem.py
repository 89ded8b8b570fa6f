"""Refusals on the control port: RFC 9457 problem documents with a code and a remedy, never a stack or a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from interlock.core.errors import InterlockError, StoreBusy, StoreError, StoreFull

MEDIA_TYPE = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong with the input: where (RFC 6901), and what."""

    pointer: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every answer that is not a success."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    retryable: bool = False
    retry_after: int | None = None
    errors: Sequence[FieldError] = ()


class Refused(InterlockError):
    """A request to the control port that is not carried out, with the status that says why."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        remedy: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, message, remedy)
        self.status = status
        self.errors = errors
        self.headers: Mapping[str, str] = headers or {}


def problem_of(error: InterlockError) -> Problem:
    """The document for an error. An error that has no status of its own is the caller's: 400."""
    status, retry_after = _status(error)
    return Problem(
        type=error.docs,
        title=_title(error.code),
        status=status,
        detail=error.message,
        code=error.code,
        remedy=error.remedy,
        retryable=retry_after is not None,
        retry_after=retry_after,
        errors=error.errors if isinstance(error, Refused) else (),
    )


def _status(error: InterlockError) -> tuple[int, int | None]:
    match error:
        case Refused():
            return error.status, None
        case StoreFull():
            return 507, error.retry_after_seconds
        case StoreBusy():
            return 503, error.retry_after_seconds
        case StoreError():
            return 503, 1
        case _:
            return 400, None


def _title(code: str) -> str:
    """The same words for the same code, as RFC 9457 3.1.4 wants; the page behind `type` says more."""
    subject, _, fault = code.partition(".")
    return f"{subject}: {fault.replace('-', ' ')}".capitalize()


_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def field_error(error: msgspec.ValidationError) -> FieldError:
    """What msgspec found, with its path as a JSON Pointer. Its messages name types, never values."""
    found = _AT.match(str(error))
    what, path = (found["what"], found["path"] or "") if found else (str(error), "")
    steps = ["".join(pair) for pair in _STEP.findall(path)]
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return FieldError(pointer, what)
