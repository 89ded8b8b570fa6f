"""The one root of every error that Interlock raises on purpose.

An error carries a stable dotted code, what went wrong and with which thing, and what to do about it. Expected
failures are values (`Outcome`, `Appended.duplicate`, `LeaseLost`), not exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping

DOCS_URL = "https://interlock.example/docs/errors/"


class InterlockError(Exception):
    """A refusal or a bug, told so that the reader can act on it.

    Args:
        code: a stable dotted slug, for example `spec.scope-unknown`; the documentation has a heading for each.
        message: what happened, and to which thing. Never a secret, never a body.
        remedy: what to do about it, as an imperative sentence.
        where: `file:line` of the user's code or configuration that it is about, if there is one.
        fields: further facts for machines.
    """

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str,
        *,
        where: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{message} ({code}). {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy
        self.where = where
        self.fields: Mapping[str, object] = fields or {}

    @property
    def docs(self) -> str:
        """The address of the page that explains this code."""
        return DOCS_URL + self.code


class SpecError(InterlockError):
    """A declaration or a binding that cannot be accepted: raised where it is written, or by `check`."""


class StoreError(InterlockError):
    """The store refused or failed. The write may or may not have happened unless the code says which."""


class StoreFull(StoreError):
    """The store has no room for this write; nothing of it was written. `retry_after_seconds` is a hint."""

    retry_after_seconds = 30


class StoreBusy(StoreError):
    """The queue before the store's writer is at its bound; nothing of it was written."""

    retry_after_seconds = 1


class RequestError(InterlockError):
    """Input from outside that is refused: malformed, too large, unsigned. Becomes problem+json at the edge."""
