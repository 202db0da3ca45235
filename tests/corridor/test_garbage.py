"""An exchange that fails leaves nothing to the garbage collector, which looks seldom.

Errors carry frames, and frames carry connections and pieces of bodies: whoever keeps an error would
keep those, and somebody who provokes errors could fill the memory.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.client import RawClient
from tests.support.upstream import Exchange, StubUpstream
from tests.support.worker import COOKIE, LocalGateway, request, settings

CHUNKED = "Transfer-Encoding: chunked"
PIECE = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"


async def nonsense(exchange: Exchange) -> None:
    await exchange.send(b"nonsense\r\n\r\n")


async def drop(exchange: Exchange) -> None:
    exchange.abort()


async def early(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")


async def cut(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 50_000)
    exchange.abort()


async def silent(exchange: Exchange) -> None:
    await exchange.read()


REQUESTS = {
    "an answer": request("GET", "/public/x"),
    "no session": request("GET", "/api/x"),
    "a bad session": request("GET", "/api/x", f"Cookie: {COOKIE}=x.y.z"),
    "no route": request("GET", "/nowhere"),
    "no request": b"x" * 100_000 + b"\r\n\r\n",
    "no HTTP": request("GET", "/public/nonsense"),
    "no answer": request("GET", "/public/drop"),
    "a late answer": request("GET", "/public/silent"),
    "half an answer": request("GET", "/public/cut"),
    "an early answer": request("POST", "/public/early", "Content-Length: 99999") + b"x" * 50_000,
    "a body too large": request("POST", "/public/x", CHUNKED) + PIECE * 4,
    "broken chunks": request("POST", "/public/x", CHUNKED) + PIECE + b"zz\r\n",
}


@pytest.fixture
def uncollected() -> Iterator[list[str]]:
    """Switch the collector off; what `gc.collect` then finds of ours is noted in the list."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        if phase == "stop":
            kinds = {type(item) for item in gc.garbage}
            found.extend(kind.__name__ for kind in kinds if kind.__module__.startswith("proxy."))

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
async def test_exchange_leaves_nothing_behind(
    upstream: StubUpstream, data: bytes, uncollected: list[str]
) -> None:
    for script in (nonsense, drop, early, cut, silent):
        upstream.script(f"/public/{script.__name__}", script)
    timeouts = {"timeouts": {"first_byte": "200ms"}, "pool_idle": "100ms"}
    config = settings(upstream.url, limits={"body": "64KiB"}, upstream=timeouts)
    async with LocalGateway(config) as gateway:
        async with RawClient(gateway.port) as client:
            await client.send(data)
            await client.wait(lambda: client.eof or bool(client.answers().final))
        await gateway.until(lambda: gateway.status["connections"]["client"] == 0)
        await gateway.until(lambda: gateway.endpoints[0]["open"] == 0)
        gc.collect()
        assert uncollected == []
