"""The integration in `Lab`: the production engine in memory, on a clock that only moves when the test says so."""

from __future__ import annotations

from greetings import Greeting, display, greeted, greetings

from interlock.testing.lab import Lab


async def test_a_greeting_survives_an_outage_of_the_display() -> None:
    async with Lab(greetings) as lab:
        lab.system(display).answers(503, 503, 201)
        await lab.send(greeted, Greeting("Ada", "good morning"))
        await lab.settle()
        assert lab.system(display).accepted == [{"to": "Ada", "text": "good morning"}]
        assert lab.subscription("greetings.show").stragglers == []
