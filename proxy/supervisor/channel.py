"""The pipe between a supervisor and one worker: questions one way, answers and events the other.

Messages are pickled: both ends are this program, of one version, and the pipe has no name by which
anybody else could reach it.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

_log = logging.getLogger("gatelodge.worker")

_SIZE: Final = struct.Struct("!I")


class ChannelClosed(Exception):
    """The other end has gone."""


class AnswerFailed(Exception):
    """The worker could not answer; its log says why."""


class _Failed:
    """The answer to a question that raised."""


_GONE: Final = object()
"""What is said to who waits for an answer that will never come. No exception: whoever does not wait
any more would not take it, and asyncio would report it as lost.
"""


class Channel:
    """One end of it. Make it by `open_channel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def __repr__(self) -> str:
        return f"<Channel closing={self._writer.is_closing()}>"

    async def receive(self) -> Any:
        """Return the next message. Raises ChannelClosed."""
        try:
            (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
            return pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - our own
        except (EOFError, OSError) as error:
            raise ChannelClosed from error

    async def send(self, message: object) -> None:
        """Send a message. Raises ChannelClosed."""
        data = pickle.dumps(message)
        if self._writer.is_closing():  # uvloop raises RuntimeError for a transport that is closed
            raise ChannelClosed
        try:
            # In one call, so that messages of several tasks do not mix.
            self._writer.write(_SIZE.pack(len(data)) + data)
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosed from error

    async def close(self) -> None:
        """End it; the other end learns of it."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # the other end was faster


async def open_channel(end: socket.socket) -> Channel:
    """Return the channel that has this end of a socket pair."""
    return Channel(*await asyncio.open_connection(sock=end))


class Asker:
    """The supervisor's end: several questions may be under way at once.

    `listen` reads answers for ever; `on_event` is called with whatever answers no question.
    """

    def __init__(self, channel: Channel, on_event: Callable[[object], None]) -> None:
        self._channel = channel
        self._on_event = on_event
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Asker waiting={len(self._waiting)}>"

    async def ask(self, question: object) -> Any:
        """Return the answer. Raises ChannelClosed when the worker ends before it has given one, and
        AnswerFailed.
        """
        if self._closed:
            raise ChannelClosed
        number = next(self._numbers)
        self._waiting[number] = answer = asyncio.get_running_loop().create_future()
        try:
            await self._channel.send((number, question))
            value = await answer
        finally:
            self._waiting.pop(number, None)
        if value is _GONE:
            raise ChannelClosed
        if isinstance(value, _Failed):
            raise AnswerFailed
        return value

    async def listen(self) -> None:
        """Give out answers and events until the worker's end is closed."""
        try:
            while True:
                number, value = await self._channel.receive()
                if number is None:
                    self._on_event(value)
                elif (waiting := self._waiting.get(number)) and not waiting.done():
                    waiting.set_result(value)
        except ChannelClosed:
            pass
        finally:
            self._closed = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(_GONE)
            await self._channel.close()


class Answerer:
    """The worker's end: every question gets a task of its own."""

    def __init__(self, channel: Channel, answer: Callable[[Any], Awaitable[object]]) -> None:
        self._channel = channel
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Answerer tasks={len(self._tasks)}>"

    async def serve(self) -> None:
        """Answer until the supervisor's end is closed."""
        try:
            while True:
                number, question = await self._channel.receive()
                task = asyncio.get_running_loop().create_task(self._reply(number, question))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except ChannelClosed:
            pass

    async def tell(self, event: object) -> None:
        """Send an event; it is lost when nobody is there."""
        try:
            await self._channel.send((None, event))
        except ChannelClosed:
            pass

    async def _reply(self, number: int, question: object) -> None:
        try:
            await self._channel.send((number, await self._answer(question)))
        except ChannelClosed:
            pass
        except Exception:  # noqa: BLE001 - whatever it is, the supervisor must not wait for ever
            _log.exception("the supervisor's question %s failed", type(question).__name__)
            await self._fail(number)

    async def _fail(self, number: int) -> None:
        """Answer a question that cannot be answered."""
        try:
            await self._channel.send((number, _Failed()))
        except ChannelClosed:
            pass
