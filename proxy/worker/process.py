"""A gateway at work: what it is made of, and its two ends.

`drain` loses nothing: clients are let go (`proxy.worker.departure`), then the listening socket
closes, and what is in flight is finished.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from typing import TYPE_CHECKING, Final

from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from proxy import __version__
from proxy.admin.app import serve_admin
from proxy.gateway.arrival import Arrivals
from proxy.gateway.handler import Gateway
from proxy.gateway.listener import ClientServer
from proxy.gateway.seeds import Seeds
from proxy.telemetry import logs
from proxy.telemetry.access import AccessLog, Render, as_json, as_text
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recorder import Recorder
from proxy.upstream.deadlines import Deadlines
from proxy.worker.accepting import OWN, Accepting
from proxy.worker.certificates import Certificates
from proxy.worker.departure import Departure
from proxy.worker.descriptors import client_connections
from proxy.worker.generations import Generations
from proxy.worker.reload import Reloader
from proxy.worker.sockets import announce, bind_both
from proxy.worker.state import State
from proxy.worker.systemd import Notifier
from proxy.worker.watch import Watch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence

    from proxy.config.model import Config, Limits, LogConfig
    from proxy.gateway.snapshot import Snapshot
    from proxy.worker.source import ConfigSource

_log = logging.getLogger("gatelodge.worker")

_TICK: Final = 0.1
"""Seconds between two flushes of the access log, and between two looks at what still drains."""
_LAST_TURNS: Final = 5
"""Turns of the loop that the end of a connection takes: abort, connection_lost, the task's end."""
_GC_THRESHOLD: Final = 20_000
"""Objects made, less those freed, before the collector looks at the youngest generation."""


