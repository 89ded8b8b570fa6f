"""The router at work, in `Lab`: `python run.py` prints which order each side is asked to take."""

from __future__ import annotations

import asyncio

from orders import berlin, cold_store, desk, orders, reno

from interlock.testing.lab import Lab

ORDERS = [("o-1", "DE", False), ("o-2", "US", False), ("o-3", "AT", True), ("o-4", "JP", False), ("o-5", "FR", False)]


async def tell() -> None:
    """Five orders from the shop; Berlin is down at first."""
    async with Lab(orders) as lab:
        lab.system(berlin).answers(503, 503)
        for number, country, chilled in ORDERS:
            order = {"order": number, "country": country, "chilled": chilled}
            await lab.hook("POST /hooks/shop", order, signed_with="shop.webhook")
        await lab.settle()
        for system in (berlin, reno, cold_store, desk):
            for call in lab.system(system).calls:
                print(f"{system.name.partition('.')[2]:10}  {call.status}  {call.method} {call.target}: {call.json}")


if __name__ == "__main__":
    asyncio.run(tell())
