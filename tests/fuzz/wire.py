"""The real gateway on an event loop without sockets: a client's bytes in, an upstream that is a
function, everything done before one returns.

Nothing of the product is replaced: its connections are made by `create_connection`, which is this
loop's own, and clients' connections by the server's own factory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from proxy.core.head import RequestHead
from proxy.core.rules import compile_rules
from proxy.gateway import snapshot
from proxy.gateway.downstream import Downstream, Payload
from proxy.gateway.handler import Gateway
from proxy.gateway.listener import ClientConnection, ClientServer
from proxy.gateway.passage import Passage
from proxy.gateway.snapshot import Snapshot
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recorder import Recorder
from proxy.upstream.deadlines import Deadlines
from tests.fuzz.finding import Finding, require
from tests.gateway.fakes import FakeTransport
from tests.support.exchanges import NOW, SEED, config_of

T = TypeVar("T")

HEADS: Final = 255
"""A size of pieces: each ends with a head, as it must to go by the lane."""
_TURNS_MAX: Final = 20_000
"""Turns of the loop after which it is taken to go round for ever."""


class Line(FakeTransport):
    """The gateway's end of a connection, whose other end is `heard`, a function."""

    def __init__(self, protocol: asyncio.Protocol, heard: Callable[[Line, bytes], None]) -> None:
        super().__init__(protocol)
        self.protocol = protocol
        self._heard = heard
        self._held: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        asyncio.get_running_loop().call_soon(self._heard, self, bytes(data))

    def say(self, data: bytes) -> None:
        """Let the gateway hear `data` at the loop's next turn, or when it reads again."""
        self._held.append(data)
        asyncio.get_running_loop().call_soon(self._deliver)

    def resume_reading(self) -> None:
        super().resume_reading()
        for _ in self._held:
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        if self._held and self.reading and not self.is_closing():
            self.protocol.data_received(self._held.pop(0))

    def hang_up(self, error: Exception | None = None) -> None:
        """End the connection from the other side, behind what was said; `error` is a reset."""
        asyncio.get_running_loop().call_soon(self._hang_up, error)

    def _hang_up(self, error: Exception | None) -> None:
        if self._held and not self.is_closing():  # not read yet, so the end is not noticed either
            asyncio.get_running_loop().call_soon(self._hang_up, error)
            return
        if not self.is_closing():
            if error is None:
                self.protocol.eof_received()
            if not self.is_closing():
                self._closing = True
                self.protocol.connection_lost(error)

    @property
    def aborted(self) -> bool:
        """Whether the gateway has reset the connection."""
        return "abort" in self.calls

    @property
    def ended(self) -> bool:
        """Whether the gateway sends no more."""
        return self.is_closing() or "write_eof" in self.calls


class Loop(asyncio.SelectorEventLoop):
    """Connections that are opened on it lead to `upstream`."""

    upstream: Callable[[Line, bytes], None]

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.problems: list[str] = []
        self.set_exception_handler(self._note)

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        protocol = protocol_factory()
        line = Line(protocol, lambda line, data: self.upstream(line, data))
        self.lines.append(line)
        protocol.connection_made(line)
        return line, protocol

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def settle(self) -> None:
        """Let the loop turn until nothing is left to do but to wait."""
        for _ in range(_TURNS_MAX):
            await asyncio.sleep(0)
            if not self._ready:  # type: ignore[attr-defined]  # asyncio's own, in all its versions
                return
        raise Finding("the loop goes round for ever")


@dataclasses.dataclass(slots=True)
class Handled:
    """A request that the gateway has read: by the corridor, or in the lane. `id` is what its
    X-Request-Id will be.
    """

    method: str
    target: str
    lane: bool
    id: str


