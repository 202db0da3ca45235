"""What a supervisor tells operators: one gateway, whatever the number of its workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from proxy.telemetry.figures import sum_of
from proxy.worker.state import build_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.model import Config
    from proxy.supervisor.slot import Slot
    from proxy.telemetry.metrics import Metrics
    from proxy.worker.reload import Reloader

_SUMMED: Final = (
    *("connections", "requests_in_flight", "requests", "upstreams", "sessions"),
    *("rate_limits", "limit_store"),
)
"""Sections of a worker's status that make sense for all of them together."""


class Supervised(Protocol):
    """The gateway that is told of."""

    config: Config
    generation: int
    slots: list[Slot]
    addresses: dict[str, str]
    metrics: Metrics
    reloader: Reloader

    async def gather(self) -> None:
        """Let every worker report how it is."""

    async def depart(self) -> None:
        """Let every worker's clients go elsewhere."""


class SupervisorState:
    """Implements `proxy.admin.state.AdminState` for a supervisor; `phase` is set by it."""

    def __init__(self, supervisor: Supervised, version: str) -> None:
        self.phase: Literal["starting", "ready", "draining", "stopped"] = "starting"
        self.version = version
        self._supervisor = supervisor
        self._started = time.monotonic()
        supervisor.metrics.build = build_of(version)

    def __repr__(self) -> str:
        return f"<SupervisorState {self.phase}>"

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._supervisor.config

    def ready(self) -> tuple[bool, str]:
        """Whether requests are welcome, and why not: they are if a worker welcomes them."""
        if self.phase != "ready":
            return False, self.phase
        workers = [slot.worker for slot in self._supervisor.slots if slot.worker is not None]
        states = [worker.state for worker in workers if not worker.is_slow]
        known = [state for state in states if state is not None]
        for state in known:
            if state.ready:
                return True, self._supervisor.reloader.word
        return False, known[0].word if known else "no worker answers"

    async def reload(self) -> tuple[int, Sequence[str]]:
        """Read the configuration anew; return the generation in use, and why it is not the new
        one.
        """
        outcome = await self._supervisor.reloader.reload()
        return outcome.generation, outcome.problems

    async def depart(self) -> None:
        """Let clients go elsewhere."""
        await self._supervisor.depart()

    async def gather(self) -> None:
        """Let every worker report."""
        await self._supervisor.gather()

    def metrics_text(self) -> tuple[bytes, str]:
        """The metrics of all workers, those that have ended included, and their content type."""
        slots = self._supervisor.slots
        living = [process.state for slot in slots for process in slot.processes]
        figures = [state.figures for state in living if state is not None]
        return sum_of(
            [*figures, *(slot.departed for slot in slots)], self._supervisor.metrics
        ).text()

    def status(self) -> dict[str, object]:
        """The state of the gateway as JSON can hold it."""
        supervisor = self._supervisor
        reports = [
            process.state.status
            for slot in supervisor.slots
            for process in slot.processes
            if process.state is not None
        ]
        summed: dict[str, Any] = {}
        for report in reports:
            sections = {name: report[name] for name in _SUMMED}
            summed = together(summed, sections) if summed else sections
        return {
            "version": self.version,
            "state": self.phase,
            "uptime": round(time.monotonic() - self._started, 1),
            "generation": supervisor.generation,
            "last_reload": supervisor.reloader.status(),
            "listeners": dict(supervisor.addresses),
            "workers": [row for slot in supervisor.slots for row in _rows(slot)],
            **summed,
            "routes": reports[0]["routes"] if reports else [],
        }


def _rows(slot: Slot) -> list[dict[str, object]]:
    """Return what there is to say of a slot: its worker, or that there is none, and those that
    only finish what they have.
    """
    rows = []
    for process in slot.processes:
        status: Any = process.state.status if process.state is not None else {}
        rows.append(
            {
                "number": slot.number,
                "pid": process.pid,
                "state": status.get("state", "starting"),
                "uptime": status.get("uptime"),
                "restarts": slot.restarts,
                "clients": status.get("connections", {}).get("client"),
                "requests_in_flight": status.get("requests_in_flight"),
                "requests": status.get("requests"),
            }
        )
    if slot.worker is None:
        rows.append({"number": slot.number, "state": "down", "restarts": slot.restarts})
    return rows


def together(one: Any, other: Any) -> Any:
    """Return what two workers say of the same thing as one: numbers add up, what one cannot use
    is not usable, and words that differ are both told.
    """
    if isinstance(one, bool) and isinstance(other, bool):
        return one and other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one + other
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: together(one.get(name), other.get(name)) for name in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [together(a, b) for a, b in zip(one, other, strict=True)]
    if one is None or other is None or one == other:
        return other if one is None else one
    return f"{one} | {other}"
