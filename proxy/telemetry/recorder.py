"""Records exchanges: counted when they begin, counted and logged when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.exchange import Exchange
    from proxy.telemetry.access import AccessLog
    from proxy.telemetry.metrics import Metrics


class Recorder:
    """Takes note of every exchange; `access` is None when the access log is off."""

    def __init__(self, metrics: Metrics, access: AccessLog | None) -> None:
        self._metrics = metrics
        self.access = access

    def begin(self) -> None:
        """An exchange has begun."""
        self._metrics.in_flight += 1

    def end(self, x: Exchange, now: float) -> None:
        """The exchange `x` has ended, at `now` of time.monotonic."""
        seconds = now - x.started
        self._metrics.count(x, seconds)
        if self.access is not None:
            self.access.add(x, seconds)
