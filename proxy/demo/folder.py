"""Private temporary folders: locked while in use, so that what a crash has left is known as such.

The lock is flock(2), which ends with the last process that has the file open, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "gatelodge-postgres-"
_LOCK: Final = "lock"
_OTHER_PLACES: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - mkdtemp makes the name

_YOUNG: Final = 60.0
"""Seconds in which a folder may be without its lock, since that is made after the folder."""


@dataclass(frozen=True)
class Folder:
    """A folder that only its owner can look into."""

    path: Path
    lock: int
    """The descriptor whose being open keeps the folder from being swept away."""

    def remove(self) -> None:
        """Remove it, if somebody else has not; what cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make_folder(is_good: Callable[[Path], bool]) -> Folder:
    """Make a folder where temporary files go, in the first place that `is_good`.

    Removes what former ones have left there. Raises OSError when no place can be written to.
    """
    places = (Path(tempfile.gettempdir()), *_OTHER_PLACES)
    place = next((place for place in places if _is_open(place, is_good)), places[0])
    sweep(place)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Folder(path, lock)


def _is_open(place: Path, is_good: Callable[[Path], bool]) -> bool:
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK) and is_good(place)


def sweep(place: Path) -> None:
    """Remove the folders in `place` that belong to nobody any more."""
    for path in place.glob(f"{PREFIX}*"):
        if _is_left(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    try:
        if path.is_symlink() or time.time() - path.stat().st_mtime < _YOUNG:
            return False
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        # Another user's, or gone by now, or without a lock: not one of ours.
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The folder may be nobody's, the lock is of whoever made it.
        return os.fstat(lock).st_uid == os.geteuid()
    except OSError:
        return False
    finally:
        os.close(lock)
