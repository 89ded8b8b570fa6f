"""What arrives in a simulation: GitHub's own payloads. What must hold: tracker and chat have each activity once."""

from __future__ import annotations

from pathlib import Path
from random import Random

from github_activity import chat, happened, tracker

from interlock.testing.simulation import Arrival, Seen, Simulation

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))

sim = Simulation()


@sim.arrivals("POST /hooks/github")
def delivery(chance: Random) -> Arrival:
    """One of the real ones, under a delivery id of its own."""
    path = chance.choice(PAYLOADS)
    id = f"{chance.getrandbits(32):08x}"
    return Arrival(path.read_bytes(), {"x-github-event": path.name.split(".")[0]}, id)


@sim.invariant
def the_tracker_has_each_activity_once(seen: Seen) -> None:
    """Whatever was lost, repeated or restarted on the way."""
    filed = sorted(entry.json["delivery"] for entry in seen.effects(tracker))
    dead = sorted(it.delivery for it in seen.dead("github.file_in_tracker"))
    assert sorted(filed + dead) == sorted(it.delivery for it in seen.events(happened))


@sim.invariant
def the_chat_never_hears_of_an_activity_twice(seen: Seen) -> None:
    """It may miss one that nobody could deliver; it is `on_dead="skip"`."""
    told = [line.json["delivery"] for line in seen.effects(chat)]
    assert len(told) == len(set(told))
