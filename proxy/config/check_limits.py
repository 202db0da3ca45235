"""Can the rate limits be kept as they are configured, and the server be asked that counts them?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.redis_url import parse_redis_url

if TYPE_CHECKING:
    from proxy.config.model import Config, RateLimit, RedisConfig
    from proxy.config.problems import Loc, Report

_FULL_SECONDS_MAX: Final = 3650 * 86400
"""Ten years. Longer spans of microseconds are no exact numbers in Redis."""


def check_limits(config: Config, report: Report) -> None:
    """Check the limits of the top level and of every route, and `redis`."""
    places: list[tuple[Loc, tuple[RateLimit, ...]]] = [(("rate_limit",), config.rate_limit)]
    places += [
        (("routes", position, "rate_limit"), route.rate_limit or ())
        for position, route in enumerate(config.routes)
    ]
    for loc, limits in places:
        _check(limits, loc, config.redis, report)
    if config.redis is not None:
        _check_redis(config.redis, report)


def _check(
    limits: tuple[RateLimit, ...], loc: Loc, redis: RedisConfig | None, report: Report
) -> None:
    seen: set[object] = set()
    for position, limit in enumerate(limits):
        at: Loc = (*loc, position)
        if limit.shared and redis is None:
            report.add((*at, "shared"), "is counted in Redis: say where it is, in redis.url")
        if (limit.by, limit.rate) in seen:
            report.add((*at, "rate"), f"there is a limit of this rate by {limit.by} already")
        seen.add((limit.by, limit.rate))
        burst = limit.burst or limit.rate.count
        if burst * limit.rate.seconds > _FULL_SECONDS_MAX * limit.rate.count:
            message = "must be smaller: at this rate it would take more than ten years to be free"
            report.add((*at, "burst"), message)


def _check_redis(redis: RedisConfig, report: Report) -> None:
    try:
        address = parse_redis_url(redis.url.get_secret_value())
    except ValueError as error:
        report.add(("redis", "url"), str(error))
        return
    if address.password is not None and redis.password is not None:
        message = "the URL has a password too: leave one of them out"
        report.add(("redis", "password"), message, key=True)
    if redis.ca is not None and not address.tls:
        report.add(("redis", "ca"), "is for TLS: the URL must begin with rediss://", key=True)
