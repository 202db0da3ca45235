"""The arena in which the attack cases of a module take place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.hostile.arena import Arena


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    arena = Arena(tmp_path_factory.mktemp("hostile"))
    yield arena
    await arena.aclose()
