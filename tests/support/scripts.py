"""What a stub upstream may do, for several stories: say nothing, answer at once, hold an answer."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.support.upstream import Exchange

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def silent(exchange: Exchange) -> None:
    """Take the request and say nothing until the gateway leaves."""
    while await exchange.read():
        pass


async def close(exchange: Exchange) -> None:
    """Close the connection without a word."""
    await exchange.read_body()
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """Reset the connection without a word."""
    await exchange.read_body()
    exchange.abort()


async def early(exchange: Exchange) -> None:
    """Answer before the body has been read."""
    await exchange.send(OK)


class Held:
    """Answers requests once `go` is set, as the test says."""

    def __init__(self, answer: bytes = OK) -> None:
        self.go = asyncio.Event()
        self._answer = answer

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read_body()
        await self.go.wait()
        await exchange.send(self._answer)
