"""A real systemd: process 1 of namespaces of its own, with the units of a test and no others.

    async with Systemd(tmp_path, {"x.service": text}) as systemd:
        await systemd.systemctl("start", "x.service")

It needs Linux and root. The network is the machine's, so that a test reaches what runs there by
loopback; processes, mounts, control groups, host name and /run are its own, /proc/sys cannot be
written, and all ends when process 1 is killed, which it also is when the test's process ends.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.processes import children_of

PROGRAM: Final = Path("/lib/systemd/systemd")

_START: Final = 60.0
"""Seconds for what takes less than one on a machine without better things to do."""
_POLL: Final = 0.02

# Stand-ins for what default dependencies name: the real ones would start udev, a journal and more.
_TARGETS: Final = ("sysinit", "basic", "shutdown", "sockets", "network-online", "multi-user")

# In mounts of its own: a control group for process 1 to be the root of, whatever the machine's
# layout is.
_OUTER: Final = """\
set -e
mkdir -p "$1/cgroup"
mount --make-rprivate /
mount -t cgroup2 none "$1/cgroup"
mkdir "$1/cgroup/$2"
echo $$ >"$1/cgroup/$2/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --cgroup --ipc --uts sh "$1/inner.sh" "$1"
"""
_INNER: Final = """\
set -e
umount "$1/cgroup"
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /run
while umount -l /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 none /sys/fs/cgroup
mount --bind /dev/null /dev/console
touch "$1/kmsg"
mount --bind "$1/kmsg" /dev/kmsg
export container=test SYSTEMD_UNIT_PATH="$1/units"
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=kmsg --log-level=info
"""
_TRY: Final = """\
mount --make-rprivate /
mount -t cgroup2 none "$1"
umount "$1"
"""
_REMOVE: Final = """\
mount --make-rprivate /
mount -t cgroup2 none "$1/cgroup" && find "$1/cgroup/$2" -depth -type d -exec rmdir {} ';'
"""


def missing() -> str:
    """Return what this machine lacks for it, "" if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a systemd of the test's own needs Linux and root"
    with tempfile.TemporaryDirectory() as folder:
        words = ["unshare", "--mount", "sh", "-ec", _TRY, "sh", folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"control groups cannot be mounted here: {done.stderr}" if done.returncode else ""


class SystemdFailed(AssertionError):
    """It did not start, or refused; the message holds what it said."""


class Systemd:
    """One manager, with `units`: the texts of files by their names, drop-ins (`x.service.d/y.conf`)
    among them.
    """

    def __init__(self, folder: Path, units: Mapping[str, str]) -> None:
        self._folder = folder / "systemd"
        self._group = f"gatelodge-test-{os.getpid()}-{time.monotonic_ns()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0
        targets = {f"{name}.target": f"[Unit]\nDescription={name}\n" for name in _TARGETS}
        for name, text in {**targets, **units}.items():
            self.write(name, text)
        (self._folder / "inner.sh").write_text(_INNER)

    def write(self, name: str, text: str) -> None:
        """Write the file of a unit; `systemctl("daemon-reload")` makes it known."""
        file = self._folder / "units" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    async def __aenter__(self) -> Self:
        assert PROGRAM.exists(), "systemd is missing: run scripts/install-systemd.sh"
        process = self._spawn()
        try:
            await self._started(process)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _OUTER]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*words, "sh", str(self._folder), self._group],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process

    async def _started(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START
        while True:
            for child in children_of(process.pid):
                self._first = child
                done = await asyncio.to_thread(self._control, "show", "--property=Version")
                if done.returncode == 0:
                    return
            if process.poll() is not None or time.monotonic() > end:
                raise SystemdFailed(f"systemd does not start:\n{self.log_text()}")
            await asyncio.sleep(_POLL)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()  # and so process 1, and so all others
        self._process.wait()
        problem = await asyncio.to_thread(self._remove)
        assert error is not None or not problem, problem

    def _remove(self) -> str:
        """Remove the control groups when nobody is in them; return what goes wrong."""
        while self._first and Path(f"/proc/{self._first}").exists():
            time.sleep(_POLL)
        words = ["sh", "-c", _REMOVE, "sh", str(self._folder), self._group]
        done = subprocess.run(
            ["unshare", "--mount", *words], capture_output=True, text=True, check=False
        )
        return done.stderr

    def _control(self, *words: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self._first), "--mount", "--pid"]
        return subprocess.run(
            [*enter, "systemctl", "--no-pager", *words],
            capture_output=True,
            text=True,
            timeout=2 * _START,
            check=False,
        )

    async def systemctl(self, *words: str) -> str:
        """Run systemctl in there; return what it prints. Raises SystemdFailed."""
        done = await asyncio.to_thread(self._control, *words)
        if done.returncode != 0:
            raise SystemdFailed(f"systemctl {' '.join(words)}: {done.stderr}\n{self.log_text()}")
        return done.stdout.strip()

    async def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return await self.systemctl("show", unit, f"--property={name}", "--value")

    async def until(self, unit: str, name: str, value: str) -> None:
        """Wait until a property of a unit has that value."""
        end = time.monotonic() + _START
        while (found := await self.show(unit, name)) != value:
            if time.monotonic() > end:
                raise SystemdFailed(f"{name} of {unit} stays {found}:\n{self.log_text()}")
            await asyncio.sleep(_POLL)

    async def processes(self, unit: str) -> list[int]:
        """Return the processes of a unit, by the ids that they have outside, its main one first."""
        main = int(await self.show(unit, "MainPID"))
        space = os.readlink(f"/proc/{self._first}/ns/pid")
        group = await self.show(unit, "ControlGroup")
        found = [pid for pid in _pids() if _is_in(pid, space, group)]
        return sorted(found, key=lambda pid: _inner(pid) != main)

    def log_text(self) -> str:
        """Return what it has said."""
        files = [self._folder / name for name in ("log", "kmsg")]
        return "".join(
            each.read_text("utf-8", "backslashreplace") for each in files if each.exists()
        )


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _is_in(pid: int, space: str, group: str) -> bool:
    """Whether a process is in the PID namespace and below the control group."""
    try:
        if os.readlink(f"/proc/{pid}/ns/pid") != space:
            return False
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:  # it has ended
        return False
    return groups.rstrip().endswith(group)


def _inner(pid: int) -> int:
    """Return the id that a process has in the innermost PID namespace (proc(5), NSpid)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise AssertionError(f"process {pid} has no NSpid")
