"""Running a worker as a process: its event loop and its signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

from proxy.telemetry import logs
from proxy.worker.process import Worker

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.worker.source import ConfigSource

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

_log = logging.getLogger("gatelodge.worker")


def serve(config: Config, source: ConfigSource) -> int:
    """Run a gateway, first with `config`, until a signal ends it; return the exit code of the
    process.

    TERM and INT drain. A second INT exits at once. HUP reloads from `source`.
    """
    logs.set_up(config.log.level, config.log.format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(config, source))


async def _serve(config: Config, source: ConfigSource) -> int:
    ended = _ending()  # before anybody can learn that there is something to end
    worker = Worker(config, source)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, worker.hang_up)
    try:
        await worker.start()
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _log.error("cannot start", extra={"reason": reason})
        return 1
    await ended
    again = asyncio.ensure_future(_interrupted())
    drained = asyncio.ensure_future(worker.drain())
    await asyncio.wait({again, drained}, return_when=asyncio.FIRST_COMPLETED)
    if not drained.done():
        drained.cancel()
        await worker.stop()
        return 130
    again.cancel()
    drained.result()
    return 0


def _ending() -> asyncio.Future[None]:
    """Return what is done when TERM or INT comes."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return ended


async def _interrupted() -> None:
    """Wait for an INT."""
    loop = asyncio.get_running_loop()
    interrupted: asyncio.Future[None] = loop.create_future()
    loop.add_signal_handler(
        signal.SIGINT, lambda: None if interrupted.done() else interrupted.set_result(None)
    )
    await interrupted
