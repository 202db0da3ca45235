"""The corridor: the whole way of a request, from its head to its record.

    head -> decide -> (Reply | Permit) -> respond | forward -> record

No middlewares and no hooks: what happens to a request happens here, in this order, and every error
ends in one place.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.core import framing
from proxy.core.decision import Permit, decide
from proxy.core.exchange import CLIENT_GONE, Exchange
from proxy.core.head import RequestHead
from proxy.errors import Internal, ProxyError
from proxy.gateway import respond
from proxy.gateway.body import RequestBody
from proxy.gateway.forward import forward
from proxy.gateway.passage import Passage

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.gateway.downstream import Downstream, Payload
    from proxy.gateway.snapshot import Snapshot
    from proxy.telemetry.recorder import Recorder

_log = logging.getLogger("gatelodge.gateway")

_UNTRUSTED: Final = (
    "a peer that is not trusted sends forwarding headers, which are dropped; if it is your load "
    "balancer, list its address in trusted_proxies"
)


class Gateway:
    """Answers requests by the rules of its `snapshot`; a request keeps the one it began with.

    `clock` is Unix time in seconds, `seeds` gives 48 random hex digits at each call.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        recorder: Recorder,
        *,
        clock: Callable[[], float],
        seeds: Callable[[], str],
    ) -> None:
        self.snapshot = snapshot
        self.draining = False
        """Not ready any more: load balancers are told on `health_path`."""
        self.closing = False
        """Every answer is the last on its connection."""
        self._warned = False
        self._recorder = recorder
        self._clock = clock
        self._seeds = seeds

    def enter(self, client: Downstream, data: bytes) -> Passage | None:
        """Send the request of `data` through the lane, if that is a head which was permitted
        before; else None.
        """
        snapshot = self.snapshot
        found = snapshot.lane.find(data, client.whoever, self._clock())
        if found is None or self.closing:
            return None
        known, values = found
        attempt = snapshot.lane.attempt(known)
        if attempt is None:
            return None
        x = self._begin(client, known.x.head, snapshot)
        return Passage(x, known, values, attempt, snapshot, client, self._recorder, self.handle)

    def trusts(self, peer: str) -> bool:
        """Whether the peer of a connection is one of `trusted_proxies`."""
        return self.snapshot.rules.proxies.trusts(peer)

    async def handle(
        self, client: Downstream, head: RequestHead, payload: Payload, begun: Passage | None = None
    ) -> bool:
        """Answer one request, or go on with one that has `begun` in the lane; return whether the
        client's connection can carry another one.
        """
        snapshot = begun.snapshot if begun else self.snapshot
        body = RequestBody(client, payload, head)
        if head.target == snapshot.health_path and framing.is_served(head, snapshot.rules.limits):
            close = client.closes or not body.complete
            client.write(respond.health(head, self._clock(), draining=self.draining, close=close))
            return not close
        x = begun.x if begun else self._begin(client, head, snapshot)
        try:
            if begun:
                begun.check()
                return await forward(x, begun.permit, snapshot, client, body, begun.attempt)
            with snapshot.deciding:
                outcome = await decide(
                    x, snapshot.rules, snapshot.resolver.resolve, snapshot.limiter.take
                )
            if isinstance(outcome, Permit):
                snapshot.lane.learn(x, outcome, last=client.closes)
                return await forward(x, outcome, snapshot, client, body)
            x.status = outcome.status
            close = client.closes or not body.complete
            client.write(respond.reply(x, outcome, self._clock(), close=close))
            return not close
        except ProxyError as error:
            error.settle()
            return self._refuse(x, error, client, close=not body.complete)
        except (asyncio.CancelledError, ConnectionError):
            x.status, x.code = CLIENT_GONE, "client_gone"
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.exception("request %s failed", x.request_id)
            return self._refuse(x, Internal("an error that nobody expected"), client, close=True)
        finally:
            self._recorder.end(x, monotonic())
            if not self._warned and snapshot.rules.proxies.warns(head, x.client):
                self._warned = True
                _log.warning(_UNTRUSTED, extra={"peer": head.peer})

    async def refuse(self, client: Downstream, error: ProxyError) -> None:
        """Answer what cannot be judged at all: bytes that are no request."""
        head = RequestHead("", "", 1, (), client.whoever.address)
        x = self._begin(client, head, self.snapshot)
        self._refuse(x, error, client, close=True)
        self._recorder.end(x, monotonic())

    async def turn_away(self, client: Downstream, head: RequestHead, why: ProxyError) -> None:
        """Answer the request of a connection too many: health checks as ever, `why` to others."""
        snapshot, now = self.snapshot, self._clock()
        if head.target == snapshot.health_path and framing.is_served(head, snapshot.rules.limits):
            client.write(respond.health(head, now, draining=self.draining, close=True))
            return
        x = self._begin(client, head, self.snapshot)
        self._refuse(x, why, client, close=True)
        self._recorder.end(x, monotonic())

    def _begin(self, client: Downstream, head: RequestHead, snapshot: Snapshot) -> Exchange:
        seed = self._seeds()
        x = Exchange(
            head,
            client.whoever,
            snapshot.rules.cors,
            self._clock(),
            monotonic(),
            seed,
            request_id=seed[:32],
        )
        self._recorder.begin()
        return x

    def _refuse(self, x: Exchange, error: ProxyError, client: Downstream, *, close: bool) -> bool:
        """Turn an error into a response, or into the end of the connection when one has begun."""
        x.code, x.reason = error.code, error.reason
        if client.head_sent:
            client.abort()
            return False
        x.status = error.status
        close = close or error.closes or client.closes
        client.write(respond.problem(x, error, self._clock(), close=close))
        return not close
