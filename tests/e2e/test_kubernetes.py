"""A rollout in Kubernetes by the manifest of deploy/kubernetes, with real processes in the order in
which the kubelet starts and ends them: nothing that could have been served fails.

These are short, as all times of the manifest are shortened. With the manifest's own times:

    GATELODGE_NEVER_DROPS=1 pytest -s tests/e2e/test_kubernetes.py
"""

from __future__ import annotations

import asyncio
import copy
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.client import RawClient
from tests.support.gateway import ROOT
from tests.support.load import Load, Plan
from tests.support.pod import Endpoints, Pod, Program
from tests.support.ports import free_port
from tests.support.processes import stopped
from tests.support.worker import COOKIE, SECRET, request, token

pytestmark = pytest.mark.slow

FULL: Final = bool(os.environ.get("GATELODGE_NEVER_DROPS"))
SCALE: Final = 1.0 if FULL else 0.3
ROUNDS: Final = 3 if FULL else 1
NAME: Final = f"__Secure-{COOKIE}"
"""The cookie's name where browsers use https, which is a part of its key."""
PLAN: Final = Plan(
    rate=200 if FULL else 60, sockets=3, headers=f"Cookie: {NAME}={token(cookie=NAME)}\r\n"
)
PROPAGATION: Final = 3.0 * SCALE
"""Seconds until a Service knows of a pod that comes or goes."""
MANIFEST: Final = ROOT / "deploy" / "kubernetes" / "gatelodge.yaml"
API: Final = ROOT / "tests" / "e2e" / "backends" / "pod_api.py"


