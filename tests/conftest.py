"""Settings of the whole suite: Hypothesis without wall-clock deadlines, because tests share their processors."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("interlock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("interlock")
