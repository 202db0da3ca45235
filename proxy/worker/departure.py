"""How clients are let go before a worker ends: told that it is about to, and then sent elsewhere.

First readiness is withdrawn while connections live on, so that load balancers look elsewhere in
time. Then every answer is the last on its connection, connections without a request are closed, and
WebSockets are told to come back. New connections are served all the while.
"""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.core.frames import RESTART
from proxy.gateway.arrival import Arrival, Arrivals
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.worker.quiet import Quiet
from proxy.worker.sockets import has_unread

if TYPE_CHECKING:
    from proxy.gateway.handler import Gateway

_log = logging.getLogger("gatelodge.worker")

_QUIET: Final = 1.0
"""Seconds without a request after which a connection counts as silent."""
_JITTER: Final = 2.0
"""Seconds over which WebSockets are closed, so that their clients do not all come back in one
moment.
"""


class Departure:
    """Lets go of clients. It begins when it is made; `turn` is to be called again and again.

    `delay`: seconds for which connections still live on. `timeout`: seconds that the end may take
    after that.
    """

    def __init__(
        self,
        gateway: Gateway,
        clients: ClientServer,
        arrivals: Arrivals,
        delay: float,
        timeout: float,
    ) -> None:
        self._gateway = gateway
        self._clients = clients
        self._arrivals = arrivals
        self._closes_at = monotonic() + delay
        grace = min(_QUIET, timeout / 4)
        self._quiet = Quiet[ClientConnection](grace, lambda client: client.read_deadline)
        self._quiet_arrivals = Quiet[Arrival](grace, lambda arrival: arrival.deadline)
        self._jitter = min(_JITTER, timeout / 2)
        self._told: set[ClientConnection] = set()
        self.closing = asyncio.Event()
        """Set when connections are being closed."""
        gateway.draining = True
        _log.info("draining", extra={"delay": round(delay, 1), "timeout": timeout})
        self._look()
        self.turn()

    def __repr__(self) -> str:
        return f"<Departure closing={self.closing.is_set()}>"

    def turn(self) -> None:
        """Do what the time has come for."""
        if monotonic() < self._closes_at:
            return
        self._gateway.closing = True
        self.closing.set()
        self._close_tunnels()
        self._close_idle()

    def _close_idle(self) -> None:
        """Close the connections that are silent and have no request, neither under way nor still to
        be read.
        """
        for silent in self._look():
            if not has_unread(silent.transport):
                silent.close_idle()

    def _look(self) -> list[ClientConnection | Arrival]:
        """Return the connections that have been silent for a while."""
        return [
            *self._quiet.look(self._clients.clients),
            *self._quiet_arrivals.look(self._arrivals.under_way),
        ]

    def _close_tunnels(self) -> None:
        """Close the WebSockets that are not told yet with 1012, spread over a while."""
        loop = asyncio.get_running_loop()
        tunnels = {client for client in self._clients.clients if client.tunnel is not None}
        self._told &= tunnels
        for client in tunnels - self._told:
            if client.tunnel is not None:
                self._told.add(client)
                # Spreads load; guessing it gains nobody anything.
                after = random.uniform(0, self._jitter)  # noqa: S311
                loop.call_later(after, client.tunnel.close, RESTART)