def documents() -> dict[str, dict[str, Any]]:
    """The manifest's documents, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))}


def pod_spec() -> dict[str, Any]:
    """Return what the manifest says of a pod."""
    spec: dict[str, Any] = documents()["Deployment"]["spec"]["template"]["spec"]
    return copy.deepcopy(spec)


def sidecar_of(spec: dict[str, Any]) -> dict[str, Any]:
    sidecar: dict[str, Any] = spec["initContainers"][0]
    return sidecar


def config_text() -> str:
    text: str = documents()["ConfigMap"]["data"]["gatelodge.yaml"]
    return text


class Node:
    """Where pods of one manifest are made."""

    def __init__(self, folder: Path, spec: dict[str, Any], workers: int, **drain: float) -> None:
        self._folder = folder
        self._spec = spec
        self._workers = workers
        self._drain = drain
        self._made = 0
        self.pods: list[Pod] = []

    async def pod(self, endpoints: Endpoints) -> tuple[Pod, str]:
        """Start a pod and wait until its Service sends connections to it."""
        self._made += 1
        folder = self._folder / f"pod-{self._made}"
        folder.mkdir()
        ports = {8080: free_port(), 9090: free_port(), 8000: free_port()}
        pod = Pod(self._spec, self._programs(folder, ports), folder, SCALE)
        self.pods.append(pod)
        name = endpoints.follow(pod, ports[8080])
        await pod.start()
        while not pod.is_served:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        return pod, name

    def _programs(self, folder: Path, ports: dict[int, int]) -> dict[str, Program]:
        (folder / "auth_secret").write_text(SECRET)
        config = yaml.safe_load(config_text().replace("/run/secrets/gatelodge", str(folder)))
        config["listen"] = f"127.0.0.1:{ports[8080]}"
        config["admin"] = f"127.0.0.1:{ports[9090]}"
        config["upstreams"]["api"]["endpoints"] = [f"http://127.0.0.1:{ports[8000]}"]
        config |= {"workers": self._workers, "log": {"format": "json", "access": False}}
        for key in ("delay", "timeout"):
            seconds = self._drain.get(key, float(config["drain"][key].removesuffix("s")))
            config["drain"][key] = f"{round(1000 * seconds * SCALE)}ms"
        file = folder / "gatelodge.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        program = [sys.executable, "-P", "-m", "proxy"]

        def lookup(command: Sequence[str]) -> list[str]:
            assert command[0] == "gatelodge"
            return [*program, *command[1:]]

        env = {"PYTHONPATH": str(ROOT), "GATELODGE_ADMIN": config["admin"]}
        gateway = Program([*program, "run", "-c", str(file)], lookup, env, ports)
        api = Program([sys.executable, str(API), str(ports[8000])], ports=ports)
        return {"gatelodge": gateway, "api": api}

    async def close(self) -> None:
        for each in self.pods:
            await each.kill()


async def rolled(node: Node, folder: Path, rounds: int = ROUNDS) -> Load:
    """Replace two pods by new ones under load; return what became of the load."""
    async with Endpoints(folder, PROPAGATION) as endpoints:
        try:
            pods = [(await node.pod(endpoints))[0] for _ in range(2)]
            async with Load(endpoints.balancer.port, PLAN) as load:
                await load.reach(30)
                for _ in range(2 * rounds):
                    new, _ = await node.pod(endpoints)  # maxSurge: 1, maxUnavailable: 0
                    old, pods = pods[0], [*pods[1:], new]
                    codes = await old.delete()
                    assert codes == {"gatelodge": 0, "api": 0}
                    await load.reach(30)
        finally:
            await node.close()
    print(f"\n{load.report}\nlost: {len(load.lost)}")
    return load


@pytest.mark.parametrize("workers", [1, 2] if FULL else [1])
async def test_a_rollout_fails_nobody(tmp_path: Path, workers: int) -> None:
    load = await rolled(Node(tmp_path, pod_spec(), workers), tmp_path)
    assert load.failed == []
    assert load.counts["websocket told to come back"]


async def test_without_the_hook_connections_that_are_kept_fail(tmp_path: Path) -> None:
    """What `gatelodge drain` is for: the API has gone, and the gateway is there still."""
    spec = pod_spec()
    del sidecar_of(spec)["lifecycle"]
    node = Node(tmp_path, spec, 1, delay=0.0)
    async with Endpoints(tmp_path, PROPAGATION) as endpoints:
        try:
            pod, _ = await node.pod(endpoints)
            async with RawClient(endpoints.balancer.port) as client:
                await client.send(request("GET", "/public/x"))
                assert [each.status for each in await client.read_answers()] == [200]
                deleting = asyncio.create_task(pod.delete())
                await pod.containers["api"].ended.wait()
                await client.send(request("GET", "/public/x"))
                await client.read_until_closed()
                statuses = [each.status for each in client.answers().final]
                await deleting
        finally:
            await node.close()
    # Or it was closed under the request, on a slow machine.
    assert statuses in ([200, 502], [200])


async def test_a_rollout_as_an_ordinary_container_fails_nobody(tmp_path: Path) -> None:
    """Before Kubernetes 1.29: both get TERM in the same moment, the API after its own hook."""
    spec = pod_spec()
    gateway = spec["initContainers"].pop()
    del gateway["restartPolicy"], gateway["lifecycle"]
    spec["containers"].insert(0, gateway)
    load = await rolled(Node(tmp_path, spec, 1), tmp_path, 1)
    assert load.failed == []


async def test_a_sidecar_that_is_killed_costs_what_it_had(tmp_path: Path) -> None:
    """The kubelet starts it again, while the API goes on; the other pod serves."""
    node = Node(tmp_path, pod_spec(), 1)
    async with Endpoints(tmp_path, PROPAGATION, redispatch=True) as endpoints:
        try:
            pods = [await node.pod(endpoints) for _ in range(2)]
            async with Load(endpoints.balancer.port, PLAN) as load:
                for pod, name in pods * ROUNDS:
                    await load.reach(60)
                    gateway = pod.containers["gatelodge"]
                    await stopped(gateway.process.pid)
                    async with load.held():
                        # Until the balancer has handed on what it had accepted.
                        await asyncio.sleep(0.5)
                        load.doom(endpoints.clients_of(name))
                        (victim := gateway.process).kill()
                        await asyncio.to_thread(victim.wait)
                    for is_served in (False, True):
                        while pod.is_served != is_served:  # noqa: ASYNC110 - nobody tells
                            await asyncio.sleep(0.02)
                await load.reach(60)
        finally:
            await node.close()
    print(f"\n{load.report}\nlost: {len(load.lost)}")
    assert load.failed == []
    restarts = [[each.restarts for each in pod.containers.values()] for pod, _ in pods]
    assert restarts == [[ROUNDS, 0]] * 2


OLDEST: Final = ["--kubernetes-version", "1.29"]
"""The first Kubernetes that has sidecars without a feature gate."""


@pytest.mark.parametrize("version", [OLDEST, []], ids=["oldest", "newest"])
def test_the_manifest_is_valid_by_the_schemas_of_kubernetes(version: list[str]) -> None:
    validated = validate(MANIFEST, *version)
    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert len(re.findall("passed for resource", validated.stdout)) == len(documents())


def test_a_misspelled_key_is_not_valid(tmp_path: Path) -> None:
    manifest = tmp_path / "gatelodge.yaml"
    manifest.write_text(MANIFEST.read_text(encoding="utf-8").replace("preStop", "prestop"))
    assert validate(manifest).returncode != 0


def validate(manifest: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = str(Path(sys.executable).with_name("kubernetes-validate"))
    return subprocess.run(
        [command, "--strict", *options, str(manifest)], capture_output=True, text=True, check=False
    )


def test_the_documented_lines_are_those_of_the_manifest() -> None:
    docs = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```yaml\n(spec:\n  terminationGrace.*?)```", docs, re.DOTALL)
    assert_within(yaml.safe_load(shown)["spec"], pod_spec(), "spec")
    drain = yaml.safe_load(config_text())["drain"]
    assert f"`drain: {{delay: {drain['delay']}, timeout: {drain['timeout']}}}`" in docs


def assert_within(part: Any, whole: Any, where: str) -> None:
    """Whether all that `part` says is said by `whole`, too."""
    if isinstance(part, dict):
        for key, value in part.items():
            assert_within(value, whole[key], f"{where}.{key}")
    elif isinstance(part, list) and len(part) == len(whole):
        for at, (one, other) in enumerate(zip(part, whole, strict=True)):
            assert_within(one, other, f"{where}[{at}]")
    else:
        assert part == whole, where
