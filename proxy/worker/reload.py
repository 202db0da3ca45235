"""Reading the configuration anew, and taking it into use whole or not at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from proxy.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.telemetry.metrics import Metrics
    from proxy.worker.source import ConfigSource
    from proxy.worker.systemd import Notifier

_log = logging.getLogger("gatelodge.worker")

_OLDER: Final = "ready, with a configuration that is older than its file; see /-/status"
_ENDING: Final = "the gateway is ending"
_UNEXPECTED: Final = "an error that nobody expected; the log has it"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of a reload at the Unix time `at`: the configuration that was read is in use, or
    `problems` says all that is wrong with it and `generation` goes on.
    """

    at: float
    generation: int
    problems: tuple[str, ...] = ()


class Reloader:
    """Reloads, one after the other.

    `use` takes a configuration into use and returns its generation. If it raises, for whatever
    reason, it must have changed nothing.
    """

    def __init__(
        self,
        source: ConfigSource,
        use: Callable[[Config], Awaitable[int]],
        metrics: Metrics,
        config: Config,
        notifier: Notifier,
    ) -> None:
        self._source = source
        self._use = use
        self._metrics = metrics
        self._config = config
        self._notifier = notifier
        self._generation = 1
        self._turns = asyncio.Lock()
        self._next: asyncio.Task[Reloaded] | None = None
        self._tasks: set[asyncio.Task[Reloaded]] = set()
        self._has_begun = self._is_asked = self._has_ended = False
        self.last: Reloaded | None = None
        """What came of the last one."""
        metrics.reload_timestamp = time.time()

    def __repr__(self) -> str:
        return f"<Reloader generation={self._generation} last={self.last}>"

    @property
    def word(self) -> str:
        """What there is to say to whoever asks whether requests are welcome, and they are."""
        return _OLDER if self.last is not None and self.last.problems else "ready"

    def status(self) -> dict[str, object] | None:
        """Return what came of the last reload as JSON can hold it, None if there was none."""
        last = self.last
        if last is None:
            return None
        at = datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds")
        return {"at": at, "in_use": not last.problems, "problems": list(last.problems)}

    def ask(self) -> None:
        """Reload, as HUP and a changed file ask for; not before the start has ended (`begin`)."""
        self._is_asked = True
        if self._has_begun and not self._has_ended:
            self._soon()

    def begin(self) -> None:
        """The start has ended."""
        self._has_begun = True
        if self._is_asked:
            self.ask()

    async def reload(self) -> Reloaded:
        """Read the configuration and use it. It is read after this was called, once for all who
        call while another reload is under way. The end of the gateway is a problem, too.
        """
        if not self._has_ended:
            reloading = self._soon()
            await asyncio.wait({reloading})  # unlike awaiting it, this does not cancel it with us
            if not reloading.cancelled():
                return reloading.result()
        return Reloaded(time.time(), self._generation, (_ENDING,))

    def _soon(self) -> asyncio.Task[Reloaded]:
        """Return the reload that comes next, or is the first."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._turn())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        return self._next

    async def stop(self) -> None:
        """Give up what is under way, and begin no more."""
        self._has_ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _turn(self) -> Reloaded:
        async with self._turns:
            self._next = None
            self._notifier.reloading()
            self.last = outcome = await self._outcome()
            self._note(outcome)
            self._notifier.ready()
        return outcome

    def _note(self, outcome: Reloaded) -> None:
        self._metrics.reload_successful = int(not outcome.problems)
        if not outcome.problems:
            self._metrics.reload_timestamp = outcome.at
            _log.info("configuration reloaded", extra={"generation": outcome.generation})
            return
        for problem in outcome.problems:
            _log.error("configuration cannot be used", extra={"problem": problem})
        _log.error(
            "reload refused, nothing has changed",
            extra={"problems": len(outcome.problems), "generation": outcome.generation},
        )

    async def _outcome(self) -> Reloaded:
        try:
            config = await asyncio.to_thread(self._source.read)
            _check_fixed(self._config, config)
            self._generation = await self._use(config)
            self._config = config
        except ConfigError as error:
            problems = tuple(problem.brief for problem in error.problems)
        except (OSError, ValueError) as error:
            problems = (told(error),)
        except Exception:  # noqa: BLE001 - whatever it is, the gateway goes on as it was
            _log.exception("a reload failed")
            problems = (_UNEXPECTED,)
        else:
            problems = ()
        return Reloaded(time.time(), self._generation, problems)


def _check_fixed(config: Config, changed: Config) -> None:
    """Raise ConfigError if something has changed that only a restart changes."""
    fixed = {
        "listen": config.listen != changed.listen,
        "admin": config.admin != changed.admin,
        "workers": config.workers != changed.workers,
    }
    message = "has changed, which needs a restart; nothing of the file is in use before that"
    found = [Problem(key, 0, 0, message) for key, differs in fixed.items() if differs]
    if found:
        raise ConfigError(found)


def told(error: Exception) -> str:
    """Return what operators are told of an error, and where it is a file's, of which."""
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
