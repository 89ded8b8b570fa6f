"""What persons ask of a lane that opens anew: nothing is answered before all that was answered has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.unit.delivery.bench_of_lanes import Chance, no_client
from tests.unit.delivery.model import ID, LedgerModel

from interlock.core.cursor import CursorId, Row
from interlock.core.requests import LaneRequest, decode_request
from interlock.delivery.attempt import Ports
from interlock.delivery.requests import Requests
from interlock.delivery.schedule import Terms
from interlock.delivery.tail import Tails
from interlock.delivery.turn import Turn
from interlock.journal.memory import Inline
from interlock.spec.plan import OnDead, RetryPolicy
from interlock.testing.clock import FakeClock


class NoRows:
    """A ledger without rows."""

    async def rows(self, cursor: CursorId, offsets: Sequence[int]) -> Sequence[Row]:
        return []


def test_a_request_waits_until_all_cells_have_been_read() -> None:
    async def story() -> None:
        clock, ledger = FakeClock(), NoRows()
        ports = Ports(clock, Chance(), Inline(), lambda *_, **__: None, no_client)
        requests = Requests(ID, ledger, ledger, ports, Tails())  # type: ignore[arg-type]
        turn = Turn(LedgerModel().open(), Terms(RetryPolicy(), OnDead("skip")), True, clock.now(), False)
        asked: Any = LaneRequest("retry", (1,), "ann", "a test", clock.now())
        requests.take("lane/shop.book/shop/0/job_1", asked)
        await requests.answer(turn, lambda: True)
        assert not turn.changes.any
        assert not requests.wait(clock.now())
        requests.all_read()
        assert requests.wait(clock.now())
        await requests.answer(turn, lambda: True)
        (cell,) = turn.changes.take()["cells"]
        assert cell.value is not None
        assert decode_request(cell.value).results == {1: "not-found"}

    asyncio.run(story())
