"""A file that its reader waits for: it holds a process while it reads its configuration."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_POLL: Final = 0.01
"""Seconds between two looks; opening in the blocking way would wait for a dead reader for ever."""
_DEADLINE: Final = 60.0


async def wait_for_reader(fifo: Path, is_alive: Callable[[], bool]) -> int:
    """Return a descriptor for writing once somebody has opened `fifo` for reading, who then waits
    for what is written. Raises AssertionError when `is_alive` says that nobody will.
    """
    end = time.monotonic() + _DEADLINE
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads: fifo(7)
                raise
        assert is_alive(), "the reader has ended"
        assert time.monotonic() < end, "nobody reads"
        await asyncio.sleep(_POLL)
