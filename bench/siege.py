"""The gateway besieged: what attackers cost it, and what an honest client sees meanwhile.

Each attack runs against a gateway process of its own, with the default limits. Attackers, gateway,
upstream and the honest client (witness.py) share the machine, so latencies tell of that too;
memory and who is answered do not depend on it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import attackers, machine, tokens
from bench.child import Child
from bench.contestants import fill, listening_port
from bench.errors import BenchError
from bench.witness import Seen, Witness, watch

_ROOT: Final = Path(__file__).parent.parent
_CONFIG: Final = Path(__file__).parent / "configs" / "gatelodge-siege.yaml"
_CALM: Final = 2.0
"""Seconds before and after an attack: the witness alone, then what is left of the attack."""
_MIB: Final = 1 << 20
_COUNTER: Final = re.compile(
    r'^gatelodge_connections_(cut|refused)_total\{(?:cause|limit)="([a-z_]+)"\} ([0-9.e+]+)$', re.M
)
SLOWHTTPTEST: Final = {
    "H": ["-H", "-i", "10", "-x", "24"],
    "B": ["-B", "-i", "10", "-s", "8192", "-x", "10"],
    "R": ["-R", "-a", "10", "-b", "3000", "-t", "GET"],
    "X": ["-X", "-n", "5", "-w", "512", "-y", "1024", "-z", "32", "-k", "3"],
}
"""Mode -> its options, those of the tool's manual."""
_TARGETS: Final = {"B": "/public/sink", "X": "/public/large"}


@dataclass(frozen=True, slots=True)
class Result:
    """One attack: resident bytes before, at most and after, the witness's and gateway's counts."""

    attack: str
    connections: int
    before: int
    peak: int
    after: int
    open_at_most: int
    cut: Mapping[str, int]
    seen: Mapping[str, Seen]


