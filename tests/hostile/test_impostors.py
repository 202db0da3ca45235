"""What the cases are worth: no case is so lenient that a pipe and a locked door both pass it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote_to_bytes

import pytest

from tests.hostile import arena as arena_module
from tests.hostile.arena import Place, attack
from tests.hostile.cases import Case, Sleep, load
from tests.hostile.checks import failures
from tests.hostile.profiles import FENCE, NOT_BUILT
from tests.hostile.recipes import RECIPES
from tests.hostile.scripts import Scripts
from tests.hostile.tokens import resolver, variants_of
from tests.support.gateway import GatewayProcess
from tests.support.upstream import StubUpstream

CASES = load()[1]

Passing = Callable[[bytes], bytes]
"""What a pipe makes of the bytes that it passes on."""


class Impostor(GatewayProcess):
    """A gateway that is none: it passes on what it gets, or answers all by itself.

    It shows what the cases are worth: a pipe has no security at all, one that decodes what it
    passes on has less, a locked door has no use. The fence goes through both, so that only the case
    itself can tell them from a gateway.
    """

    def __init__(self, upstream: StubUpstream, reply: bytes | Passing) -> None:
        self._upstream = upstream
        self._reply = reply
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def admin_port(self) -> int:
        return self._port

    @property
    def running(self) -> bool:
        return True

    def cpu_seconds(self) -> float:
        return 0.0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Place]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield Place(self, self._upstream, Scripts(self._upstream), hasty=False)
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1 << 16)
        if isinstance(self._reply, bytes) and FENCE.encode() not in first:
            writer.write(self._reply)
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream.port)
        up_writer.write(first if isinstance(self._reply, bytes) else self._reply(first))
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side left first, which ends the pipe as well
    writer.close()


REFUSAL = (
    b"HTTP/1.1 %d No\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)


def refusal(status: int) -> bytes:
    body = b'{"status": %d, "code": "no"}' % status
    return REFUSAL % (status, len(body), body)


IMPOSTORS: dict[str, bytes | Passing] = {
    "pipe": bytes,
    "decoding-pipe": unquote_to_bytes,
    "400": refusal(400),
    "401": refusal(401),
    "404": refusal(404),
}


async def passed_by(reply: bytes | Passing) -> set[str]:
    """Return the cases that pass against an impostor, of those that bytes alone decide."""
    async with StubUpstream() as upstream, Impostor(upstream, reply).serving() as place:
        passed = set()
        for case in CASES:
            if case.profile in NOT_BUILT or case.id in RECIPES or _waits(case):
                continue
            outcome = await attack(place, case, variants_of(case.placeholders)[0])
            if not failures(case.expecting(resolver()), outcome):
                passed.add(case.id)
        return passed


def _waits(case: Case) -> bool:
    return any(isinstance(step, Sleep) for step in case.steps)


@pytest.mark.slow
async def test_no_case_is_passed_by_every_impostor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_module, "_PATIENCE", 0.02)
    passed = {name: await passed_by(reply) for name, reply in IMPOSTORS.items()}
    assert set.intersection(*passed.values()) == set()
    assert len(passed["pipe"]) < len(passed["400"]) < 150
