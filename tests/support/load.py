"""Continuous load from many clients, and what became of each request.

The load is open-loop: requests begin at their rate, however long those before them take, so that a
gateway which stands still is not spared. Most take an idle connection as browsers do, every fourth
a new one, every tenth is an upload that takes its time, another tenth are small POSTs, and some
WebSockets echo all the while.

    async with Service("a") as service, Load(port, Plan(rate=200)) as load:
        ...  # reload, kill, restart
    assert load.failed == []

Every answer is checked to be the one to this very request. An exchange fails whatever the reason;
where a test has killed a process, it says before which connections were lost with it (`doom`).

A server may close a connection that has been idle, and its end may cross with the next request.
Then nobody has seen the request, and clients send it again on a new connection (RFC 9112 section
9.3.1; browsers do so with a POST, too). So do these, if the connection had been idle for a while,
and count it.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from tests.support.service import LENGTH

_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_PATIENCE: Final = 60.0
"""Seconds after which an answer does not come any more, on a machine with better things to do."""
_PIECE: Final = 16 << 10
_SIZES: Final = {"upload": 4 * _PIECE, "post": 100, "get": 0}
_IDLE: Final = 0.5
"""Seconds after which a connection counts as one that a server may close."""
_PAUSE: Final = 0.02
"""Seconds between two pieces of an upload."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exchange that failed: its target, what it was, what was said (if anything) and why."""

    target: str
    what: str
    status: int | None
    why: str


