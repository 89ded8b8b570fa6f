"""The shop: what it sends, as a pure sequence, and its sender, which knows nothing of Interlock.

It signs as Standard Webhooks 1.0.0 says, posts with Python's own HTTP client, and sends again what was not accepted.
"""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from interlock.cli.demo.chance import chance
from interlock.cli.demo.scenes import POISON_AT_US, POISON_SKU, POISONS, RATE
from interlock.core.limits import US_PER_SECOND
from interlock.core.ports import Clock, Offload

DUPLICATES: Final = 0.01
OUT_OF_ORDER: Final = 0.005
NEW_ORDERS: Final = 0.75
PAID: Final = "order.paid"
TIMEOUT_SECONDS: Final = 30
AGAIN_AFTER_US: Final = US_PER_SECOND
CONNECTIONS: Final = 4
"""What is about one order goes over one connection, so that its order is known."""


class Fact(NamedTuple):
    """One webhook of the shop, due at µs after the beginning. A duplicate has the id of the first one."""

    at_us: int
    kind: str
    order: str
    sku: str

    @property
    def id(self) -> str:
        """An order is paid, cancelled or refunded once at most."""
        return f"{self.order}-{self.kind.replace('.', '-')}"

    def body(self, seed: int) -> bytes:
        """What is signed and sent: for a duplicate the same bytes."""
        cents = 500 + int(chance(seed, self.order, "cents") * 9_500)
        return json.dumps(
            {"id": self.id, "type": self.kind, "order": self.order, "sku": self.sku, "cents": cents}
        ).encode()


def facts(seed: int) -> Iterator[Fact]:
    """What the shop sends, without an end: the same for the same seed."""
    settled: list[Fact] = []
    tick = number = poisons = 0
    while True:
        at_us = int((tick + chance(seed, tick, "jitter")) * US_PER_SECOND / RATE)
        is_poison = at_us >= POISON_AT_US and poisons < POISONS
        if is_poison or not settled or chance(seed, tick, "new") < NEW_ORDERS:
            number += 1
            poisons += is_poison
            sku = POISON_SKU if is_poison else f"S-{10 + int(chance(seed, number, 'sku') * 30)}"
            fact = Fact(at_us, PAID, f"o-{1_000 + number}", sku)
            if not is_poison and chance(seed, tick, "early") < OUT_OF_ORDER:
                # The shop's queues overtake each other: the refund comes before the payment.
                yield fact._replace(kind="refund.created")
            elif not is_poison:
                settled.append(fact)
        else:
            before = settled.pop(int(chance(seed, tick, "which") * len(settled)))
            kind = "order.cancelled" if chance(seed, tick, "kind") < 0.5 else "refund.created"
            fact = before._replace(at_us=at_us, kind=kind)
        yield fact
        if chance(seed, tick, "again") < DUPLICATES:
            yield fact
        tick += 1


class Shop:
    """Sends facts in their turn and keeps what it was answered.

    Attributes:
        accepted: the facts that were answered 202, by id, in the order of their acceptance.
        duplicates: how many were accepted again.
        refused: how many were sent until the shop closed, and never accepted.
    """

    def __init__(self, seed: int, secret: str, clock: Clock, threads: Offload) -> None:
        self.accepted: dict[str, Fact] = {}
        self.duplicates = 0
        self.refused = 0
        self._seed = seed
        self._key = b64decode(secret.removeprefix("whsec_"))
        self._clock = clock
        self._threads = threads
        self._is_open = True

    def close(self) -> None:
        """Send nothing more once the present fact is answered."""
        self._is_open = False

    async def send(self, url: str, began: int, until_us: int | None) -> None:
        """Send, from `began` on, what is due in so long; without an end, until `close`, if that is None."""
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._send(url, began, until_us, number))

    async def _send(self, url: str, began: int, until_us: int | None, number: int) -> None:
        """One connection: one fact after the other."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        for fact in facts(self._seed):
            if until_us is not None and fact.at_us >= until_us:
                break
            if int(chance(self._seed, fact.order, "connection") * CONNECTIONS) != number:
                continue
            await self._clock.sleep_until(began + fact.at_us)
            if not self._is_open or not await self._insist(connection, fact):
                break
            self.duplicates += fact.id in self.accepted
            self.accepted.setdefault(fact.id, fact)
        connection.close()

    async def _insist(self, connection: http.client.HTTPConnection, fact: Fact) -> bool:
        """Send until it is accepted, as shops do; false if the shop closes before."""
        while not await self._threads.run(lambda: self._is_accepted(connection, fact)):
            if not self._is_open:
                self.refused += 1
                return False
            await self._clock.sleep_until(self._clock.monotonic() + AGAIN_AFTER_US)
        return True

    def _is_accepted(self, connection: http.client.HTTPConnection, fact: Fact) -> bool:
        """Post it, on a thread of the shop's."""
        body = fact.body(self._seed)
        sent_at = str(self._clock.now() // US_PER_SECOND)
        signed = b".".join((fact.id.encode(), sent_at.encode(), body))
        signature = b64encode(hmac.new(self._key, signed, sha256).digest()).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": fact.id,
            "webhook-timestamp": sent_at,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            connection.request("POST", "/hooks/shop", body, headers)
            with connection.getresponse() as answer:
                answer.read()
                return answer.status == 202
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