class Gateway:
    """A gateway process with these `limits` (YAML), in front of a service of its own."""

    def __init__(self, folder: Path, limits: str = "") -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("GATELODGE_")}
        env["PYTHONPATH"] = str(_ROOT)
        python = sys.executable
        self._upstream = Child("besieged", [python, "-m", "bench.besieged"], folder, env)
        upstream = self._upstream.wait_for("port", lambda: _port(self._upstream.log()))
        file = folder / "gatelodge.yaml"
        values = {"UPSTREAM": str(upstream), "SECRET": tokens.SECRET, "LIMITS": limits}
        file.write_text(fill(_CONFIG.read_text(), values))
        run = [python, "-m", "proxy", "run", "--config", str(file)]
        self.child = Child("gatelodge", run, folder, env)
        self.port = self.child.wait_for("listener", lambda: self._listening("main"))
        self.admin = self.child.wait_for("admin", lambda: self._listening("admin"))
        self.peak = self.open_at_most = 0

    def _listening(self, listener: str) -> int | None:
        return listening_port(self.child.log(), listener)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop()
        self._upstream.stop()

    @property
    def resident(self) -> int:
        """Resident bytes now."""
        status = Path(f"/proc/{self.child.session}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def look(self) -> None:
        """Note memory and open connections, if they are more than ever."""
        self.peak = max(self.peak, self.resident)
        descriptors = len(os.listdir(f"/proc/{self.child.session}/fd"))
        self.open_at_most = max(self.open_at_most, descriptors)

    def cut(self) -> dict[str, int]:
        """Return what the gateway says of connections that it ended or refused, by cause."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        counts = {
            f"{kind}: {cause}": int(float(count)) for kind, cause, count in _COUNTER.findall(text)
        }
        return {name: count for name, count in counts.items() if count}


def besiege(
    folder: Path, name: str, argv: Sequence[str], connections: int, seconds: float, limits: str
) -> Result:
    """Let the attack of `argv` (with @PORT@) run for so long against a gateway of its own."""
    folder.mkdir()
    cookie = tokens.authjs(time.time())
    with Gateway(folder, limits) as gateway:
        witness = Witness(gateway.port, gateway.admin, cookie)
        asyncio.run(watch(witness, gateway.look, _CALM))
        before = gateway.resident
        gateway.peak = before
        command = [part.replace("@PORT@", str(gateway.port)) for part in argv]
        env = {**os.environ, "PYTHONPATH": str(_ROOT)}
        witness = Witness(gateway.port, gateway.admin, cookie)
        with Child("attackers", command, folder, env):
            asyncio.run(watch(witness, gateway.look, seconds))
        peak = gateway.peak
        asyncio.run(watch(Witness(gateway.port, gateway.admin, cookie), gateway.look, _CALM))
        return Result(
            attack=name,
            connections=connections,
            before=before,
            peak=peak,
            after=gateway.resident,
            open_at_most=gateway.open_at_most,
            cut=gateway.cut(),
            seen=witness.seen,
        )


def main(options: argparse.Namespace, folder: Path) -> str:
    """Run the attacks of a siege, or slowhttptest; return the tables as Markdown."""
    results = []
    for name, argv in _commands(options).items():
        result = besiege(
            folder / name, name, argv, options.attackers, options.siege_seconds, options.limits
        )
        results.append(result)
        print(f"{name}: {_mib(result.peak)} MiB, {dict(result.cut)}", file=sys.stderr, flush=True)
    return markdown(results, options)


def _commands(options: argparse.Namespace) -> dict[str, list[str]]:
    number = str(options.attackers)
    if options.scenario == "siege":
        chosen = options.attacks or list(attackers.KINDS)
        if unknown := set(chosen) - set(attackers.KINDS):
            raise BenchError(f"attacks are {', '.join(attackers.KINDS)}; not {', '.join(unknown)}")
        run = [sys.executable, "-m", "bench.attackers"]
        return {kind: [*run, kind, "@PORT@", number] for kind in chosen}
    tool = shutil.which("slowhttptest")
    if tool is None:
        raise BenchError(
            "slowhttptest is not installed; on Debian: scripts/install-slowhttptest.sh"
        )
    length = str(int(options.siege_seconds) + 30)
    return {
        mode: [
            *(tool, *SLOWHTTPTEST[mode], "-c", number, "-r", number, "-l", length, "-p", "5"),
            *("-u", f"http://127.0.0.1:@PORT@{_TARGETS.get(mode, '/public/small')}"),
        ]
        for mode in options.attacks or SLOWHTTPTEST
    }


def markdown(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Return the tables of what happened, and of the machine."""
    lines = [
        "| attack | connections | RSS before | at most | after | per connection | ended by us |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        each = (one.peak - one.before) / one.connections / 1024
        cut = ", ".join(f"{name} {count:,}" for name, count in one.cut.items()) or "none"
        lines.append(
            f"| {one.attack} | {one.connections:,} | {_mib(one.before)} MiB | {_mib(one.peak)} MiB "
            f"| {_mib(one.after)} MiB | {each:.1f} KiB | {cut} |"
        )
    lines += [
        "",
        "| attack | honest requests | succeeded | p50 ms | p99 ms | others |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        for kind, seen in one.seen.items():
            good = len(seen.seconds)
            others = ", ".join(f"{why} {count}" for why, count in seen.failures.items())
            lines.append(
                f"| {one.attack} | {kind} | {good:,} of {seen.sent:,} "
                f"| {1000 * seen.quantile(0.5):.1f} | {1000 * seen.quantile(0.99):.1f} "
                f"| {others or 'none'} |"
            )
    limits = options.limits or "defaults"
    facts = machine.facts() | {"run": f"{options.siege_seconds:g} s each, limits: {limits}"}
    return "\n".join([*lines, "", *(f"- {name}: {fact}" for name, fact in facts.items()), ""])


def _port(log: str) -> int | None:
    found = re.search(r"^port (\d+)$", log, re.M)
    return None if found is None else int(found[1])


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f}"