class Worker:
    """One gateway: `start` it, then `drain` it (nothing is lost) or `stop` it (now).

    `addresses` says where its listeners "main" and "admin" are bound.
    """

    def __init__(
        self,
        config: Config,
        source: ConfigSource,
        *,
        log_to: int = 2,
        given: Sequence[socket.socket] = (),
        notifier: Notifier | None = None,
    ) -> None:
        """Begin with `config`; a reload reads `source`.

        `log_to` is the file descriptor of the access log; `given` are sockets that listen already,
        to be used for the addresses that they have. Raises RuntimeError without aiohttp's C parser.
        """
        if HttpRequestParser is HttpRequestParserPy:
            # Half of aiohttp's advisories about request smuggling concern its Python parser.
            raise RuntimeError(
                "aiohttp runs without its C parser: unset AIOHTTP_NO_EXTENSIONS, "
                "or install its wheel"
            )
        self.addresses: dict[str, str] = {}
        self._config = config
        self._source = source
        self._given = given
        self._end_admin: Callable[[], Coroutine[None, None, None]] | None = None
        self._departure: Departure | None = None
        self.deaf = asyncio.Event()
        """Set when the drain has come to where no connection is accepted any more."""
        self.metrics = Metrics()
        self.reloader = Reloader(source, self._use, self.metrics, config, notifier or Notifier({}))
        self._access = AccessLog(log_to, _render(config.log))
        self._recorder = Recorder(self.metrics, self._access if config.log.access else None)

    def __repr__(self) -> str:
        return f"<Worker {self.addresses}>"

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._gateway.snapshot.config

    async def start(self, *, listens: bool = True) -> None:
        """Open the listeners; without `listens`, be ready for sockets that are added to
        `accepting`, for one who answers operators himself.

        Raises OSError when an address or a file of the configuration cannot be used, ValueError
        for a database that does not fit.
        """
        loop = asyncio.get_running_loop()
        config, metrics = self._config, self.metrics
        self._deadlines = Deadlines(loop)
        self._generations = Generations(loop, self._deadlines, metrics)
        snapshot = await self._generations.build(config)
        self._gateway = Gateway(snapshot, self._recorder, clock=time.time, seeds=Seeds().take)
        tls = config.listen.tls
        self._certificates = Certificates(tls, lambda: self._gateway.snapshot)
        self._clients = ClientServer(
            self._gateway, _with_room(config), self._deadlines, tls=tls is not None
        )
        self._arrivals = Arrivals(self._clients, metrics, config.listen, self._certificates.context)
        self.state = State(
            *(self._gateway, self._clients, metrics, self.addresses, __version__),
            *(self.reloader, self.depart),
        )
        self.accepting = Accepting(self._arrivals.factory)
        if listens:
            main, admin = bind_both(config, self._given)
            self._end_admin = await serve_admin(self.state, admin)
            await self.accepting.add(OWN, main)
            self.addresses["admin"] = announce("admin", admin)
            self.addresses["main"] = announce("main", main)
        self._generations.begin(snapshot)
        self._ticker = loop.call_later(_TICK, self._tick)
        watch = Watch(self._source, lambda: self.config.watch, self.reloader.ask)
        self._watch = loop.create_task(watch.run())
        self._certificates.watch()
        metrics.certificates = self._certificates.expiries
        # What is there by now stays, so the garbage collector need not look at it again; exchanges
        # make no cycles, so it need not look often.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        self.state.phase = "ready"
        self.reloader.begin()

    async def _use(self, config: Config) -> int:
        """Take another configuration into use and return its generation, or raise and change
        nothing.
        """
        snapshot = await self.prepare(config)
        self.commit(snapshot)
        return snapshot.generation

    async def prepare(self, config: Config) -> Snapshot:
        """Return the next generation, to `commit` or to `abandon`. Raises OSError and ValueError
        when there cannot be one, or the listener's certificate could not be used by the next start.
        """
        self._certificates.check()
        return await self._generations.build(config, self._gateway.snapshot)

    async def abandon(self, snapshot: Snapshot) -> None:
        """Give up a generation that was prepared."""
        await self._generations.abandon(snapshot, self._gateway.snapshot)

    def commit(self, snapshot: Snapshot) -> None:
        """Put a generation that was prepared in the place of the one before. It cannot fail."""
        before, config = self._gateway.snapshot, snapshot.config
        self._gateway.snapshot = snapshot
        self._clients.limits = _with_room(config)
        if config.log != before.config.log:
            self._access.render = _render(config.log)
            self._recorder.access = self._access if config.log.access else None
            logs.set_up(config.log.level, config.log.format)
        self._generations.retire(before, snapshot)
        self._certificates.watch()

    @property
    def _has_clients(self) -> bool:
        return bool(self._clients.clients or self._arrivals.under_way)

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(_TICK, self._tick)
        self._access.flush()
        self.metrics.log_lines_dropped = self._access.dropped
        if self._departure is not None:
            self._departure.turn()

    def depart(self, delay: float | None = None) -> Departure:
        """Let clients go while new ones are still served, until `drain` ends that: readiness is
        withdrawn now, connections close after `delay` seconds, `drain.delay` if None.

        The second time nothing happens.
        """
        if self._departure is None:
            settings = self.config.drain
            self.state.phase = "draining"
            self._departure = Departure(
                *(self._gateway, self._clients, self._arrivals),
                delay=settings.delay if delay is None else delay,
                timeout=settings.timeout,
            )
        return self._departure

    async def drain(self) -> None:
        """End without losing a request: what is left of `drain.delay`, then at most `drain.timeout`
        seconds.
        """
        await self.depart().closing.wait()
        await self.accepting.stop()
        self.deaf.set()
        _log.info("accepts no more connections", extra={"open": len(self._clients.clients)})
        end = time.monotonic() + self.config.drain.timeout
        while self._has_clients and time.monotonic() < end:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_TICK)
        cut = sum(client.busy for client in self._clients.clients)
        if cut:
            _log.warning("requests were cut off at drain.timeout", extra={"requests": cut})
        await self.stop()

    async def stop(self) -> None:
        """End now: whatever is in flight is cut off."""
        self.accepting.close()
        self._arrivals.stop()
        self._certificates.stop()
        for client in self._clients.clients:
            client.abort()
        self._watch.cancel()
        await self.reloader.stop()
        await self._generations.stop(self._gateway.snapshot)
        if self._end_admin is not None:
            await self._end_admin()
        self._ticker.cancel()
        self._deadlines.stop()
        # Connections that were aborted end at the loop's next turn, and with them their tasks and
        # log lines.
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        self._access.flush()
        self.state.phase = "stopped"


def _with_room(config: Config) -> Limits:
    """Return the limits, with as many connections as this process may have open."""
    return config.limits.model_copy(update={"connections": client_connections(config)})


def _render(settings: LogConfig) -> Render:
    return as_json if logs.wants_json(settings.format) else as_text
