"""The decisions of one generation that are under way: what they may ask has to stay for them."""

from __future__ import annotations

import asyncio


class Deciding:
    """Counts decisions: `with deciding: ...` for each, `over` to wait for the last."""

    __slots__ = ("_count", "_last")

    def __init__(self) -> None:
        self._count = 0
        self._last: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Deciding {self._count}>"

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if self._last is not None and not self._count and not self._last.done():
            self._last.set_result(None)

    async def over(self) -> None:
        """Wait until none is under way; to be asked when no other begins any more."""
        if self._count:
            self._last = asyncio.get_running_loop().create_future()
            await self._last
