"""What may wait for the store, and what a sender hears when the store is full, failing, or being shut down.

A 202 is only ever said after the commit. Where it is unknown whether a commit happened, the sender is asked to send
again: the log recognises an event by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from types import MappingProxyType
from typing import Any, Final, Literal

from interlock.core import limits
from interlock.core.errors import InterlockError, RequestError, StoreBusy, StoreFull
from interlock.core.event import Appended, Draft
from interlock.core.ports import Clock, Emit
from interlock.edge.problem import problem
from interlock.journal.ports import AppendRefused, IdentityConflict, Journal
from interlock.wire.exchange import Exchange

Level = Literal["green", "amber", "red", "full"]

_NONE: Final[Mapping[str, int]] = MappingProxyType({})
_DRAFT_BYTES: Final = limits.WRITER_QUEUE_BYTES_MAX // limits.WRITER_QUEUE_ITEMS_MAX
"""What a draft weighs beside its payload: by their number and by their size they fill the way alike."""
_AMBER: Final = 0.60
_RED: Final = 0.85
_DRAINING_RETRY_SECONDS: Final = 5
_IN_DOUBT_RETRY_SECONDS: Final = 1
_RETRY_SECONDS_MAX: Final = 60
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
    """The gate before the journal. It counts what the edge has handed over and has no answer for yet.

    When that becomes much, a tenant that has more of it than the others have on average is refused first: nobody's
    flood takes the way from the rest.
    """

    def __init__(self, journal: Journal, clock: Clock, emit: Emit) -> None:
        self._journal = journal
        self._clock = clock
        self._emit = emit
        self._items = 0
        self._bytes = 0
        self._tenants: dict[str, int] = {}
        self._busy_since = 0
        self._answered = 0
        self.draining = False

    @property
    def level(self) -> Level:
        """How full the way to the store is: amber from 60 %, red from 85 %."""
        used = self._used
        return "full" if used >= 1 else "red" if used >= _RED else "amber" if used >= _AMBER else "green"

    @property
    def _used(self) -> float:
        return max(self._items / limits.WRITER_QUEUE_ITEMS_MAX, self._bytes / limits.WRITER_QUEUE_BYTES_MAX)

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
            self._refuse(exchange, 503, _BUSY, self._drained_in_seconds())
            return False
        return True

    def _drained_in_seconds(self) -> int:
        """How long what waits now will take, at the pace since nothing waited last; 1 to 60."""
        elapsed_us = self._clock.monotonic() - self._busy_since
        answered = self._answered or self._items
        return min(max(1, ceil(elapsed_us * self._items / answered / limits.US_PER_SECOND)), _RETRY_SECONDS_MAX)

    def append(self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Sequence[Appended]], None]) -> None:
        """Append in one commit and call `then` when it is durable; where it is not, the sender is answered here."""
        if self._takes(exchange, drafts):
            self._journal.submit(drafts, (), self._entered(exchange, drafts, then))

    def append_whole(
        self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Sequence[Appended] | IdentityConflict], None]
    ) -> None:
        """As `append`, all drafts or none: `then` is also told of identities that are known with another payload."""
        if self._takes(exchange, drafts):
            self._journal.submit_whole(drafts, self._entered(exchange, drafts, then))

    def _takes(self, exchange: Exchange, drafts: Sequence[Draft]) -> bool:
        """Whether nobody in it has more than a fair share while much waits; otherwise it has been answered 429."""
        if len(self._tenants) < 2 or self._used < _RED:
            return True
        share = sum(self._tenants.values()) / len(self._tenants)
        for tenant in dict.fromkeys(draft.tenant for draft in drafts):
            if self._tenants.get(tenant, 0) > share:
                over = RequestError(
                    "intake.over-share",
                    f"Much waits for the store, and more of it is of tenant {tenant!r} than of others.",
                    "Send again after Retry-After; send slower.",
                )
                self._refuse(exchange, 429, over, self._drained_in_seconds())
                return False
        return True

    def _entered(
        self, exchange: Exchange, drafts: Sequence[Draft], then: Callable[[Any], None]
    ) -> Callable[[Any], None]:  # Any: `append` and `append_whole` say which answers theirs are
        """Count what is handed over; what is called with the answer counts it out again."""
        size = 0
        for draft in drafts:
            size += len(draft.data)
        if not self._items:
            self._busy_since, self._answered = self._clock.monotonic(), 0
        self._items += len(drafts)
        self._bytes += size
        tenants = _weights(drafts)
        for tenant, weight in tenants.items():
            self._tenants[tenant] = self._tenants.get(tenant, 0) + weight

        def done(answer: Any) -> None:
            self._items -= len(drafts)
            self._bytes -= size
            self._answered += len(drafts)
            for tenant, weight in tenants.items():
                left = self._tenants.pop(tenant) - weight
                if left:
                    self._tenants[tenant] = left
            if isinstance(answer, (AppendRefused, Exception)):
                self._failed(exchange, answer)
            else:
                then(answer)

        return done

    def _failed(self, exchange: Exchange, why: AppendRefused | Exception) -> None:
        error: InterlockError = _IN_DOUBT
        status, seconds = 503, _IN_DOUBT_RETRY_SECONDS
        if isinstance(why, StoreFull | StoreBusy):
            error, seconds = why, why.retry_after_seconds
            status = 507 if isinstance(why, StoreFull) else 503
        self._refuse(exchange, status, error, seconds, why)

    def _refuse(
        self,
        exchange: Exchange,
        status: int,
        error: InterlockError,
        seconds: int,
        why: AppendRefused | Exception | None = None,
    ) -> None:
        why = why or error
        cause = why.code if isinstance(why, InterlockError) else type(why).__name__
        self._emit("intake.refused", status=status, code=error.code, cause=cause, level=self.level)
        exchange.respond(status, *problem(status, error, retry_after=seconds))


def _weights(drafts: Sequence[Draft]) -> Mapping[str, int]:
    """What drafts add to what waits, by tenant; nothing where none has one."""
    if not any(draft.extensions for draft in drafts):
        return _NONE
    weights: dict[str, int] = {}
    for draft in drafts:
        weights[draft.tenant] = weights.get(draft.tenant, 0) + len(draft.data) + _DRAFT_BYTES
    return weights
