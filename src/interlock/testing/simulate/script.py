"""What happens in one run, written down before it begins: what arrives, and what is broken when.

A script is drawn from a seed. Because it is a list, it can be made shorter until what it shows is plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, Literal, NamedTuple

import msgspec

from interlock.core.limits import US_PER_HOUR, US_PER_SECOND

Kind = Literal["crashes", "disk", "stalls", "restarts", "systems", "network", "operators", "clock", "duplicates"]
FAULTS: Final[dict[Kind, str]] = {
    "crashes": "the process is killed, at any step or around a commit, and started again",
    "disk": "a commit reports an error, before or after it took effect",
    "stalls": "the process stands still, or wakes as a zombie after its lease",
    "restarts": "the process is restarted in order",
    "systems": "a System is down, slow, limits, answers 5xx, 429 or noise, or not at all",
    "network": "connections are reset, and answers are lost after the call took effect",
    "operators": "somebody pauses a System or subscription, or retries dead letters",
    "clock": "the wall clock jumps",
    "duplicates": "the same thing arrives again",
}
"""Every kind of fault, in a line."""
Answering = Literal["503", "500", "429", "lost", "hang", "late", "garbage"]


class Kill(msgspec.Struct, frozen=True, tag=True):
    """The process is killed so many steps after this moment."""

    at: int
    steps: int


class Commit(msgspec.Struct, frozen=True, tag=True):
    """What befalls the first commit after this moment."""

    at: int
    how: Literal["killed-before", "killed-after", "failed-before", "failed-after"]


class Stall(msgspec.Struct, frozen=True, tag=True):
    """The process stands still. `replaced_after_us`: another one is started meanwhile, and it wakes as a zombie."""

    at: int
    asleep_us: int
    replaced_after_us: int | None = None


class Restart(msgspec.Struct, frozen=True, tag=True):
    """The process is asked to stop, and started again."""

    at: int


class Answered(msgspec.Struct, frozen=True, tag=True):
    """How a System treats the first request that it gets after this moment."""

    at: int
    system: str
    how: Answering


class Outage(msgspec.Struct, frozen=True, tag=True):
    """A System is down (503), limits (429), is slow or never answers, for a while."""

    at: int
    system: str
    how: Literal["down", "limiting", "slow", "hanging"]
    lasts_us: int


class Cut(msgspec.Struct, frozen=True, tag=True):
    """The connections to a host are reset; so is the next one, at a byte of its answers. "" is our own data port."""

    at: int
    host: str
    answer_byte: int


class Pause(msgspec.Struct, frozen=True, tag=True):
    """Somebody pauses a System or a subscription for a while."""

    at: int
    what: Literal["system", "subscription"]
    name: str
    lasts_us: int


class Retried(msgspec.Struct, frozen=True, tag=True):
    """Somebody retries the dead letters of a subscription."""

    at: int
    subscription: str


class Jump(msgspec.Struct, frozen=True, tag=True):
    """The wall clock jumps."""

    at: int
    by_us: int


Act = Kill | Commit | Stall | Restart | Answered | Outage | Cut | Pause | Retried | Jump


class Arriving(msgspec.Struct, frozen=True):
    """What arrives and when. `source`: a webhook (`POST /hooks/shop`) or the id of a type; `serial` names it."""

    at: int
    source: str
    serial: int


class Script(NamedTuple):
    """One run. Instants are µs from its start."""

    arrivals: Sequence[Arriving]
    acts: Sequence[Act]
    lasts_us: int


class Cast(NamedTuple):
    """Who may take part: the sources of what arrives, Systems and subscriptions by name."""

    sources: Sequence[str]
    systems: Sequence[str]
    subscriptions: Sequence[str]


def drawn(seed: int, cast: Cast, faults: Sequence[Kind]) -> Script:
    """The script of a seed. Each run has its own few kinds of faults: all at once hide what one alone would show."""
    chance = Random(f"{seed}/script")
    lasts_us = chance.choice((20, 60, 180)) * US_PER_SECOND
    arrivals = _arrivals(chance, cast, lasts_us) if cast.sources else []
    chosen: list[Kind] = [kind for kind in faults if chance.random() < 0.5]
    if "duplicates" in chosen:
        again = chance.sample(arrivals, min(len(arrivals), chance.randint(1, 4)))
        later = [msgspec.structs.replace(one, at=one.at + chance.randrange(lasts_us // 2)) for one in again]
        arrivals = sorted(arrivals + later, key=_at)
    acts: list[Act] = []
    for kind in chosen:
        acts += [act for _ in range(chance.randint(1, 4)) if (act := _drawn_act(kind, chance, cast, lasts_us))]
    return Script(arrivals, sorted(acts, key=_at), lasts_us)


def _arrivals(chance: Random, cast: Cast, lasts_us: int) -> list[Arriving]:
    count = chance.randint(4, 30)
    # Half of the runs bring everything in a few bursts: what is about the same thing then meets on the way.
    bursts = [chance.randrange(lasts_us) for _ in range(chance.randint(1, 4))] if chance.random() < 0.5 else []
    moments = [
        chance.choice(bursts) + chance.randrange(50_000) if bursts else chance.randrange(lasts_us) for _ in range(count)
    ]
    return [Arriving(at, chance.choice(cast.sources), serial) for serial, at in enumerate(sorted(moments), start=1)]


def _drawn_act(kind: Kind, chance: Random, cast: Cast, lasts_us: int) -> Act | None:
    at = chance.randrange(lasts_us)
    seconds = chance.choice((2, 8, 20, 90))
    match kind:
        case "crashes":
            if chance.random() < 0.5:
                return Kill(at, chance.choice((0, 10, 100, 1_000)))
            return Commit(at, chance.choice(("killed-before", "killed-after")))
        case "disk":
            return Commit(at, chance.choice(("failed-before", "failed-after")))
        case "stalls":
            asleep_us = int(chance.uniform(1, 150) * US_PER_SECOND)
            return Stall(at, asleep_us, chance.choice((None, asleep_us // 2)))
        case "restarts":
            return Restart(at)
        case "systems" if cast.systems:
            name = chance.choice(cast.systems)
            if chance.random() < 0.7:
                return Answered(at, name, chance.choice(("503", "500", "429", "hang", "late", "garbage")))
            return Outage(at, name, chance.choice(("down", "limiting", "slow", "hanging")), seconds * US_PER_SECOND)
        case "network":
            hosts = ["", *cast.systems]
            if cast.systems and chance.random() < 0.6:
                return Answered(at, chance.choice(cast.systems), "lost")
            return Cut(at, chance.choice(hosts), chance.randrange(300))
        case "operators":
            return _drawn_command(at, chance, cast, seconds)
        case "clock":
            return Jump(at, int(chance.choice((-1, 1)) * chance.uniform(1, 7_200) * US_PER_SECOND))
        case _:
            return None


def _drawn_command(at: int, chance: Random, cast: Cast, seconds: int) -> Act | None:
    lasts_us = seconds * US_PER_SECOND
    draw = chance.random()
    if draw < 0.4 and cast.systems:
        return Pause(at, "system", chance.choice(cast.systems), lasts_us)
    if not cast.subscriptions:
        return None
    subscription = chance.choice(cast.subscriptions)
    return Pause(at, "subscription", subscription, lasts_us) if draw < 0.6 else Retried(at, subscription)


def _at(one: Arriving | Act) -> int:
    return one.at


LATE_US: Final = US_PER_HOUR
"""How late an answer comes that comes too late."""


def told(act: Act) -> str:
    """What is broken, in words."""
    match act:
        case Kill():
            return "the process is killed"
        case Commit(how=how):
            when = "before it is durable" if how.endswith("before") else "once it is durable"
            return (
                f"the process is killed at a commit, {when}" if how.startswith("killed") else f"a commit fails {when}"
            )
        case Stall(asleep_us=asleep, replaced_after_us=None):
            return f"the process stands still for {_span(asleep)}"
        case Stall(asleep_us=asleep):
            return f"the process stands still for {_span(asleep)}, and another one takes over meanwhile"
        case Restart():
            return "the process is restarted in order"
        case Answered(system=system, how=how):
            return f"the next request to {system} {_TREATED[how]}"
        case Outage(system=system, how=how, lasts_us=lasts):
            return f"{system} is {how} for {_span(lasts)}"
        case Cut(host=host):
            return f"connections to {host or 'the data port'} are reset"
        case Pause(name=name, lasts_us=lasts):
            return f"somebody pauses {name} for {_span(lasts)}"
        case Retried(subscription=name):
            return f"somebody retries the dead letters of {name}"
        case Jump(by_us=by):
            return f"the wall clock jumps {'forward' if by > 0 else 'back'} by {_span(abs(by))}"


_TREATED: Final[dict[Answering, str]] = {
    "503": "is answered 503",
    "500": "is answered 500",
    "429": "is answered 429, come again in 2 s",
    "lost": "takes effect, and its answer is lost",
    "hang": "is never answered, and has no effect",
    "late": "takes effect, and is answered too late",
    "garbage": "takes effect, and its answer is noise",
}


def _span(us: int) -> str:
    seconds = us / US_PER_SECOND
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
