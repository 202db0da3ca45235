"""A pod with real processes, and what the kubelet does for it, in its order.

From pkg/kubelet/kuberuntime of Kubernetes 1.33: `killContainer` runs the preStop hook, waits for
the container's turn (`terminationOrdering.waitForTurn`: a sidecar's comes when the main containers
have ended), and stops it with what is left of the grace period, but at least 2 s. It does so for
all containers at once, so the hooks of all begin at the beginning. A container that ends by itself
is started again, unless the pod is being deleted.

Every time of the manifest is multiplied by `scale`, so that a test need not take minutes.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

from tests.support.balancers import Balancer

_MINIMUM: Final = 2.0
"""Seconds of grace that every container gets (minimumGracePeriodInSeconds)."""
_POLL: Final = 0.02
_NAMES: Final = [f"pod-{number}" for number in range(64)]

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Program:
    """What a container's image is here: the command, where its own commands are looked up (`exec`
    of hooks and probes), its environment, and the real port of each port that the manifest names.
    """

    command: Sequence[str]
    lookup: Callable[[Sequence[str]], Sequence[str]] = list
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, int] = field(default_factory=dict)


class Container:
    """One container: a process, started again whenever it ends."""

    def __init__(self, spec: Spec, program: Program, log: Path, scale: float) -> None:
        self.name: str = spec["name"]
        self.spec = spec
        self.is_ready = False
        self.is_sidecar = spec.get("restartPolicy") == "Always"
        self.restarts = 0
        self.ended = asyncio.Event()
        """Set when it has been stopped."""
        self._program = program
        self._log = log
        self._scale = scale
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs at the moment."""
        assert self._process is not None
        return self._process

    def run(self) -> None:
        """Start the process."""
        with self._log.open("ab") as log:
            self._process = self._popen(self._program.command, log)

    def _popen(self, command: Sequence[str], log: Any) -> subprocess.Popen[bytes]:
        env = {**os.environ, **self._program.env}
        return subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )

    async def started(self) -> None:
        """Wait until the startup probe, if there is one, succeeds."""
        probe = self.spec.get("startupProbe")
        if probe is None:
            return
        for _ in range(probe["failureThreshold"]):
            if await self.probed(probe):
                return
            await asyncio.sleep(probe["periodSeconds"] * self._scale)
        raise AssertionError(f"{self.name} does not start:\n{self.log_text()}")

    async def probed(self, probe: Spec) -> bool:
        """Ask once."""
        if "exec" in probe:
            return await self._executed(probe["exec"]["command"]) == 0
        return await self._got(probe["httpGet"]["path"], probe["httpGet"]["port"])

    async def _executed(self, command: Sequence[str]) -> int:
        """Run a command in the container; return its exit code."""
        with self._log.open("ab") as log:
            process = self._popen(self._program.lookup(command), log)
        try:
            while (code := process.poll()) is None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_POLL)
        finally:
            process.kill()
            process.wait()
        return code

    async def _got(self, path: str, port: int) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._program.ports[port])
        except OSError:
            return False
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
        finally:
            writer.close()

    async def prestop(self) -> None:
        """Run the hook, if there is one. One that fails is an event in Kubernetes, and no more."""
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        command = hook.get("exec", {}).get("command", [])
        if command[:1] == ["sleep"]:
            await asyncio.sleep(float(command[1]) * self._scale)
        elif command:
            code = await self._executed(command)
            assert code == 0, f"{command} of {self.name} failed:\n{self.log_text()}"

    async def stop(self, grace: float) -> None:
        """TERM, and KILL after so many seconds."""
        self.process.send_signal(signal.SIGTERM)
        end = monotonic() + grace
        while self.process.poll() is None:
            if monotonic() > end:
                self.process.kill()
            await asyncio.sleep(_POLL)
        self.ended.set()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_text(self) -> str:
        """Return what it has written."""
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")


