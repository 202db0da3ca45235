"""What proc(5) tells of processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children; none of one that has ended."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(each) for each in told.split()]


def words_of(pid: int) -> list[str]:
    """Return the words of its command; of its parent's until it has begun its own program."""
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]


def state_of(pid: int) -> str:
    """Return the letter of its state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ports_of(pid: int) -> set[int]:
    """Return the ports of the peers that a process holds connections with."""
    links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {found[1] for link in links if (found := re.match(r"socket:\[(\d+)\]", link))}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].partition(":")[2], 16) for row in rows if row[9] in inodes}


async def stopped(pid: int) -> None:
    """Let a process stand still, so that what it holds stays what it is."""
    os.kill(pid, signal.SIGSTOP)
    while state_of(pid) not in "TZ":  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)
