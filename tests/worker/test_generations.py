"""proxy/worker/generations.py: what is started, what is kept and what is ended, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.session import Credential
from proxy.gateway.snapshot import Snapshot
from proxy.session.resolver import Resolver
from proxy.telemetry.metrics import Metrics
from proxy.upstream.deadlines import Deadlines
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


async def test_a_store_is_stopped_when_it_has_answered(generations: Generations) -> None:
    first = await generations.build(config_of(TEXT))
    store = FakeStore(row(TOKEN, NOW + 60))
    old = with_store(first, store)
    store.gate.clear()
    asked = asyncio.ensure_future(
        old.resolver.resolve(Credential("web", "cookie", COOKIE, TOKEN), NOW)
    )
    await until(lambda: bool(store.asked))
    new = await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    generations.retire(old, new)
    await turns()
    assert store.problem == ""
    store.gate.set()
    assert (await asked).principal.id == "u-1"
    await until(lambda: store.problem == "stopped")
    await generations.stop(new)
    await generations.stop(first)


async def test_stop_does_not_wait_for_a_store_that_does_not_answer(
    generations: Generations,
) -> None:
    first = await generations.build(config_of(TEXT))
    store = FakeStore(row(TOKEN, NOW + 60))
    old = with_store(first, store)
    store.gate.clear()
    asked = asyncio.ensure_future(
        old.resolver.resolve(Credential("web", "cookie", COOKIE, TOKEN), NOW)
    )
    await until(lambda: bool(store.asked))
    new = await generations.build(config_of(TEXT.replace("web:", "other:")), first)
    generations.retire(old, new)
    await generations.stop(new)
    assert store.problem == "stopped"
    asked.cancel()
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
