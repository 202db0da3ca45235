"""A store of sessions in memory, for tests that need no database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.config.model import DatabaseConfig
from proxy.core.stored import Row
from proxy.errors import SessionStoreDown
from proxy.session.store import StoreState


def row(
    token: str, expires: float | None, user: str | None = "u-1", more: tuple[str | None, ...] = ()
) -> Row:
    """Return a session of Ada's."""
    return Row(token, expires, user, "Ada", "ada@example.com", None, more)


class FakeStore:
    """Knows rows by heart. `asked` are the tokens that it was asked about.

    `problem` makes it answer SessionStoreDown; while `gate` is not set, it does not answer.
    """

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.asked: list[str] = []
        self.problem = ""
        self.gate = asyncio.Event()
        self.gate.set()

    def serves(self, _config: DatabaseConfig) -> bool:
        """Whether it would do for another configuration."""
        return True

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """Send away whoever waits."""
        self.problem = "stopped"
        self.gate.set()

    async def fetch(self, token: str) -> Sequence[Row]:
        """Return the rows of a token, at most two. Raises SessionStoreDown."""
        self.asked.append(token)
        await self.gate.wait()
        if self.problem:
            raise SessionStoreDown(self.problem)
        return [each for each in self.rows if each.token == token][:2]

    def state(self) -> StoreState:
        """Return how it is."""
        return StoreState(self.problem, "fake", 1, 1, 0)
