"""Running a worker as a process: its event loop and its signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.telemetry import logs
from proxy.worker.process import Worker
from proxy.worker.reload import told
from proxy.worker.systemd import Notifier, keep_alive, take_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.config.model import Config
    from proxy.worker.source import ConfigSource

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

__all__ = [
    "ending",
    "has_started",
    "new_event_loop",
    "on_hangup",
    "run_process",
    "run_until",
    "serve",
]

_log = logging.getLogger("gatelodge.worker")

_CLOSE: Final = 2.0
"""Seconds that an event loop has to close when all is done. It waits for its threads, and one in
which a database's name is looked up may take a minute.
"""


class Drained(Protocol):
    """What runs until it is told to end."""

    async def drain(self) -> None:
        """End without losing a request."""

    async def stop(self) -> None:
        """End now."""


def serve(config: Config, source: ConfigSource) -> int:
    """Run a gateway, first with `config`, until a signal ends it; return the exit code of the
    process.

    TERM and INT drain, or give up a start. A second INT exits at once. HUP reloads from `source`.
    """
    logs.set_up(config.log.level, config.log.format)
    return run_process(_serve(config, source))


def run_process(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on an event loop of its own; return what it returns, the exit code of the process,
    which does not outlive it for long.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        code = runner.run(main)
        end = Timer(_CLOSE, os._exit, (code,))
        end.daemon = True
        with suppress(RuntimeError):  # there is no thread for it
            end.start()
    end.cancel()
    return code


async def _serve(config: Config, source: ConfigSource) -> int:
    ended = ending()  # before anybody can learn that there is something to end
    notifier = Notifier(os.environ)
    worker = Worker(config, source, given=take_sockets(os.environ), notifier=notifier)
    on_hangup(worker.reloader.ask)
    try:
        if not await has_started(worker.start(), ended):
            return ended.result()  # nobody was served yet
    except (OSError, ValueError, RuntimeError) as error:
        _log.error("cannot start", extra={"reason": told(error)})
        return 1
    return await run_until(ended, worker, notifier)


async def has_started(start: Coroutine[Any, Any, None], ended: asyncio.Future[int]) -> bool:
    """Return whether `start` was over before `ended`, which gives it up. Raises what it raises."""
    starting = asyncio.ensure_future(start)
    either: set[asyncio.Future[Any]] = {starting, ended}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    if starting.cancelled():
        return False
    starting.result()
    return True


async def run_until(ended: asyncio.Future[int], what: Drained, notifier: Notifier) -> int:
    """Keep `what` going until `ended`, then drain it; return the exit code of the process."""
    notifier.ready()
    alive = asyncio.ensure_future(keep_alive(notifier))
    await ended
    notifier.stopping()
    again = asyncio.ensure_future(_interrupted())
    drained = asyncio.ensure_future(what.drain())
    await asyncio.wait({again, drained}, return_when=asyncio.FIRST_COMPLETED)
    alive.cancel()
    if not drained.done():
        drained.cancel()
        await what.stop()
        return 130
    again.cancel()
    drained.result()
    return 0


def ending() -> asyncio.Future[int]:
    """Return what is done when TERM or INT comes, with the exit code of a process that ends by it:
    128 and the signal's number, as shells have it.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    return ended


def on_hangup(ask: Callable[[], object]) -> None:
    """Call `ask` for each HUP from now on, and for one that was held back until now."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


async def _interrupted() -> None:
    """Wait for an INT."""
    loop = asyncio.get_running_loop()
    interrupted: asyncio.Future[None] = loop.create_future()
    loop.add_signal_handler(
        signal.SIGINT, lambda: None if interrupted.done() else interrupted.set_result(None)
    )
    await interrupted
