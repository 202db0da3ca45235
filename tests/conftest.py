"""What every test gets: Hypothesis profiles without a deadline, since a machine may be slow, and a
PostgreSQL or a Valkey, if it asks for one.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.postgres", "tests.support.valkey"]

_SLOW = [HealthCheck.too_slow]

settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=_SLOW)
settings.register_profile("fuzz", deadline=None, max_examples=20_000, suppress_health_check=_SLOW)
settings.load_profile("default")
