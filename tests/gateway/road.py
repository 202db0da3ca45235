"""A gateway with real rules in front of a real stub upstream, and a fake client before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from proxy.core.decision import Permit, decide
from proxy.core.exchange import Exchange
from proxy.core.head import RequestHead
from proxy.gateway.body import RequestBody
from proxy.gateway.downstream import Payload
from proxy.gateway.forward import forward
from proxy.gateway.handler import Gateway
from proxy.gateway.snapshot import Snapshot, take_snapshot
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recorder import Recorder
from proxy.upstream.deadlines import Deadlines
from proxy.upstream.pool import Pool
from tests.gateway.fakes import FakeClient, FakePayload
from tests.support.exchanges import NOW, SECRET, SEED, config_of, exchange, head
from tests.support.upstream import Script, StubUpstream

CONFIG: Final = """
sessions: {{web: {{kind: authjs, secret: {secret}, bearer: true}}}}
cors: {{origins: ["https://app.example.test"]}}
health_path: /healthz
upstreams: {{api: {{endpoints: [{endpoints}]}}}}
{sections}
routes:
  - {{path: /public/**, upstream: api, auth: public, {route}}}
  - {{path: /api/**, upstream: api}}
"""


class _Records(Recorder):
    """Keeps the exchanges that have ended, beside counting them."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics, None)
        self.records: list[Exchange] = []

    def end(self, x: Exchange, now: float) -> None:
        super().end(x, now)
        self.records.append(x)


class Road:
    """`async with Road(answer) as road:`; `answer` is what the upstream says on any path.

    `more` are endpoints that come before it, `route` options of the route /public, `sections` more
    of the configuration.
    """

    def __init__(
        self,
        answer: bytes | Script | None = None,
        *,
        more: tuple[str, ...] = (),
        route: str = "",
        sections: str = "",
    ) -> None:
        self.upstream = StubUpstream()
        self.client = FakeClient()
        self.metrics = Metrics()
        self._answer = answer
        self._more = more
        self._route = route
        self._sections = sections

    async def __aenter__(self) -> Self:
        await self.upstream.__aenter__()
        if self._answer is not None:
            self.upstream.script("/public/x", self._answer)
        loop = asyncio.get_running_loop()
        text = CONFIG.format(
            secret=SECRET,
            endpoints=", ".join([*self._more, self.upstream.url]),
            route=self._route,
            sections=self._sections,
        )
        self.deadlines = Deadlines(loop)
        self.snapshot: Snapshot = take_snapshot(
            config_of(text), 1, loop, self.deadlines, self.metrics
        )
        self._recorder = _Records(self.metrics)
        self.gateway = Gateway(self.snapshot, self._recorder, clock=lambda: NOW, seeds=lambda: SEED)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pool.close_idle()
        self.deadlines.stop()
        await self.upstream.__aexit__(kind, error, trace)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until `holds()`. Raises TimeoutError."""
        async with asyncio.timeout(5.0):
            while not holds():  # noqa: ASYNC110 - what is waited for tells nobody that it came
                await asyncio.sleep(0.001)

    @property
    def records(self) -> list[Exchange]:
        """The exchanges that have ended, as they were recorded."""
        return self._recorder.records

    @property
    def pool(self) -> Pool:
        """The one upstream."""
        return self.snapshot.pools["api"]

    async def permit(self, request: RequestHead) -> tuple[Exchange, Permit]:
        """Judge `request`, which must be permitted."""
        x = exchange(request)
        outcome = await decide(x, self.snapshot.rules, self.snapshot.resolver.resolve)
        assert isinstance(outcome, Permit)
        return x, outcome

    async def forward(
        self, *fields: tuple[str, str], payload: Payload | None = None, **request: Any
    ) -> bool:
        """Forward a request to /public/x for `client`; its exchange is in `x`."""
        asked = head(*fields, **{"target": "/public/x", **request})
        self.x, permit = await self.permit(asked)
        body = RequestBody(self.client, payload or FakePayload(), asked)
        return await forward(self.x, permit, self.snapshot, self.client, body)
