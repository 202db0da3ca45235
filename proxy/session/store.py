"""What a store of sessions is to the rest: asked for one token's rows, and for how it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from proxy.core.stored import Row

if TYPE_CHECKING:
    from proxy.config.model import DatabaseConfig


@dataclass(frozen=True, slots=True)
class StoreState:
    """A store at this moment. `problem` is why it cannot be asked, "" if it can; `tables` says
    where the sessions are, once that is known.
    """

    problem: str
    tables: str
    open: int
    idle: int
    waiting: int


@runtime_checkable
class Store(Protocol):
    """Sessions that somebody else keeps."""

    def serves(self, config: DatabaseConfig) -> bool:
        """Whether a store made for `config` now would be like this one: by the same settings, and
        by files that hold what they held. Raises OSError when a file cannot be read.
        """

    async def start(self) -> None:
        """Begin. A store that is away does not keep us from starting.

        Raises ValueError when it is there and cannot be used as it is configured.
        """

    async def stop(self) -> None:
        """End, with all that is in flight."""

    async def fetch(self, token: str) -> Sequence[Row]:
        """Return the rows of a token that `StoredSessions.check` let pass, at most two.

        Raises SessionStoreDown.
        """

    def state(self) -> StoreState:
        """Return how it is."""
