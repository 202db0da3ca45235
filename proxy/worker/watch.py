"""Notices that a file of the configuration has changed.

It looks once a second instead of being told by the kernel: that works on every file system, network
and overlay ones too, and whatever way a file is replaced, be it by a link to another folder, as
Kubernetes does with a ConfigMap, or by an editor that renames.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from proxy.worker.source import Mark

INTERVAL: Final = 1.0
"""Seconds between two looks. Two must see the same, so that no file is read half written."""


def marks_of(files: Sequence[Path]) -> dict[Path, Mark]:
    """Return what the files are now."""
    return {file: _mark(file) for file in files}


def _mark(file: Path) -> Mark:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Marked(Protocol):
    """Something that is read from files."""

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """The files, and what they were when they were last read."""


class Watch:
    """Calls `changed` when a file is not what it was when `source` read it, and is the same at two
    looks; once for what it then is. While `is_on` says no, it does not look.
    """

    def __init__(
        self,
        source: Marked,
        is_on: Callable[[], bool],
        changed: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._source = source
        self._is_on = is_on
        self._changed = changed
        self._interval = interval
        self._before: Mapping[Path, Mark] = {}
        self._told: Mapping[Path, Mark] = {}

    def __repr__(self) -> str:
        return f"<Watch files={len(self._source.marks)}>"

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._interval)
            if self._is_on():
                # In a thread: a file system of the network may take its time.
                self.look(await asyncio.to_thread(marks_of, tuple(self._source.marks)))

    def look(self, marks: Mapping[Path, Mark]) -> None:
        """Take note of what the files are."""
        has_settled = marks == self._before
        self._before = marks
        if marks == self._source.marks:
            self._told = {}  # it has been read: a file that comes back as it was told is a change
        elif has_settled and marks != self._told:
            self._told = marks
            self._changed()