class Lost(Exception):
    """An exchange without the answer that it should have had; says why."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Plan:
    """What the load is made of: requests a second, WebSockets, and the header lines of each."""

    rate: float = 100.0
    sockets: int = 2
    headers: str = ""
    path: str = "/api"


def kind_of(number: int) -> str:
    """Return what the request of that number is: "get", "post" or "upload"."""
    return {0: "upload", 5: "post"}.get(number % 10, "get")


class _Connection:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]
        self.doomed = False
        self.uses = 0
        self.idle_since = 0.0
        self.was_idle = False


class Load:
    """Clients of the gateway at `port`, at work inside of `async with`."""

    def __init__(self, port: int, plan: Plan) -> None:
        self._port, self._plan = port, plan
        self.counts: Counter[str] = Counter()
        """Exchanges by what they were and how they ended."""
        self.failed: list[Failure] = []
        """Each request that could have been served and was not, and why."""
        self.lost: list[Failure] = []
        """Each that was on a connection which was doomed."""
        self.slowest = 0.0
        """Seconds that the slowest answer took; for people, since machines differ."""
        self._dooms: list[set[int]] = []
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._numbers = itertools.count(1)
        self._over = asyncio.Event()
        self._goes = asyncio.Event()
        self._goes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: set[asyncio.Task[None]] = set()
        self._driver: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._driver = asyncio.create_task(self._drive())
        for _ in range(self._plan.sockets):
            self._spawn(self._websocket())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Begin no more; wait for what is under way, unless there is an error already."""
        assert self._driver is not None
        self._over.set()
        await self._driver
        if error is None:
            await asyncio.gather(*self._tasks)
        await _cancel(self._tasks)
        for connection in self._open:
            connection.writer.close()

    @property
    def report(self) -> str:
        """All counts, and the first failures."""
        counts = dict(sorted(self.counts.items()))
        return f"{counts}; slowest {self.slowest:.1f} s; failed: {self.failed[:20]}"

    async def reach(self, count: int) -> None:
        """Wait until so many more requests have been answered, whatever the machine's speed."""
        wanted = self.answered + count
        end = asyncio.get_running_loop().time() + 2 * _PATIENCE
        while self.answered < wanted:
            assert asyncio.get_running_loop().time() < end, self.report
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Begin no request meanwhile."""
        self._goes.clear()
        try:
            yield
        finally:
            self._goes.set()

    async def settle(self) -> None:
        """Wait until every request that is under way now has ended."""
        await asyncio.wait([*self._requests, asyncio.create_task(asyncio.sleep(0))])

    @property
    def answered(self) -> int:
        """How many requests have been answered as they should."""
        return sum(count for what, count in self.counts.items() if what.endswith(" ok"))

    def doom(self, ports: Iterable[int]) -> None:
        """Say that the connections from these ports are ended by the test."""
        self._dooms.append(doomed := set(ports))
        for connection in self._open:
            connection.doomed = connection.doomed or connection.port in doomed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._over.is_set():
            if not self._goes.is_set():
                await self._goes.wait()
                due = loop.time()
            task = self._spawn(self._request(next(self._numbers)))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
            due += 1 / self._plan.rate
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _request(self, number: int, *, again: bool = False) -> None:
        is_new = again or number % 4 == 0
        what = kind_of(number) + (" new" if is_new else " kept")
        connection = None if is_new else self._take()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_PATIENCE):
                connection = connection or await self._connect()
                kept = await self._exchange(connection, number)
        except (Lost, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            if connection is not None and _has_crossed(connection, error):
                self.counts["crossed with the end of an idle connection"] += 1
                self._close(connection)
                await self._request(number, again=True)
                return
            self._note(f"{self._plan.path}/{number}", what, connection, error)
        else:
            self.counts[f"{what} ok"] += 1
            self.slowest = max(self.slowest, asyncio.get_running_loop().time() - began)
            if kept is not None:
                self._put(kept, is_new)

    def _put(self, connection: _Connection, is_new: bool) -> None:
        if is_new:
            self._close(connection)
        else:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def _take(self) -> _Connection | None:
        """Return an idle connection that has not been closed."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and connection.reader.exception() is None:
                idle = asyncio.get_running_loop().time() - connection.idle_since
                connection.was_idle = idle >= _IDLE
                return connection
            self.counts["idle connection closed"] += 1
            self._close(connection)
        return None

    async def _connect(self) -> _Connection:
        before = len(self._dooms)
        try:
            connection = _Connection(*await asyncio.open_connection("127.0.0.1", self._port))
        except OSError as error:
            raise Lost(f"cannot connect: {error}") from error
        # The other end may have had it before we were told that it is there.
        connection.doomed = any(connection.port in ports for ports in self._dooms[before:])
        self._open.add(connection)
        return connection

    def _close(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.writer.close()

    def _note(
        self, target: str, what: str, connection: _Connection | None, error: Exception
    ) -> None:
        why = f"{type(error).__name__} {error}"
        if connection is not None:
            why += f" (use {connection.uses} of the connection)"
            self._close(connection)
        is_lost = connection is not None and connection.doomed
        status = error.status if isinstance(error, Lost) else None
        failure = Failure(target, what, status, why)
        (self.lost if is_lost else self.failed).append(failure)
        self.counts[f"{what} {'lost' if is_lost else 'failed'}"] += 1

    async def _exchange(self, connection: _Connection, number: int) -> _Connection | None:
        """Ask, check the answer, and return the connection unless that was its last."""
        reader, writer = connection.reader, connection.writer
        connection.uses += 1
        target, kind = f"{self._plan.path}/{number}", kind_of(number)
        size = _SIZES[kind]
        writer.write(self._head("GET" if kind == "get" else "POST", target, size))
        for sent in range(0, size, _PIECE):
            writer.write(b"x" * min(_PIECE, size - sent))
            await writer.drain()
            if kind == "upload":
                await asyncio.sleep(_PAUSE)
        head, body = await _answer(reader)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise _refused(head, body)
        if body.split()[1:] != [target.encode(), b"%d" % size]:
            raise Lost(f"the answer to another request: {body!r}")
        if _CLOSE.search(head):
            self._close(connection)
        else:
            return connection
        return None

    def _head(self, method: str, target: str, size: int) -> bytes:
        length = f"Content-Length: {size}\r\n" if size else ""
        host = f"Host: api.example.com\r\n{self._plan.headers}"
        return f"{method} {target} HTTP/1.1\r\n{host}{length}\r\n".encode()

    async def _websocket(self) -> None:
        """Echo for ever; come back when told to (1012)."""
        while not self._over.is_set():
            connection = None
            target = f"{self._plan.path}/socket-{next(self._numbers)}"
            try:
                async with asyncio.timeout(_PATIENCE):
                    connection = await self._connect()
                    await self._upgrade(connection, target)
                await self._echo(connection)
            except (Lost, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self._note(target, "websocket", connection, error)
                await asyncio.sleep(_PAUSE)

    async def _upgrade(self, connection: _Connection, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        head = self._head("GET", target, 0).removesuffix(b"\r\n")
        connection.writer.write(head + f"{lines}Sec-WebSocket-Key: {key}\r\n\r\n".encode())
        head, body = await _answer(connection.reader)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise _refused(head, body)

    async def _echo(self, connection: _Connection) -> None:
        for number in itertools.count():
            text = b"%05d" % number
            connection.writer.write(b"\x81\x85\0\0\0\0" + text)
            async with asyncio.timeout(_PATIENCE):
                frame = await connection.reader.readexactly(2)
                body = await connection.reader.readexactly(frame[1] & 0x7F)
            if frame[:1] == b"\x88" and body[:2] == b"\x03\xf4":
                self.counts["websocket told to come back"] += 1
                break
            if body != text:
                raise Lost(f"{frame + body!r} in place of the echo")
            self.counts["websocket message ok"] += 1
            if self._over.is_set():
                break
            await asyncio.sleep(5 * _PAUSE)
        self._close(connection)


def _has_crossed(connection: _Connection, error: Exception) -> bool:
    """Whether a connection that had been idle ended without a byte of the answer."""
    if not connection.was_idle or connection.doomed:
        return False
    if isinstance(error, asyncio.IncompleteReadError):
        return not error.partial
    return isinstance(error, ConnectionResetError | BrokenPipeError)


def _refused(head: bytes, body: bytes) -> Lost:
    line = head.splitlines()[0]
    return Lost(f"{line!r} {body[:200]!r}", int(line.split()[1]))


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read the head and the body of an answer; one that is cut off raises."""
    head = await reader.readuntil(b"\r\n\r\n")
    if _CHUNKED.search(head):
        return head, b"".join([chunk async for chunk in _chunks(reader)])
    found = LENGTH.search(head)
    return head, await reader.readexactly(int(found[1])) if found else b""


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Read a body in chunks (RFC 9112 section 7.1)."""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
