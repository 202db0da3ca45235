"""How many workers `workers: auto` means."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_QUOTAS: Final = (
    # Control groups, version 2: "max 100000" or "150000 100000".
    Path("/sys/fs/cgroup/cpu.max"),
)


def usable_cores(quotas: tuple[Path, ...] = _QUOTAS) -> int:
    """Return the number of cores that this process may use, at least 1: those that it may run on,
    and no more than its container's share of CPU time, rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([cores or 1, *(share for path in quotas if (share := _share(path)))]))


def _share(path: Path) -> int:
    """Return a quota in cores, 0 for none."""
    try:
        quota, _, period = path.read_text(encoding="ascii").strip().partition(" ")
    except (OSError, ValueError):
        return 0
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return 0
    return math.ceil(int(quota) / int(period))
