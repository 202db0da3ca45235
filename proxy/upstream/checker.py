"""Active health checks: one GET to one endpoint, by the way that requests take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.errors import ProxyError

if TYPE_CHECKING:
    from proxy.config.model import HealthConfig
    from proxy.upstream.endpoint import Endpoint


async def check(endpoint: Endpoint, health: HealthConfig) -> str:
    """Return why the endpoint is not well, "" if it is.

    Each check has a connection of its own, as a kept one would say nothing about new ones. Only
    the head of the answer counts, and no redirect is followed.
    """
    try:
        async with asyncio.timeout(health.timeout):
            status = await _ask(endpoint, health)
    except TimeoutError:
        return f"no answer within {health.timeout:g} s"
    except ProxyError as error:
        return error.reason or error.detail
    good = 200 <= status < 300 if health.status is None else status in health.status
    return "" if good else f"status {status}"


async def _ask(endpoint: Endpoint, health: HealthConfig) -> int:
    connection = await endpoint.dial(health.timeout)
    try:
        connection.begin(bodiless=False, upgrade=False)
        connection.write(_request(endpoint, health))
        while (answer := await connection.answer()).status < 200:
            pass
        return answer.status
    finally:
        connection.abort()


def _request(endpoint: Endpoint, health: HealthConfig) -> bytes:
    host = endpoint.authority.decode("ascii") if health.host is None else health.host
    lines = (
        f"GET {health.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: gatelodge-health",
        "Accept: */*",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")
