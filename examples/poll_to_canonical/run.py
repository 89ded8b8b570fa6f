"""The poll at work, in `Lab`: `python run.py` prints what is asked of the CRM and what the others are told."""

from __future__ import annotations

import asyncio

from contacts import billing, contacts, crm, newsletter
from crm_log import page

from interlock.testing.lab import Lab


async def tell() -> None:
    """Two pages; between them the CRM is down for a moment, and billing is too."""
    lab = Lab(contacts)
    lab.system(crm).answers(page(0), 503, page(2))
    lab.system(billing).answers(503)
    async with lab:
        await lab.advance(minutes=1)
        for system in (crm, billing, newsletter):
            for call in lab.system(system).calls:
                told = f": {call.json}" if call.json else ""
                print(f"{system.name.partition('.')[2]:10}  {call.status}  {call.method} {call.target}{told}")


if __name__ == "__main__":
    asyncio.run(tell())
