"""A worker as its supervisor sees it: a child process, and the channel to it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.supervisor import messages
from proxy.supervisor.channel import AnswerFailed, Asker, Channel, ChannelClosed, open_channel
from proxy.supervisor.loans import lend, loan_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.config.model import Config

_ROOT: Final = Path(__file__).parents[2]
"""The folder that the package is in."""


class WorkerProcess:
    """One child. `spawn` it, let it `begin` and `accept`; `ended` is done when the process is."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: Channel, loans: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._loans = loans
        self._borrowed: set[int] = set()
        self._borrowing = asyncio.Lock()
        self.deaf = asyncio.Event()
        """Set when it accepts no connection any more."""
        self._asker = Asker(channel, lambda _event: self.deaf.set())
        self._listening = loop.create_task(self._asker.listen())
        self.ended = loop.create_task(process.wait())
        """The exit code; below 0 the signal that ended it."""
        self.ended.add_done_callback(lambda _: loans.close())
        self.config: Config | None = None
        """What it serves by, once it can."""
        self.state: messages.State | None = None
        """What it reported last."""
        self.is_slow = False
        """Whether its next report is late."""

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.pid}>"

    @classmethod
    async def spawn(cls, listener: socket.socket) -> WorkerProcess:
        """Start a process that will serve `listener`. Raises OSError."""
        ours, theirs = socket.socketpair()
        lender, borrower = loan_pair()
        descriptors = (theirs.fileno(), borrower.fileno(), listener.fileno())
        # -P: the folder that we were started in is no place to import from. A session of its own:
        # what a terminal sends to all of its processes is for the supervisor to hear.
        try:
            with theirs, borrower:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "proxy.supervisor.child"),
                    *map(str, descriptors),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=descriptors,
                    start_new_session=True,
                    env=_environment(),
                )
        except BaseException:
            ours.close()
            lender.close()
            raise
        ours.setblocking(False)
        return cls(process, await open_channel(ours), lender)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def begin(self, config: Config, number: int) -> str:
        """Let it get ready; return why it cannot, "" when it is. Raises ChannelClosed."""
        problem = await self._try(messages.Begin(config, number))
        if not problem:
            self.config = config
        return problem

    async def accept(self) -> str:
        """Let it accept connections; return why it cannot. Raises ChannelClosed."""
        return await self._try(messages.Accept())

    async def prepare(self, config: Config) -> str:
        """Let it build the next generation; return why it cannot. Raises ChannelClosed."""
        return await self._try(messages.Prepare(config))

    async def _try(self, question: messages.Question) -> str:
        try:
            problem: str = await self._asker.ask(question)
        except AnswerFailed:
            return "an error that nobody expected; its log says what"
        return problem

    async def commit(self, config: Config) -> None:
        """Let it use what it has prepared. Raises ChannelClosed."""
        await self._must(messages.Commit())
        self.config = config

    async def abandon(self) -> None:
        """Let it give up what it has prepared. Raises ChannelClosed."""
        await self._must(messages.Abandon())

    async def _must(self, question: messages.Question) -> None:
        """Ask for what cannot fail; a worker that fails at it is of no use."""
        try:
            await self._asker.ask(question)
        except AnswerFailed:
            await self.kill()
            raise ChannelClosed from None

    async def borrow(self, wanted: Callable[[], Mapping[int, socket.socket]]) -> None:
        """Let it accept from these sockets, too, and from none but its own beside them; they are
        known by the numbers of the workers whose they are. Raises ChannelClosed and OSError.

        `wanted` is asked when everything is done that was wanted before.
        """
        async with self._borrowing:
            if self.ended.done():
                raise ChannelClosed
            sockets = wanted()
            for number in self._borrowed - sockets.keys():
                await self._must(messages.GiveBack(number))
                self._borrowed.discard(number)
            for number in sockets.keys() - self._borrowed:
                lend(self._loans, number, sockets[number])
                if problem := await self._try(messages.Borrow(number)):
                    raise OSError(problem)
                self._borrowed.add(number)

    async def depart(self, delay: float) -> None:
        """Let its clients go elsewhere after `delay` seconds. Raises ChannelClosed."""
        await self._must(messages.Depart(delay))

    async def report(self) -> None:
        """Bring `state` up to date. Raises ChannelClosed."""
        try:
            self.state = await self._asker.ask(messages.Report())
        except AnswerFailed:
            pass  # what it reported before stays

    async def stand(self) -> None:
        """Wait until it accepts no more connections, or has ended."""
        told = asyncio.get_running_loop().create_task(self.deaf.wait())
        try:
            await asyncio.wait({self.ended, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()

    async def drain(self) -> None:
        """Let it end without losing a request, and wait for that."""
        try:
            await self._asker.ask(messages.Drain())
        except (AnswerFailed, ChannelClosed):
            pass
        await asyncio.wait({self.ended})  # who is cancelled here does not cancel it

    async def kill(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                pass
        await asyncio.wait({self.ended})  # who is cancelled here does not cancel it


def _environment() -> dict[str, str]:
    """Return our environment, with this very package first where modules are looked for."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
