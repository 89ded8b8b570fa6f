"""What may wait for the store, and what a sender hears when the store is full, failing, or being shut down.

A 202 is only ever said after the commit. Where it is unknown whether a commit happened, the sender is asked to send
again: the log recognises an event by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from interlock.core import limits
from interlock.core.errors import InterlockError, StoreBusy, StoreFull
from interlock.core.event import Appended, Draft
from interlock.core.ports import Emit
from interlock.edge.problem import problem
from interlock.journal.ports import AppendRefused, IdentityConflict, Journal
from interlock.wire.exchange import Exchange

Level = Literal["green", "amber", "red", "full"]

_AMBER: Final = 0.60
_RED: Final = 0.85
_DRAINING_RETRY_SECONDS: Final = 5
_IN_DOUBT_RETRY_SECONDS: Final = 1
_BUSY: Final = StoreBusy("intake.busy", "Too much waits for the store.", "Send again after Retry-After; send slower.")
_DRAINING: Final = InterlockError(
    "intake.draining", "This process is shutting down and takes nothing new.", "Send again after Retry-After."
)
_IN_DOUBT: Final = InterlockError(
    "store.in-doubt",
    "The store failed; it is not known whether the events were recorded.",
    "Send them again with the same ids: what was recorded is recognised.",
)


class Admission:
    """The gate before the journal. It counts what the edge has handed over and has no answer for yet."""

    def __init__(self, journal: Journal, emit: Emit) -> None:
        self._journal = journal
        self._emit = emit
        self._items = 0
        self._bytes = 0
        self.draining = False

    @property
    def level(self) -> Level:
        """How full the way to the store is: amber from 60 %, red from 85 %."""
        used = max(self._items / limits.WRITER_QUEUE_ITEMS_MAX, self._bytes / limits.WRITER_QUEUE_BYTES_MAX)
        return "full" if used >= 1 else "red" if used >= _RED else "amber" if used >= _AMBER else "green"

    @property
    def idle(self) -> bool:
        """Nothing that was handed over waits for its answer."""
        return self._items == 0

    def open(self, exchange: Exchange) -> bool:
        """Whether to read the request at all; otherwise it has been answered 503."""
        if self.draining:
            exchange.respond(503, *problem(503, _DRAINING, retry_after=_DRAINING_RETRY_SECONDS))
            return False
        if self._items >= limits.WRITER_QUEUE_ITEMS_MAX or self._bytes >= limits.WRITER_QUEUE_BYTES_MAX:
            self._refused(exchange, _BUSY)
            return False
        return True

    def append(self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Sequence[Appended]], None]) -> None:
        """Append in one commit and call `then` when it is durable; where it is not, the sender is answered here."""
        self._journal.submit(drafts, (), self._entered(exchange, drafts, then))

    def append_whole(
        self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Sequence[Appended] | IdentityConflict], None]
    ) -> None:
        """As `append`, all drafts or none: `then` is also told of identities that are known with another payload."""
        self._journal.submit_whole(drafts, self._entered(exchange, drafts, then))

    def _entered(
        self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Any], None]
    ) -> Callable[[Any], None]:  # Any: `append` and `append_whole` say which answers theirs are
        """Count what is handed over; what is called with the answer counts it out again."""
        size = 0
        for draft in drafts:
            size += len(draft.data)
        self._items += len(drafts)
        self._bytes += size

        def done(answer: Any) -> None:
            self._items -= len(drafts)
            self._bytes -= size
            if isinstance(answer, (AppendRefused, Exception)):
                self._refused(exchange, answer)
            else:
                then(answer)

        return done

    def _refused(self, exchange: Exchange, why: AppendRefused | Exception) -> None:
        error: InterlockError = _IN_DOUBT
        status, seconds = 503, _IN_DOUBT_RETRY_SECONDS
        if isinstance(why, StoreFull | StoreBusy):
            error, seconds = why, why.retry_after_seconds
            status = 507 if isinstance(why, StoreFull) else 503
        cause = why.code if isinstance(why, InterlockError) else type(why).__name__
        self._emit("intake.refused", status=status, code=error.code, cause=cause, level=self.level)
        exchange.respond(status, *problem(status, error, retry_after=seconds))
