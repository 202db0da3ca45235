"""The process between the demo and its PostgreSQL: nothing outlives the demo, however that ends.

It is run as a script, by path, and knows the standard library only. Its law: when standard input
ends, the server ends and the folder goes. The kernel closes that pipe whenever the demo dies, of
SIGKILL too, so the end that nobody could prepare for is the same as the orderly one.

Linux can signal the server itself when its parent dies, but goes by the thread that forked it, and
no other system can; so that only covers the death of this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

READY: Final = b"ready\n"
"""What this process writes when the server accepts connections."""

GRACE: Final = 10.0
"""Seconds for a server to end by itself; PostgreSQL kills its own stragglers after 5."""
_GLANCE: Final = 0.02
"""Seconds between two looks at whether the server is ready; a start takes 100 to 200 ms."""

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_CLONE_NEWUSER: Final = 0x10000000  # linux/sched.h

_STDIN: Final = 0
_STDOUT: Final = 1


class _Over(Exception):
    """The demo has ended, or somebody asked this process to end."""


class Child:
    """A program of PostgreSQL, and all processes that it starts."""

    def __init__(self, command: Sequence[str], account: Mapping[str, Any], farewell: int) -> None:
        # Every process of the server inherits the writing end; when the last of them is gone, the
        # reading end is at its end. So nobody is signalled whose number may be another's by now.
        self.gone, alive = os.pipe()
        self._farewell = farewell
        self._process = subprocess.Popen(  # noqa: S603 - the programs that programs.py found
            command,
            stdin=subprocess.DEVNULL,
            # What initdb is doing; whatever goes wrong, both programs tell on standard error.
            stdout=subprocess.DEVNULL,
            pass_fds=(alive,),
            preexec_fn=_preparation(account, farewell),
            **_identity(account),
        )
        os.close(alive)
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def collect(self) -> int:
        """Return the status of the program; call it when `gone` is at its end."""
        return self._process.wait()

    def end(self) -> None:
        """End it; return when all its processes are gone."""
        for number in (self._farewell, signal.SIGKILL):
            self._process.send_signal(number)
            if select.select([self.gone], [], [], GRACE)[0]:
                break
        self._process.wait()


def _identity(account: Mapping[str, Any]) -> dict[str, Any]:
    if account["way"] != "setuid":
        return {}
    return {"user": account["uid"], "group": account["gid"], "extra_groups": []}


def _preparation(account: Mapping[str, Any], farewell: int) -> Callable[[], None] | None:
    """Return what the child does before it becomes its program; this process has no threads."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        if account["way"] == "namespace":
            _enter_namespace(libc, account["uid"], account["gid"])
        # A change of user clears this, so it comes after it (prctl(2)).
        libc.prctl(_PR_SET_PDEATHSIG, farewell, 0, 0, 0)

    return prepare


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Go into a user namespace where this user is called `uid` (user_namespaces(7))."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    try:
        if libc.unshare(_CLONE_NEWUSER) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")
    except OSError as error:
        # What is raised here, subprocess passes on without its words.
        told = f"PostgreSQL refuses this user, and no namespace can be made for it: {error}\n"
        os.write(2, told.encode())
        os._exit(1)


def is_ready(data: Path, pid: int) -> bool:
    """Say whether the server of process `pid` accepts connections, as `pg_ctl` finds it out.

    Source: src/include/utils/pidfile.h (line 1 the process, line 8 the status).
    """
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def watch(child: Child, asked: int, ready: Callable[[], bool]) -> int:
    """Wait until the child is gone and return its status; tell once when it is ready.

    A byte on standard input is the number of a signal for the child. Raises _Over at the end of
    standard input, or when there is something to read from `asked`.
    """
    told = False
    while True:
        waited_for = [_STDIN, child.gone, asked]
        readable = select.select(waited_for, [], [], None if told else _GLANCE)[0]
        if child.gone in readable:
            return child.collect()
        if asked in readable:
            raise _Over
        if _STDIN in readable:
            given = os.read(_STDIN, 1)
            if not given:
                raise _Over
            child.signal(given[0])
        if not told and ready():
            told = True
            os.write(_STDOUT, READY)


def keep(plan: Mapping[str, Any], asked: int) -> int:
    """Run the server until it or the demo ends; return its status."""
    account, data = plan["account"], Path(plan["data"])
    child: Child | None = None
    try:
        if not (data / "PG_VERSION").exists():
            child = Child(plan["initdb"], account, signal.SIGTERM)
            status = watch(child, asked, lambda: False)
            if status != 0:
                return status
        # Immediate shutdown: nobody needs the data, but what is outside the folder (a segment of
        # shared memory) is given back. SIGKILL would leave it.
        child = server = Child(plan["postgres"], account, signal.SIGQUIT)
        return watch(child, asked, lambda: is_ready(data, server.pid))
    except _Over:
        if child is not None:
            child.end()
        shutil.rmtree(plan["folder"], ignore_errors=True)
        return 0
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{plan['postgres'][0]} cannot be run: {error}\n")
        return 1


def asked_to_end() -> int:
    """Return a descriptor from which there is something to read after a signal to end."""
    asked, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return asked


if __name__ == "__main__":
    sys.exit(keep(json.loads(sys.argv[1]), asked_to_end()))
