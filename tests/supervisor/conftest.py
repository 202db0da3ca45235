"""What every test here gets: the loop of production, and a socket to serve."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made
