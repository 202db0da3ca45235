"""Notices that a file of the configuration has changed.

It looks once a second instead of being told by the kernel: that works on every file system, network
and overlay ones too, and whatever way a file is replaced, be it by a link to another folder, as
Kubernetes does with a ConfigMap, or by an editor that renames.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two looks. Two must see the same, so that no file is read half written."""

Signature = tuple[tuple[int, int, int] | None, ...]
"""What each file is: its inode, size and time of change (ns); None where there is none."""


def signature(files: Sequence[Path]) -> Signature:
    """Return what the files are now."""
    return tuple(map(_mark, files))


def _mark(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Watch:
    """Calls `changed` when one of `files` is not what it was, and is the same at two looks.

    The names are asked for at every look, since a changed configuration names others.
    """

    def __init__(
        self,
        files: Callable[[], Sequence[Path]],
        changed: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._files = files
        self._changed = changed
        self._interval = interval
        self._known: dict[Path, object] = {}
        self._fresh: dict[Path, object] = {}

    def __repr__(self) -> str:
        return f"<Watch files={len(self._known)}>"

    async def run(self) -> None:
        """Look for ever; what is there at the first look counts as known."""
        self._known = self._fresh = await self._marks()
        while True:
            await asyncio.sleep(self._interval)
            self.look(await self._marks())

    async def _marks(self) -> dict[Path, object]:
        files = tuple(self._files())
        # In a thread: a file system of the network may take its time.
        return dict(zip(files, await asyncio.to_thread(signature, files), strict=True))

    def look(self, marks: dict[Path, object]) -> None:
        """Take note of what the files are; `changed` is called by this, at most once."""
        settled = marks == self._fresh
        self._fresh = marks
        # A file that is named for the first time was read when the file that names it was.
        news = any(self._known.get(file, mark) != mark for file, mark in marks.items())
        if not news:
            self._known = marks
        elif settled:
            self._known = marks
            self._changed()
