"""Settings of the whole suite: Hypothesis without wall-clock deadlines, because tests share their processors.

The same examples are tried each time, so that a run says something about the change that it judges. New ones are looked
for with `make test ARGS=--hypothesis-profile=search`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("interlock", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("interlock"), derandomize=False, max_examples=1_000)
settings.load_profile("interlock")
