"""What every test gets: Hypothesis profiles without a deadline, since a machine may be slow, and a
PostgreSQL or a Valkey, if it asks for one.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.postgres", "tests.support.valkey"]

_SLOW = [HealthCheck.too_slow]

settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=_SLOW)
# `make fuzz` repeats all property tests until its time is over, so that none of them is left out.
settings.register_profile("fuzz", deadline=None, max_examples=400, suppress_health_check=_SLOW)
settings.load_profile("default")
