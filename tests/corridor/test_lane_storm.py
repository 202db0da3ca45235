"""The lane under load: the same few heads again and again, by clients and to endpoints at their
worst.

Every request has an id that the gateway made for it. All of an endpoint's answer says the id that
it was asked with, and the answer that a client gets names its request's id as well: where the two
differ, an answer has reached another request.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.gateway.handler import Gateway
from proxy.gateway.passage import Passage
from tests.corridor import test_mixup as mixup
from tests.support.answers import Answer
from tests.support.certificates import Authority
from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import LocalGateway, request, settings, token

BOTH_LOOPS = True

USERS: Final = ("u-1", "u-2", "u-3")
SECURE: Final = "__Secure-authjs.session-token"
COOKIES: Final = {user: f"Cookie: {SECURE}={token(user, cookie=SECURE)}" for user in USERS}
KINDS: Final = {
    "faults": [*mixup.WAYS, *["plain"] * 12],
    "orderly": ["plain", "plain", "large", "chunked"],
}


async def serve(exchange: Exchange) -> None:
    """Answer in the way that the path names, by the request's id, if the right user asks."""
    _, _, way, user = exchange.request.path.split("/")
    assert exchange.request.get("X-User-Id") == user
    number = exchange.request.get("X-Request-Id")
    assert number is not None
    await mixup.WAYS[way](exchange, number.encode())


def check(answer: Answer, way: str) -> bool:
    """Assert that `answer` is that of its request; return whether an endpoint gave it."""
    number = answer.get("X-Request-Id")
    assert number
    mixup.check(answer, number, way)
    return answer.status == 200


class Regular:
    """A client that asks for the same few things, mostly one after the other."""

    def __init__(self, port: int, chance: random.Random, ways: list[str], **tls: Any) -> None:
        self._port = port
        self._chance = chance
        self._ways = ways
        self._tls = tls
        self.answered = 0

    async def talk(self, rounds: int) -> None:
        for _ in range(rounds):
            async with RawClient(self._port, **self._tls) as client:
                await self._converse(client)

    async def _converse(self, client: RawClient) -> None:
        chance = self._chance
        asked: list[tuple[str, str]] = []
        answers: list[Answer] = []
        for _ in range(8):
            for _ in range(2 if chance.random() < 0.1 else 1):
                method = "HEAD" if chance.random() < 0.2 else "GET"
                way, user = chance.choice(self._ways), chance.choice(USERS)
                asked.append((method, way))
                await self._send(client, request(method, f"/api/{way}/{user}", COOKIES[user]))
            if chance.random() < 0.05:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                client.reset_connection()
                return
            methods = [method for method, _ in asked]
            answers = await client.read_answers(len(asked), methods=methods, deadline=30)
            if len(answers) < len(asked) or client.eof:
                break
        for answer, (_, way) in zip(answers, asked, strict=False):
            self.answered += check(answer, way)

    async def _send(self, client: RawClient, data: bytes) -> None:
        """Send `data`, at times in pieces, and at times with a blank line before it."""
        chance = self._chance
        if chance.random() < 0.05:
            data = b"\r\n" + data
        if chance.random() < 0.1:
            cut = chance.randrange(1, len(data))
            await client.send(data[:cut])
            await asyncio.sleep(0)
            data = data[cut:]
        await client.send(data)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


Setting = Callable[
    [AsyncExitStack, Authority], Awaitable[tuple[list[StubUpstream], dict[str, Any]]]
]


async def plainly(stack: AsyncExitStack, _: Authority) -> tuple[list[StubUpstream], dict[str, Any]]:
    upstreams = [await stack.enter_async_context(StubUpstream()) for _ in range(2)]
    urls = [each.url for each in upstreams]
    return upstreams, settings(*urls, upstream={"pool_idle": "1m"})


async def by_tls(
    stack: AsyncExitStack, authority: Authority
) -> tuple[list[StubUpstream], dict[str, Any]]:
    upstream = await stack.enter_async_context(StubUpstream(tls=authority.server()))
    cert, key = authority.issue("localhost")
    listen = {"address": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}}
    tls = {"pool_idle": "1m", "tls": {"ca": str(authority.ca)}}
    return [upstream], settings(upstream.url, upstream=tls, listen=listen)


@pytest.mark.parametrize(
    ("setting", "kind", "seed"),
    [
        *((plainly, kind, seed) for kind in KINDS for seed in range(2)),
        (by_tls, "orderly", 2),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
async def test_no_answer_of_the_lane_reaches_another_request(
    setting: Setting,
    kind: str,
    seed: int,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, enter = 0, Gateway.enter

    def noting(self: Gateway, client: Any, data: bytes) -> Passage | None:
        nonlocal entered
        passage = enter(self, client, data)
        entered += passage is not None
        return passage

    monkeypatch.setattr(Gateway, "enter", noting)
    monkeypatch.setattr(mixup, "random", chance := random.Random(seed))
    async with AsyncExitStack() as stack:
        upstreams, config = await setting(stack, authority)
        for each in upstreams:
            each.default = serve
        gateway = await stack.enter_async_context(LocalGateway(config))
        tls: dict[str, ssl.SSLContext] = {}
        if setting is by_tls:
            tls["tls"] = authority.client()
        regulars = [Regular(gateway.port, chance, KINDS[kind], **tls) for _ in range(8)]
        await asyncio.gather(*(each.talk(5) for each in regulars))
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        await gateway.until(lambda: gateway.status["requests_in_flight"] == 0)
        await gateway.until(lambda: all(e["open"] == e["idle"] for e in gateway.endpoints))
        counted = sum(gateway.worker.metrics.requests.values())
        await gateway.until(lambda: len(gateway.log_lines()) == counted)
        bad = [fault for each in upstreams for fault in each.violations if "ended" not in fault]
    assert not bad
    assert sum(each.answered for each in regulars) > 20
    assert entered > 20  # of about 300; how many come while their connection is at rest, varies
