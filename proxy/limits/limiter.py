"""Whether a request is within its limits, wherever these are counted."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.limits import Counters, refusal, take_all
from proxy.errors import LimitStoreDown
from proxy.limits.shared import Shared

if TYPE_CHECKING:
    from proxy.config.model import Config, RedisConfig
    from proxy.core.limits import Demand, Limit, Use
    from proxy.telemetry.metrics import Metrics

_log = logging.getLogger("gatelodge.limits")


class Limiter:
    """The limits of one generation of the configuration.

    What the one `before` has counted stays, once it is taken over (`take_over`); so does the
    connection to the server, if that is the same.
    `clock` never goes back. It is read when a request is counted and not when it began: one whose
    session took long to find would else count in the past, where less was used.
    """

    def __init__(
        self,
        config: Config,
        limits: Sequence[Limit],
        metrics: Metrics,
        before: Limiter | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises ValueError when limits are shared and the package for that is missing, and OSError
        when a file of the configuration cannot be used.
        """
        self.limits = tuple(limits)
        self._counters = Counters()
        self._used = self._counters.adopt(limits)
        self._metrics = metrics
        self._clock = clock
        self._on_failure = "local" if config.redis is None else config.redis.on_failure
        self.shared: Shared | None = None
        self._server = _server(config)
        if config.redis is None or not any(limit.shared for limit in limits):
            return
        if before is not None and before.shared is not None and before._server == self._server:
            self.shared = before.shared
        else:
            self.shared = _shared(config.redis, metrics)

    def __repr__(self) -> str:
        return f"<Limiter limits={len(self.limits)}>"

    async def start(self, before: Limiter | None = None) -> None:
        """Begin, beside the one `before`. A server that is away does not keep us from starting."""
        if self.shared is not None and not self._shares_with(before):
            await self.shared.start()

    def take_over(self, before: Limiter) -> None:
        """Go on with what was counted `before`, in the limits that are in both."""
        self._counters = before._counters
        self._used = self._counters.adopt(self.limits)
        self._counters.keep(self.limits)

    async def stop(self, after: Limiter | None = None) -> None:
        """End, but for what the one `after` goes on with."""
        if self.shared is not None and not self._shares_with(after):
            await self.shared.stop()

    def _shares_with(self, other: Limiter | None) -> bool:
        return other is not None and other.shared is self.shared

    def entries(self) -> list[tuple[Limit, int, int]]:
        """Return each limit with how many clients are remembered, and how many had to be
        forgotten.
        """
        return [(limit, len(counter), counter.dropped) for limit, counter in self._used.items()]

    def uses(self, demands: Sequence[Demand]) -> tuple[Use, ...] | None:
        """Return where a request with these demands is counted; None if not in this process
        alone.
        """
        if any(limit.shared for limit, _ in demands):
            return None
        return tuple([(self._used[limit], key) for limit, key in demands])

    async def take(self, demands: Sequence[Demand]) -> None:
        """Count a request. Raises RateLimited and LimitStoreDown.

        It is counted in none of the limits of this process, or of the server, if one of these
        refuses it. Those of the process come first: what they refuse costs the server nothing.
        """
        if self.shared is None:
            self._take_own(demands)
            return
        own = [demand for demand in demands if not demand[0].shared]
        if own:
            self._take_own(own)
        if len(own) == len(demands):
            return
        others = [demand for demand in demands if demand[0].shared]
        waits = await self.shared.take(others)
        if waits is not None:
            self._judge(others, waits)
        elif self._on_failure == "local":
            self._take_own(others)
        elif self._on_failure == "deny":
            raise LimitStoreDown("the server that counts requests cannot be asked")

    def _take_own(self, demands: Sequence[Demand]) -> None:
        uses = [(self._used[limit], key) for limit, key in demands]
        waits = take_all(uses, int(self._clock() * 1_000_000))
        if any(waits):
            self._judge(demands, waits)

    def _judge(self, demands: Sequence[Demand], waits: Sequence[int]) -> None:
        over = [(limit, wait) for (limit, _), wait in zip(demands, waits, strict=True) if wait > 0]
        for limit, _ in over:
            self._metrics.count_limited(limit.scope, limit.by, str(limit.rate))
        refused = refusal(over)
        if refused is not None:
            raise refused


def _server(config: Config) -> tuple[RedisConfig | None, bytes]:
    """Return all that a connection to the server depends on. Raises OSError."""
    authority = None if config.redis is None else config.redis.ca
    return config.redis, b"" if authority is None else authority.read_bytes()


def _shared(config: RedisConfig, metrics: Metrics) -> Shared:
    # Memory that a gateway which counts for itself has no use for.
    from proxy.limits.server import RedisServer

    return Shared(
        RedisServer(config),
        config.prefix,
        config.timeout,
        metrics,
        chance=random.random,
        changed=_log_change,
    )


def _log_change(problem: str) -> None:
    if problem:
        _log.warning("limit store is down", extra={"reason": problem})
    else:
        _log.info("limit store is up")
