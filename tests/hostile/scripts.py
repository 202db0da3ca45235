"""How the upstream of the attack cases behaves on the special paths of their recipes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final

from tests.hostile.cases import Case, load, unescape
from tests.support.upstream import Exchange, Script, StubUpstream

BIG: Final = 1 << 30
"""Bytes of /public/big."""

_BLOCK: Final = bytes(1 << 16)
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_ECHO_LIMIT: Final = 1 << 16
_UPSTREAM_BYTES: Final = re.compile(r"upstream bytes: (.*)", re.DOTALL)
_FILLER: Final = re.compile(r"<([0-9]+) (.)>")
_TARGET: Final = re.compile(r"[A-Z]+ (\S+) ")

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"

ANSWERS: Final[dict[str, bytes]] = {
    "/api/upstream-cors": _OK + b"Access-Control-Allow-Origin: *\r\n\r\nok",
    "/api/leak-id": _OK + b"X-User-Assertion: eyJhbGciOiJFUzI1NiJ9\r\nX-User-Id: a-1\r\n\r\nok",
    "/api/ws-200": _OK + b"\r\nok",
    "/public/two-cookies": _OK + b"Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Path=/\r\n\r\nok",
    "/public/extra-bytes": _OK + b"\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON",
    "/public/clean": _OK + b"\r\nok",
}


class Scripts:
    """The scripts of one upstream, and what tests steer and read of them."""

    def __init__(self, upstream: StubUpstream) -> None:
        self.release = asyncio.Event()
        """/public/slow answers once this is set."""
        self.streamed = 0
        """Bytes of /public/big that the gateway has taken."""
        self.discarded = 0
        """Bytes of WebSocket frames that were too large to echo."""
        for path, answer in ANSWERS.items():
            upstream.script(path, answer)
        upstream.script("/public/slow", self._slow)
        upstream.script("/public/big", self._big)
        upstream.script("/api/ws", self._websocket)
        for path, script in hostile_answers(load()[1]).items():
            upstream.script(path, script)

    async def _slow(self, exchange: Exchange) -> None:
        await self.release.wait()
        await exchange.send(_OK + b"\r\nok")

    async def _big(self, exchange: Exchange) -> None:
        self.streamed = 0
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        while self.streamed < BIG:
            await exchange.send(_BLOCK)
            self.streamed += len(_BLOCK)

    async def _websocket(self, exchange: Exchange) -> None:
        """Accept, and echo every frame that is not too large."""
        key = (exchange.request.get("Sec-WebSocket-Key") or "").encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC 6455
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        pending = bytearray()
        try:
            while data := await exchange.read():
                pending += data
                while frame := take_frame(pending):
                    await exchange.send(frame)
                if len(pending) > _ECHO_LIMIT:
                    self.discarded += len(pending)
                    pending = pending[:14]
        finally:
            exchange.close()


def take_frame(pending: bytearray) -> bytes | None:
    """Take a whole masked frame off `pending` and return it unmasked (RFC 6455, 5.2), or None."""
    if len(pending) < 6:
        return None
    extended = {126: 2, 127: 8}.get(pending[1] & 127, 0)
    start = 2 + extended + 4
    size = int.from_bytes(pending[2 : 2 + extended], "big") if extended else pending[1] & 127
    if len(pending) < start + size:
        return None
    mask = pending[start - 4 : start]
    payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(pending[start : start + size]))
    frame = bytes([pending[0], pending[1] & 127]) + pending[2 : 2 + extended] + payload
    del pending[: start + size]
    return bytes(frame)


def hostile_answers(cases: Iterable[Case]) -> dict[str, Script]:
    """Return path -> script for the cases whose recipe gives the upstream's bytes."""
    scripts: dict[str, Script] = {}
    for case in cases:
        recipe = _UPSTREAM_BYTES.fullmatch(case.recipe)
        target = _TARGET.match(case.templates)
        if recipe is not None and target is not None:
            scripts[target[1]] = _hostile_script(recipe[1])
    return scripts


def _hostile_script(recipe: str) -> Script:
    closes = recipe.endswith(("<close>", "<close at once>"))
    text = recipe.removesuffix("<close at once>").removesuffix("<close>")
    data = unescape(_FILLER.sub(lambda found: found[2] * int(found[1]), text))

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        if closes:
            exchange.close()

    return script