class Pod:
    """The containers of one pod."""

    def __init__(
        self, spec: Spec, programs: Mapping[str, Program], folder: Path, scale: float
    ) -> None:
        specs = [*spec.get("initContainers", []), *spec["containers"]]
        self.containers = {
            each["name"]: Container(
                each, programs[each["name"]], folder / f"{each['name']}.log", scale
            )
            for each in specs
        }
        self.deleted = False
        self.is_served = False
        """Whether its Service sends connections to it."""
        self._grace = spec["terminationGracePeriodSeconds"] * scale
        self._scale = scale
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_ready(self) -> bool:
        """Whether it belongs into its Service."""
        return not self.deleted and all(each.is_ready for each in self.containers.values())

    async def start(self) -> None:
        """Start the containers, sidecars first, each when the one before has started."""
        sidecars = [each for each in self.containers.values() if each.is_sidecar]
        others = [each for each in self.containers.values() if not each.is_sidecar]
        for each in sidecars:
            each.run()
            await each.started()
        for each in others:
            each.run()
        self._tasks = [asyncio.create_task(self._attend(each)) for each in sidecars + others]

    async def _attend(self, container: Container) -> None:
        """Ask whether it is ready, and start it again when it has ended."""
        await container.started()
        probe = container.spec["readinessProbe"]
        while not self.deleted:
            if container.process.poll() is not None:
                container.is_ready = False
                container.restarts += 1
                container.run()
                await container.started()
            container.is_ready = await container.probed(probe)
            await asyncio.sleep(
                probe["periodSeconds"] * self._scale if container.is_ready else _POLL
            )

    async def delete(self) -> dict[str, int]:
        """End the pod; return the exit code of each container."""
        self.deleted = True
        await self._leave()
        end = monotonic() + self._grace
        await asyncio.gather(*(self._end(each, end) for each in self.containers.values()))
        return {each.name: each.process.returncode for each in self.containers.values()}

    async def _end(self, container: Container, end: float) -> None:
        try:
            async with asyncio.timeout(end - monotonic()):
                await container.prestop()
                if container.is_sidecar:
                    for other in self.containers.values():
                        if not other.is_sidecar:
                            await other.ended.wait()
        except TimeoutError:
            pass
        await container.stop(max(_MINIMUM, end - monotonic()))

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def kill(self) -> None:
        """End all at once."""
        self.deleted = True
        await self._leave()
        for each in self.containers.values():
            each.kill()


_HAPROXY: Final = """\
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {more}
frontend front
    bind 127.0.0.1:@PORT@
    default_backend pods
backend pods
"""


class Endpoints:
    """A Service: a real HAProxy that hands connections, not requests, to the pods that are ready.

    It learns of a change `delay` seconds late, as nodes do; a connection stays with its pod, as
    conntrack keeps it, and one that a pod refuses is closed, unless `redispatch` sends it to
    another one.
    """

    def __init__(self, folder: Path, delay: float, *, redispatch: bool = False) -> None:
        self._socket = folder / "h"
        self._delay = delay
        more = "retries 3\n    option redispatch 1" if redispatch else "retries 0"
        text = _HAPROXY.format(socket=self._socket, more=more)
        servers = (f"    server {name} 127.0.0.1:1 disabled\n" for name in _NAMES)
        self.balancer = Balancer.haproxy(text + "".join(servers), folder)
        self._free = list(_NAMES)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.balancer.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.balancer.__aexit__(None, None, None)

    def follow(self, pod: Pod, port: int) -> str:
        """Have the pod among the endpoints while it is ready; return its name here."""
        name = self._free.pop(0)
        self._told(f"set server pods/{name} addr 127.0.0.1 port {port}")
        task = asyncio.create_task(self._follow(pod, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return name

    async def _follow(self, pod: Pod, name: str) -> None:
        is_in = False
        while True:
            if pod.is_ready != is_in:
                is_in = pod.is_ready
                await asyncio.sleep(self._delay)
                self._told(f"set server pods/{name} state {'ready' if is_in else 'maint'}")
                pod.is_served = is_in
            await asyncio.sleep(_POLL)

    def clients_of(self, name: str) -> set[int]:
        """Return the ports of the clients whose connections this pod has at the moment."""
        told = self._told("show sess")
        return {int(port) for port in re.findall(rf" src=127\.0\.0\.1:(\d+) .* srv={name} ", told)}

    def _told(self, command: str) -> str:
        """Give a command by the runtime API, and return the answer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self._socket))
            admin.sendall(command.encode() + b"\n")
            answer = b""
            while piece := admin.recv(1 << 16):
                answer += piece
        return answer.decode()
