"""A gateway at work: what it is made of, and its two ends.

`drain` loses nothing: readiness is withdrawn while requests are still taken; then every answer is
the last on its connection, and idle connections close; then the listening socket closes, and what
is in flight is finished.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from proxy import __version__
from proxy.admin.app import LOG as ADMIN_LOG
from proxy.admin.app import admin_app
from proxy.core.frames import RESTART
from proxy.gateway.handler import Gateway
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.gateway.seeds import Seeds
from proxy.gateway.snapshot import take_snapshot
from proxy.telemetry import logs
from proxy.telemetry.access import AccessLog, as_json, as_text
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recorder import Recorder
from proxy.upstream.deadlines import Deadlines
from proxy.worker.sockets import bind, bound_address, has_unread, server_context
from proxy.worker.state import State

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from proxy.config.model import Config
    from proxy.session.store import Store

_log = logging.getLogger("gatelodge.worker")

_TICK: Final = 0.1
"""Seconds between two flushes of the access log, and between two looks at what still drains."""
_LAST_TURNS: Final = 5
"""Turns of the loop that the end of a connection takes: abort, connection_lost, the task's end."""
_GC_THRESHOLD: Final = 20_000
"""Objects made, less those freed, before the collector looks at the youngest generation."""
_JITTER: Final = 2.0
"""Seconds over which WebSockets are closed, so that their clients do not all come back in one
moment.
"""


class Worker:
    """One gateway: `start` it, then `drain` it (nothing is lost) or `stop` it (now).

    `addresses` says where its listeners "main" and "admin" are bound.
    """

    def __init__(self, config: Config, *, log_to: int = 2) -> None:
        """`log_to` is the file descriptor of the access log. Raises RuntimeError without
        aiohttp's C parser.
        """
        if HttpRequestParser is HttpRequestParserPy:
            # Half of aiohttp's advisories about request smuggling concern its Python parser.
            raise RuntimeError(
                "aiohttp runs without its C parser: unset AIOHTTP_NO_EXTENSIONS, "
                "or install its wheel"
            )
        self.config = config
        self.addresses: dict[str, str] = {}
        self._metrics = Metrics()
        self._access: AccessLog | None = None
        if config.log.access:
            render = as_json if logs.wants_json(config.log.format) else as_text
            self._access = AccessLog(log_to, render)

    def __repr__(self) -> str:
        return f"<Worker {self.addresses}>"

    async def start(self) -> None:
        """Open the listeners. Raises OSError when an address or a file of the configuration
        cannot be used.
        """
        loop = asyncio.get_running_loop()
        config, metrics = self.config, self._metrics
        self._deadlines = Deadlines(loop)
        snapshot = take_snapshot(config, 1, loop, self._deadlines, metrics)
        await self._start_stores(snapshot.stores)
        for pool in snapshot.pools.values():
            await pool.prepare()
        self._gateway = Gateway(
            snapshot, Recorder(metrics, self._access), clock=time.time, seeds=Seeds().take
        )
        tls = config.listen.tls
        context = None if tls is None else server_context(tls)
        self._clients = ClientServer(
            self._gateway, config.limits, self._deadlines, tls=tls is not None
        )
        self.state = State(self._gateway, self._clients, metrics, self.addresses, __version__)
        main, admin = _bind_both(config)
        self._admin = web.AppRunner(admin_app(self.state), access_log=None, logger=ADMIN_LOG)
        await self._admin.setup()
        await web.SockSite(self._admin, admin).start()
        self._announce("admin", admin)
        self._server = await loop.create_server(self._clients, sock=main, ssl=context)
        self._announce("main", main)
        for pool in snapshot.pools.values():
            pool.start()
        self._ticker = loop.call_later(_TICK, self._tick)
        # What is there by now stays, so the garbage collector need not look at it again; exchanges
        # make no cycles, so it need not look often.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        self.state.phase = "ready"

    async def _start_stores(self, stores: Mapping[str, Store]) -> None:
        """Start all stores, or none. Raises ValueError for one that cannot be used."""
        started: list[Store] = []
        try:
            for store in stores.values():
                await store.start()
                started.append(store)
        except ValueError:
            for store in started:
                await store.stop()
            raise

    def _announce(self, listener: str, bound: socket.socket) -> None:
        self.addresses[listener] = address = bound_address(bound)
        _log.info("listening", extra={"listener": listener, "address": address})

    def _tick(self) -> None:
        if self._access is not None:
            self._access.flush()
            self._metrics.log_lines_dropped = self._access.dropped
        self._ticker = asyncio.get_running_loop().call_later(_TICK, self._tick)

    async def drain(self) -> None:
        """End without losing a request: `drain.delay`, then at most `drain.timeout` seconds."""
        settings = self.config.drain
        self.state.phase = "draining"
        self._gateway.draining = True
        _log.info("draining", extra={"delay": settings.delay, "timeout": settings.timeout})
        await asyncio.sleep(settings.delay)
        self._gateway.closing = True
        jitter = min(_JITTER, settings.timeout / 2)
        told: set[ClientConnection] = set()
        self._close_tunnels(jitter, told)
        self._close_idle()
        self._server.close()
        end = time.monotonic() + settings.timeout
        while self._clients.clients and time.monotonic() < end:
            await asyncio.sleep(_TICK)
            self._close_idle()
            self._close_tunnels(jitter, told)
        cut = sum(client.busy for client in self._clients.clients)
        if cut:
            _log.warning("requests were cut off at drain.timeout", extra={"requests": cut})
        await self.stop()

    async def stop(self) -> None:
        """End now: whatever is in flight is cut off."""
        self._server.close()
        for client in self._clients.clients:
            client.abort()
        for pool in self._gateway.snapshot.pools.values():
            await pool.stop()
        for store in self._gateway.snapshot.stores.values():
            await store.stop()
        await self._admin.cleanup()
        self._ticker.cancel()
        self._deadlines.stop()
        # Connections that were aborted end at the loop's next turn, and with them their tasks and
        # log lines.
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        if self._access is not None:
            self._access.flush()
        self.state.phase = "stopped"

    def _close_idle(self) -> None:
        """Close the connections that have no request, neither under way nor still to be read."""
        for client in self._clients.clients:
            if not has_unread(client.transport):
                client.close_idle()

    def _close_tunnels(self, over: float, told: set[ClientConnection]) -> None:
        """Close the WebSockets that are not `told` yet with 1012, spread over `over` seconds."""
        loop = asyncio.get_running_loop()
        for client in self._clients.clients:
            if client.tunnel is not None and client not in told:
                told.add(client)
                # Spreads load; guessing it gains nobody anything.
                loop.call_later(random.uniform(0, over), client.tunnel.close, RESTART)  # noqa: S311


def _bind_both(config: Config) -> tuple[socket.socket, socket.socket]:
    """Return the main and the admin listener's sockets, or neither. Raises OSError."""
    main = bind(config.listen.address)
    try:
        return main, bind(config.admin)
    except OSError:
        main.close()
        raise
