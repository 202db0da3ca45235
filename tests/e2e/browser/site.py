"""The gateway and the API behind it, and what each of them saw of a request."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.client import exchange
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

_NUMBERS: Final = itertools.count()
_PATIENCE: Final = 30.0
"""Seconds until a request that the browser was to send fails the test by not being in the log."""
_POLL: Final = 0.01
"""Seconds between two looks at the access log; a file tells nobody that it has grown."""


@dataclass(frozen=True)
class Tls:
    """The one certificate that all hosts show, and its key; `client` trusts it for localhost."""

    certificate: Path
    key: Path
    client: ssl.SSLContext

    def server(self) -> ssl.SSLContext:
        """Return the context of a server that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass
class Site:
    """The gateway's access log is read on from where it was, since the matrix makes it long."""

    gateway: GatewayProcess
    upstream: StubUpstream
    tls: Tls
    _lines: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _position: int = 0

    async def journal(self, path: str) -> list[dict[str, Any]]:
        """Return the access lines so far of requests for `path` and what is below it."""
        # A line is written after those of all exchanges that ended before.
        mark = f"/public/mark-{next(_NUMBERS)}"
        request = f"GET {mark} HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
        await exchange(self.gateway.port, request.encode(), tls=self.tls.client)
        await self._wait(lambda line: line.get("path") == mark)
        return [line for line in self._lines if _is_below(str(line.get("path")), path)]

    async def wait_for_journal(self, path: str) -> list[dict[str, Any]]:
        """Return what `journal` does, once there is something: some senders wait for no answer."""
        await self._wait(lambda line: line.get("path") == path)
        return await self.journal(path)

    def arrived(self, path: str) -> list[str]:
        """Return the methods with which `path`, or what is below it, was asked for at the API."""
        requests = self.upstream.requests
        return [request.method for request in requests if _is_below(request.path, path)]

    def users(self, path: str) -> list[str | None]:
        """Return as whom `path` was asked for at the API."""
        requests = self.upstream.requests
        return [request.get("X-User-Id") for request in requests if request.path == path]

    async def _wait(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not any(map(wanted, reversed(self._lines))):
                if not self._read_on():
                    await asyncio.sleep(_POLL)

    def _read_on(self) -> bool:
        """Take the whole lines that were written since; return whether there are any."""
        with self.gateway.log_file.open("rb") as log:
            log.seek(self._position)
            whole = log.read().rpartition(b"\n")[0]
        if not whole:
            return False
        self._position += len(whole) + 1
        self._lines += map(json.loads, whole.split(b"\n"))
        return True


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
