"""Which connections may be closed in a drain without losing a request that is on its way.

The end of a connection and the client's next request can cross, and then the request is lost. So a
connection that is in use is left to be told by its next answer (`Connection: close`), and only one
that has been silent for a while is closed. The same goes for one that has only just come.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.gateway.listener import ClientConnection


class Quiet:
    """Notes when connections were seen silent; `grace` is how many seconds make a while."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._seen: dict[ClientConnection, tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<Quiet seen={len(self._seen)}>"

    def look(self, clients: Iterable[ClientConnection]) -> list[ClientConnection]:
        """Return those of `clients`, which are all there are, that have been silent for a while.

        Each exchange gives a connection a new deadline for the next.
        """
        now, before = monotonic(), self._seen
        self._seen = {}
        for client in clients:
            deadline, since = before.get(client, (client.read_deadline, now))
            same = deadline == client.read_deadline
            self._seen[client] = (client.read_deadline, since if same else now)
        return [client for client, (_, since) in self._seen.items() if now - since >= self._grace]
