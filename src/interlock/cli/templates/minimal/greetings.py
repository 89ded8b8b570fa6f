"""Greetings reach the display: one event type, one System, one subscription."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from interlock import Context, Event, Integration

greetings = Integration("greetings", owner="your-team", purpose="A greeting is on the display within a minute")
display = greetings.http("display", honours_keys=True)


@dataclass(frozen=True)
class Greeting:
    """What happened. Greetings to one name stay in order."""

    name: str
    text: str


greeted = greetings.event("greeting.made", Greeting, version=1, key=lambda greeting: greeting.name)


@greetings.subscribe(greeted, on_dead="skip", freshness=timedelta(minutes=1), start="beginning")
async def show(event: Event[Greeting], context: Context) -> None:
    """Deadline, retries and the idempotency key are there without a word."""
    greeting = event.payload
    await context.use(display).post("/lines", json={"to": greeting.name, "text": greeting.text})
