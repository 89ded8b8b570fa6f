"""What the gauges of the metrics page show, read from the running engine when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from interlock.call.breaker import State
from interlock.runtime.compose import Engine
from interlock.telemetry.metrics import Reading

_STATES: Final[tuple[str, ...]] = get_args(State)


def readings(engine: Engine) -> Iterator[Reading]:
    """The present values; everything is in memory."""
    for lane in engine.fleet.states():
        labels = (lane.subscription,)
        yield Reading("interlock_subscription_lanes_open", labels, lane.open)
        if lane.open:
            lag = engine.store.bounds(lane.shard)[1] - lane.floor
            yield Reading("interlock_subscription_lag", labels, lag)
            yield Reading("interlock_subscription_running", labels, lane.running)
            yield Reading("interlock_subscription_stragglers", labels, lane.stragglers)
            yield Reading("interlock_subscription_behind", labels, lane.behind)
    for name in engine.plan.systems:
        state = engine.systems.state(name)
        for each in _STATES:
            yield Reading("interlock_breaker_state", (name, each.replace("_", "-")), each == state.breaker)
        yield Reading("interlock_system_paused", (name,), state.paused)
        yield Reading("interlock_system_running", (name,), state.in_flight)
        yield Reading("interlock_system_waiting", (name,), state.waiting)
