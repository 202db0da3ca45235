"""A gateway inside the test's own event loop, in front of whatever endpoints the test names.

    async with StubUpstream() as upstream, LocalGateway(settings(upstream.url)) as gateway:
        answer = await exchange(gateway.port, request("GET", "/public/x"))

At the end of a test it fails it when the gateway has logged an error, or when an exception has
reached the event loop: what a client sees may be right while a task has died.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import yaml

from proxy.config.load import loads
from proxy.config.model import Config
from proxy.gateway.listener import ClientConnection
from proxy.worker import Worker
from proxy.worker.reload import Reloaded
from proxy.worker.source import Mark
from tests.support import mint
from tests.support.answers import Answer
from tests.support.client import exchange

SECRET: Final = "Zt4vTq1sJxVb7oQm2Lr9KfYc8NwHd5Ge"
OTHER_SECRET: Final = "p0QwLs6nXe3RzUi8aVtB4yMhGk2jCf7D"
HOST: Final = "api.example.com"
ORIGIN: Final = "https://app.example.com"
COOKIE: Final = mint.V5_COOKIE

Settings = dict[str, Any]


def settings(*endpoints: str, **sections: Any) -> Settings:
    """Return a configuration: the usual routes in front of `endpoints`, with short deadlines.

    `sections` replace those of the same name; in `upstream` are keys for the one upstream, `api`.
    """
    upstream = {"endpoints": list(endpoints), **sections.pop("upstream", {})}
    return {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "sessions": {"web": {"kind": "authjs", "secret": SECRET, "bearer": True}},
        "cors": {"origins": [ORIGIN], "expose": ["X-Total-Count"]},
        "upstreams": {"api": upstream},
        "routes": [
            {"path": "/public/**", "upstream": "api", "auth": "public"},
            {"path": "/optional/**", "upstream": "api", "auth": "optional"},
            {"path": "/admin/**", "upstream": "api", "require": {"roles": ["admin"]}},
            {"path": "/api/**", "upstream": "api"},
        ],
        "log": {"format": "json", "level": "info"},
        "drain": {"delay": "0s", "timeout": "5s"},
        **sections,
    }


def request(
    method: str, target: str, *lines: str, body: bytes | None = None, host: str | None = HOST
) -> bytes:
    """Return a request with these header lines; a `body` comes with its Content-Length."""
    head = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        head.append(f"Host: {host}")
    head += lines
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")


def token(sub: str = "u-1", *, secret: str = SECRET, cookie: str = COOKIE, **claims: Any) -> str:
    """Return a session token of Auth.js v5."""
    return mint.v5(mint.claims(sub, **claims), secret, cookie=cookie)


def signed_in(sub: str = "u-1", **claims: Any) -> str:
    """Return the header line of somebody who is signed in."""
    return f"Cookie: {COOKIE}={token(sub, **claims)}"


def _text_of(config: Settings | str) -> str:
    return config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)


class _Errors(logging.Handler):
    """Keeps what the gateway logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(logging.Formatter().format(record))


class _Pipe:
    """The access log's descriptor and what came out at its other end."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._closed = False
        self.data = bytearray()
        self.changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._reading, self.read)

    def read(self) -> None:
        if self._closed:
            return
        try:
            while piece := os.read(self._reading, 1 << 16):
                self.data += piece
                self.changed.set()
        except BlockingIOError:
            pass

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self.writing)
        self.read()
        self._closed = True
        os.close(self._reading)


class Text:
    """A configuration file that is no file: set `text`, and reload."""

    marks: Mapping[Path, Mark] = MappingProxyType({})

    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self.text = text
        self._env = env

    def read(self) -> Config:
        return loads(self.text, "test.yaml", self._env).config


class LocalGateway:
    """One worker. `expect_errors` lets a test provoke what is otherwise a fault of the gateway."""

    def __init__(
        self,
        config: Settings | str,
        *,
        env: Mapping[str, str] | None = None,
        expect_errors: bool = False,
    ) -> None:
        text = _text_of(config)
        self._env = env or {}
        self.source = Text(text, self._env)
        self.config = self.source.read()
        self.errors: list[str] = []
        self._expect_errors = expect_errors
        self._handler = _Errors()
        self._log: _Pipe | None = None
        self._worker: Worker | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_exception_handler(self._note)
        logging.getLogger("gatelodge").addHandler(self._handler)
        self._log = _Pipe()
        self._worker = Worker(self.config, self.source, log_to=self._log.writing)
        try:
            await self._worker.start()
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not self._stopped:
                await self.stop()
        finally:
            self._leave()
        if error is None and not self._expect_errors:
            faults = [*self.errors, *self._handler.records]
            assert not faults, "\n".join(faults)

    def _leave(self) -> None:
        # A worker freezes all that is there when it starts, for good, and a run of tests starts
        # thousands: what was garbage by then would stay, 2 GB in the end.
        gc.unfreeze()
        logging.getLogger("gatelodge").removeHandler(self._handler)
        assert self._log is not None
        self._log.close()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def reload(self, config: Settings | str) -> Reloaded:
        """Reload with another configuration. What stays is the listeners' addresses."""
        self.source.text = _text_of(config)
        return await self.worker.reloader.reload()

    async def stop(self, *, deadline: float = 10.0) -> None:
        """Stop the worker now. Raises TimeoutError when it does not."""
        self._stopped = True
        async with asyncio.timeout(deadline):
            await self.worker.stop()

    async def drain(self, *, deadline: float = 20.0) -> None:
        """Drain the worker, which stops it. Raises TimeoutError when it does not."""
        self._stopped = True
        async with asyncio.timeout(deadline):
            await self.worker.drain()

    @property
    def worker(self) -> Worker:
        """The worker."""
        assert self._worker is not None
        return self._worker

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self.worker.addresses["main"].rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        """The port of health, metrics and status."""
        return int(self.worker.addresses["admin"].rpartition(":")[2])

    @property
    def status(self) -> dict[str, Any]:
        """What `/-/status.json` says."""
        return self.worker.state.status()

    @property
    def clients(self) -> list[ClientConnection]:
        """The connections of clients."""
        return self.worker._clients.clients

    @property
    def endpoints(self) -> list[dict[str, Any]]:
        """The endpoints in the status, of all upstreams."""
        return [each for upstream in self.status["upstreams"] for each in upstream["endpoints"]]

    def log_text(self) -> str:
        """Return the access log so far."""
        assert self._log is not None
        self._log.read()
        return self._log.data.decode()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the whole lines of the access log so far."""
        return [json.loads(line) for line in self.log_text().split("\n")[:-1]]

    async def logged(
        self,
        wanted: Callable[[dict[str, Any]], bool] = lambda _line: True,
        *,
        deadline: float = 10.0,
    ) -> dict[str, Any]:
        """Wait for an access line for which `wanted` holds. Raises TimeoutError."""
        assert self._log is not None
        async with asyncio.timeout(deadline):
            while True:
                self._log.changed.clear()
                for line in self.log_lines():
                    if wanted(line):
                        return line
                await self._log.changed.wait()

    async def ask(self, method: str, target: str, *lines: str, body: bytes | None = None) -> Answer:
        """Send one request on a connection of its own and return its answer."""
        return await exchange(self.port, request(method, target, *lines, body=body), method=method)

    async def until(self, holds: Callable[[], bool], *, deadline: float = 10.0) -> None:
        """Let the loop turn until `holds()`. Raises TimeoutError."""
        async with asyncio.timeout(deadline):
            while not holds():  # noqa: ASYNC110 - a gateway's state tells nobody that it changed
                await asyncio.sleep(0.005)
