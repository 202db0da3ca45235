"""What every story gets: the loop of production, an upstream, and a gateway in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.support.loops import pytest_asyncio_loop_factories
from tests.support.upstream import StubUpstream
from tests.support.worker import LocalGateway, settings

__all__ = ["pytest_asyncio_loop_factories"]


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as upstream:
        yield upstream
        assert upstream.violations == []


@pytest_asyncio.fixture
async def gateway(upstream: StubUpstream) -> AsyncIterator[LocalGateway]:
    async with LocalGateway(settings(upstream.url)) as gateway:
        yield gateway


@pytest.fixture
def passages(monkeypatch: pytest.MonkeyPatch) -> list[Passage]:
    """Every passage through the lane of the test, in order."""
    seen: list[Passage] = []
    enter = Gateway.enter

    def noting(self: Gateway, client: Any, data: bytes) -> Passage | None:
        passage = enter(self, client, data)
        if passage is not None:
            seen.append(passage)
        return passage

    monkeypatch.setattr(Gateway, "enter", noting)
    return seen
