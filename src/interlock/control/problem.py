"""Refusals on the control port: what is not carried out, and which status an error of the engine has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.core.errors import InterlockError, StoreBusy, StoreError, StoreFull
from interlock.spec.problem import Fault, Problem, problem_of


class Refused(InterlockError):
    """A request to the control port that is not carried out, with the status that says why."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        remedy: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, message, remedy)
        self.status = status
        self.errors = errors
        self.headers: Mapping[str, str] = headers or {}


def problem(error: InterlockError) -> Problem:
    """The document for an error. An error that has no status of its own is the caller's: 400."""
    status, retry_after = _status(error)
    errors = error.errors if isinstance(error, Refused) else ()
    return problem_of(error, status, retry_after=retry_after, errors=errors)


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