class _Gateway(Gateway):
    """Notes what it is asked, and does it."""

    def __init__(self, snapshot: Snapshot, recorder: Recorder) -> None:
        super().__init__(snapshot, recorder, clock=lambda: NOW, seeds=self._seed)
        self._warned = True  # once is enough, and that has a test of its own
        self.handled: list[Handled] = []
        self._count = 0

    def _seed(self) -> str:
        self._count += 1
        return self._nth_seed(self._count)

    @staticmethod
    def _nth_seed(count: int) -> str:
        return f"{count:08x}{SEED[8:]}"

    def _note(self, method: str, target: str, count: int, *, lane: bool) -> None:
        self.handled.append(Handled(method, target, lane, self._nth_seed(count)[:32]))

    def enter(self, client: Downstream, data: bytes) -> Passage | None:
        passage = super().enter(client, data)
        if passage is not None:
            method, target = data.split(b" ", 2)[:2]
            self._note(method.decode(), target.decode(), self._count, lane=True)
        return passage

    async def handle(
        self,
        client: Downstream,
        head: RequestHead,
        payload: Payload,
        begun: Passage | None = None,
    ) -> bool:
        if begun is None:
            self._note(head.method, head.target, self._count + 1, lane=False)
        return await super().handle(client, head, payload, begun)


class Wire:
    """A gateway whose upstream is `loop.upstream`. Rules are compiled once; connections, pools and
    the lane are new for each `run`, so that an input means the same whatever came before.
    """

    def __init__(self, config: str) -> None:
        self.loop = Loop()
        self._config = config_of(config)
        self._rules = compile_rules(self._config)
        self._metrics = Metrics()
        self._deadlines = Deadlines(self.loop)

    def _take_snapshot(self) -> Snapshot:
        """Take a snapshot as a worker does, but with the rules that were compiled once: deriving
        their keys takes longer than everything else.
        """
        vars(snapshot)["compile_rules"] = lambda _config: self._rules
        try:
            return snapshot.take_snapshot(
                self._config, 1, self.loop, self._deadlines, self._metrics
            )
        finally:
            vars(snapshot)["compile_rules"] = compile_rules

    def run(self, story: Callable[[Wire], Coroutine[Any, Any, T]]) -> T:
        """Tell a story on a fresh gateway and return what it returns. Raises Finding for errors
        that nobody has seen.
        """
        return self.loop.run_until_complete(self._run(story))

    def close(self) -> None:
        """Close the loop; nothing runs on it any more."""
        self._deadlines.stop()
        self.loop.close()

    async def _run(self, story: Callable[[Wire], Coroutine[Any, Any, T]]) -> T:
        loop = self.loop
        loop.lines, loop.problems = [], []
        self.gateway = _Gateway(self._take_snapshot(), Recorder(self._metrics, None))
        self.server = ClientServer(self.gateway, self._config.limits, self._deadlines, tls=False)
        try:
            result = await story(self)
            await loop.settle()
        finally:
            for client in self.server.clients:
                client.abort()
            for line in loop.lines:
                line.abort()
            await loop.settle()
        require(not loop.problems, f"the loop was told of {loop.problems}")
        require(not self.server.clients, "a client's connection is left over")
        require(not self.busy, "an exchange has no end")
        return result

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._metrics.in_flight > 0

    def client(self) -> Line:
        """Open a client's connection."""
        protocol = cast("ClientConnection", self.server())
        line = Line(protocol, lambda _line, _data: None)
        protocol.connection_made(line)
        return line

    async def feed(self, line: Line, *pieces: bytes) -> None:
        """Send bytes of a client, each piece when nothing is left to do for the last one."""
        for piece in pieces:
            line.say(piece)
            await self.loop.settle()


_WIRES: Final[dict[str, Wire]] = {}


def wire_for(config: str) -> Wire:
    """Return the wire for a configuration, the same one each time."""
    if config not in _WIRES:
        _WIRES[config] = Wire(config)
    return _WIRES[config]


def forget_wires() -> None:
    """Close all wires, so that the next are made anew."""
    for wire in _WIRES.values():
        wire.close()
    _WIRES.clear()


def cut(data: bytes, size: int) -> list[bytes]:
    """Return `data` in pieces of `size` bytes; 0: in one piece; HEADS: in pieces that end with an
    empty line.
    """
    if size == HEADS:
        return [piece for piece in re.split(rb"(?<=\r\n\r\n)", data) if piece]
    if not size:
        return [data] if data else []
    return [data[at : at + size] for at in range(0, len(data), size)]
