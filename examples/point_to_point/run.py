"""The link at work, in `Lab`: `python run.py` prints what goes in and what the ERP is asked."""

from __future__ import annotations

import asyncio

from shop_to_erp import erp, shop

from interlock.testing.lab import Lab


async def tell() -> None:
    """Three orders, one of them a test, to an ERP that is down at first."""
    async with Lab(shop) as lab:
        lab.system(erp).answers(503, 503)
        for number, test in (("o-1", False), ("o-2", True), ("o-3", False)):
            order = {"order": number, "customer": "c-7", "cents": 1990, "test": test}
            await lab.hook("POST /hooks/shop", order, signed_with="shop.webhook")
            print(f"in   order {number}{', a test of the till' if test else ''}: accepted")
        await lab.settle()
        for call in lab.system(erp).calls:
            print(f"out  {call.method} {call.target} {call.json['number']}: {call.status}")
        view = lab.subscription("shop.to_erp")
        print(f"end  {view.delivered} delivered, {len(view.dead)} dead, {len(view.stragglers)} waiting")


if __name__ == "__main__":
    asyncio.run(tell())
