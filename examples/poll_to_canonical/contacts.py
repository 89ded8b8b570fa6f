"""A foreign log to a canonical form: what changes in the CRM is a party to everybody else.

The CRM sends no webhooks. It is asked every five minutes for what changed since a token, page by page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from interlock import Context, Event, Integration, Page

contacts = Integration("contacts", owner="crm-team", purpose="Whoever writes to a customer has the address of today")
crm = contacts.http("crm", honours_keys=True)
billing = contacts.http("billing", honours_keys=True)
newsletter = contacts.http("newsletter", honours_keys=True)


@dataclass(frozen=True)
class Changed:
    """A contact as the CRM has it, whole, after a change."""

    contact: str
    revision: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Party:
    """The canonical form: the same, whatever the CRM is."""

    id: str
    name: str
    email: str


changed = contacts.event("crm.contact-changed", Changed, key=lambda it: it.contact)
party = contacts.event("party.changed", Party, key=lambda it: it.id)


@contacts.poll(every=timedelta(minutes=5))
async def contact_changes(since: str | None, context: Context) -> Page:
    """One page of the CRM's log. The id is the CRM's: a change that is read twice is one event."""
    page = (await context.use(crm).get("/changes", params={"since": since or "0"})).json()
    found = [Changed(it["id"], it["rev"], it["fields"]) for it in page["changes"]]
    drafts = [changed.draft(it, id=f"{it.contact}@{it.revision}") for it in found]
    return Page(drafts, next=page["next"], more=page["more"])


@contacts.translate(changed, into=party, freshness=timedelta(minutes=1))
def to_party(raw: Changed) -> Party | None:
    """The one place that knows the CRM's names. A contact without an address is nobody's party."""
    fields = raw.fields
    if not fields.get("EMAIL_1"):
        return None
    name = f"{fields.get('FNAME', '')} {fields['LNAME']}".strip()
    return Party(raw.contact, name, fields["EMAIL_1"].lower())


@contacts.subscribe(party, on_dead="halt", freshness=timedelta(minutes=10))
async def tell_billing(event: Event[Party], context: Context) -> None:
    it = event.payload
    await context.use(billing).put(f"/debtors/{it.id}", json={"name": it.name, "email": it.email})


@contacts.subscribe(party, on_dead="skip", freshness=timedelta(hours=1))
async def tell_newsletter(event: Event[Party], context: Context) -> None:
    await context.use(newsletter).post("/readers", json={"email": event.payload.email})
