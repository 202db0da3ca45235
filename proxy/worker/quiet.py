"""Which connections may be closed in a drain without losing a request that is on its way.

The end of a connection and the client's next request can cross, and then the request is lost. So a
connection that is in use is left to be told by its next answer (`Connection: close`), and only one
that has been silent for a while is closed. The same goes for one that has only just come.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class Quiet(Generic[T]):
    """Notes when connections were seen silent.

    `grace` is how many seconds make a while; `deadline_of` returns the deadline of a connection for
    what comes next, of which each exchange makes a new one.
    """

    def __init__(self, grace: float, deadline_of: Callable[[T], float]) -> None:
        self._grace = grace
        self._deadline_of = deadline_of
        self._seen: dict[T, tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<Quiet seen={len(self._seen)}>"

    def look(self, connections: Iterable[T]) -> list[T]:
        """Return those of `connections`, which are all there are, that have been silent for a
        while.
        """
        now, before = monotonic(), self._seen
        self._seen = {}
        for each in connections:
            deadline, since = before.get(each, (self._deadline_of(each), now))
            current = self._deadline_of(each)
            self._seen[each] = (current, since if current == deadline else now)
        return [each for each, (_, since) in self._seen.items() if now - since >= self._grace]
