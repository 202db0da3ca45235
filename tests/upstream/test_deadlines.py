"""proxy/upstream/deadlines.py with a loop that the test turns by hand."""

from __future__ import annotations

import asyncio

from proxy.upstream.deadlines import Deadlines


async def test_nothing_is_scheduled_while_nothing_is_watched() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    assert repr(deadlines) == "<Deadlines watched=0>"
