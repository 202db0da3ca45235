"""proxy/worker/generations.py: what is started, what is kept and what is ended, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.session import Credential, Session
from proxy.gateway.snapshot import Snapshot
from proxy.limits.limiter import Limiter
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool
from proxy.worker.generations import Generations
from tests.support.exchanges import COOKIE, NOW, config_of
from tests.support.stores import FakeStore, row

TEXT = """
sessions: {web: {database: {url: "postgres://app@127.0.0.1:1/app"}}}
upstreams: {api: {endpoints: [http://127.0.0.1:8000]}}
routes: [{path: /**, upstream: api}]
"""
TOKEN = "0123456789abcdef"


@pytest.fixture
async def generations() -> AsyncIterator[Generations]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    yield Generations(loop, deadlines, Metrics())
    deadlines.stop()


def with_store(snapshot: Snapshot, store: FakeStore) -> Snapshot:
    """Return the snapshot with `store` for its session."""
    stores = {"web": store}
    resolver = Resolver(snapshot.config, snapshot.rules, Metrics(), stores)
    return replace(snapshot, stores=stores, resolver=resolver)


async def turns() -> None:
    """Let the loop turn often enough for whatever waits for nobody."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until `holds()`; what it waits for tells nobody."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Asked:
    """Somebody whose request is being decided by `snapshot`, whose store does not answer yet."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.store = FakeStore(row(TOKEN, NOW + 60))
        self.store.gate.clear()
        self.snapshot = with_store(snapshot, self.store)
        self.answer = asyncio.ensure_future(self._decide())

    async def _decide(self) -> Session:
        with self.snapshot.deciding:
            credential = Credential("web", "cookie", COOKIE, TOKEN)
            return await self.snapshot.resolver.resolve(credential, NOW)


async def test_a_store_is_stopped_when_nobody_asks_it_any_more(generations: Generations) -> None:
    first = await generations.build(config_of(TEXT))
    asked = Asked(first)
    await until(lambda: bool(asked.store.asked))
    new = await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    generations.retire(asked.snapshot, new)
    await turns()
    assert asked.store.problem == ""
    asked.store.gate.set()
    assert (await asked.answer).principal.id == "u-1"
    await until(lambda: asked.store.problem == "stopped")
    await generations.stop(new)
    await generations.stop(first)


async def test_stop_does_not_wait_for_a_store_that_does_not_answer(
    generations: Generations,
) -> None:
    first = await generations.build(config_of(TEXT))
    asked = Asked(first)
    await until(lambda: bool(asked.store.asked))
    new = await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    generations.retire(asked.snapshot, new)
    await generations.stop(new)
    assert asked.store.problem == "stopped"
    asked.answer.cancel()
    await generations.stop(first)


async def test_a_generation_that_cannot_be_built_leaves_the_stores_alone(
    generations: Generations, tmp_path: Path
) -> None:
    first = await generations.build(config_of(TEXT))
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")  # which a check takes for one
    text = TEXT.replace("api: {", f"api: {{tls: {{ca: {authority}}}, ").replace("http:", "https:")
    with pytest.raises(OSError):  # noqa: PT011 - its words are OpenSSL's
        await generations.build(config_of(text), first)
    [store] = first.stores.values()
    assert store.state().problem == "connection refused"
    assert (await generations.build(config_of(TEXT), first)).stores == first.stores
    await generations.stop(first)


class Limits(Limiter):
    """Limits of which `ended` says whether they were stopped."""

    ended = False

    async def stop(self, after: Limiter | None = None) -> None:
        self.ended = after is not None


async def test_stores_and_limits_wait_for_who_has_not_asked_them_yet(
    generations: Generations,
) -> None:
    first = await generations.build(config_of(TEXT))
    store, limits = FakeStore(row(TOKEN, NOW + 60)), Limits(first.config, (), Metrics())
    old = replace(with_store(first, store), limiter=limits)
    new = await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    with old.deciding:
        generations.retire(old, new)
        await turns()
        assert (store.problem, limits.ended) == ("", False)
    await until(lambda: store.problem == "stopped")
    assert limits.ended
    await generations.stop(new)
    await generations.stop(first)


async def test_a_generation_that_fails_late_ends_what_it_has_started(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_pool: Pool) -> None:
        raise RuntimeError

    stopped: list[Limiter | None] = []

    async def stop(_limiter: Limiter, after: Limiter | None = None) -> None:
        stopped.append(after)

    first = await generations.build(config_of(TEXT))
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "prepare", fail)
        patch.setattr(Limiter, "stop", stop)
        with pytest.raises(RuntimeError):
            await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    assert stopped == [first.limiter]
    await generations.stop(first)
