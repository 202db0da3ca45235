from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.core.session import Credential
from proxy.errors import RateLimited
from proxy.gateway.snapshot import Snapshot, take_snapshot
from proxy.telemetry.metrics import Metrics
from proxy.upstream.deadlines import Deadlines
from tests.support.exchanges import COOKIE, NOW, SECRET, config_of, token

TEXT = f"""
health_path: /healthz
sessions: {{web: {{secret: {SECRET}}}}}
upstreams:
  api: {{endpoints: [http://127.0.0.1:8000, http://127.0.0.1:8001]}}
  own: {{endpoints: [http://127.0.0.1:8002], host: upstream}}
routes: [{{path: /own/**, upstream: own}}, {{path: /**, upstream: api}}]
"""

Take = Callable[[str, Metrics], Snapshot]


@pytest.fixture
async def take() -> AsyncIterator[Take]:
    """Takes the snapshot of a text, on the loop that runs."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    yield lambda text, metrics: take_snapshot(config_of(text), 3, loop, deadlines, metrics)
    deadlines.stop()


async def test_rules_upstreams_and_configuration_belong_together(take: Take) -> None:
    snapshot = take(TEXT, Metrics())
    assert snapshot.generation == 3
    assert snapshot.config == config_of(TEXT)
    assert snapshot.health_path == "/healthz"
    assert [route.name for route in snapshot.rules.routes.rows()] == ["/own/**", "/**"]
    assert snapshot.pools.keys() == {"api", "own"}
    assert {route.upstream for route in snapshot.rules.routes.rows()} <= snapshot.pools.keys()
    assert [len(pool.endpoints) for pool in snapshot.pools.values()] == [2, 1]
    assert [pool.tells_own_host for pool in snapshot.pools.values()] == [False, True]


async def test_its_sessions_are_those_of_its_configuration(take: Take) -> None:
    metrics = Metrics()
    snapshot = take(TEXT, metrics)
    credential = Credential("web", "cookie", COOKIE, token("u-1"))
    session = await snapshot.resolver.resolve(credential, NOW)
    assert session.principal.id == "u-1"
    assert await snapshot.resolver.resolve(credential, NOW) is session
    # The next generation begins with nothing in memory: its secrets may be others.
    assert await take(TEXT, metrics).resolver.resolve(credential, NOW) is not session
    assert (metrics.session_cache_hits, metrics.session_cache_misses) == (1, 2)


async def test_a_snapshot_never_changes(take: Take) -> None:
    snapshot = take(TEXT, Metrics())
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.generation = 4  # type: ignore[misc]  # that it cannot be is what is tested


async def test_without_a_health_path_there_is_none(take: Take) -> None:
    assert take(TEXT.replace("health_path: /healthz", ""), Metrics()).health_path is None


async def test_a_file_that_cannot_be_used_is_an_error(take: Take, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    text = TEXT.replace(
        "{endpoints: [http://127.0.0.1:8002], host: upstream}",
        f"{{endpoints: ['https://127.0.0.1:8002'], tls: {{ca: {authority}}}}}",
    )
    config_of(text)  # read while the file is there
    with pytest.raises(ssl.SSLError):
        take(text, Metrics())
    authority.unlink()
    with pytest.raises(FileNotFoundError):
        take(text, Metrics())


async def test_limits_that_do_not_change_go_on_counting() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    limited = f"{TEXT}rate_limit: {{by: ip, rate: 2/h}}\n"
    first = take_snapshot(config_of(limited), 1, loop, deadlines, Metrics())
    [limit] = first.rules.rate_limits
    await first.limiter.take([(limit, "a")])
    await first.limiter.take([(limit, "a")])
    second = take_snapshot(
        config_of(limited.replace("/own/**", "/other/**")), 2, loop, deadlines, Metrics(), first
    )
    second.limiter.take_over(first.limiter)
    with pytest.raises(RateLimited):
        await second.limiter.take([(limit, "a")])
    changed = config_of(limited.replace("2/h", "3/h"))
    third = take_snapshot(changed, 3, loop, deadlines, Metrics(), second)
    third.limiter.take_over(second.limiter)
    [other] = third.rules.rate_limits
    await third.limiter.take([(other, "a")])
    deadlines.stop()
