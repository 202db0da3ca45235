"""`python -m bench`: start the contestants, let them take turns, print the table."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench import contestants, database, hot, machine, measure, report, siege, tokens
from bench.contestants import Contestant, Server
from bench.errors import BenchError
from bench.load import Load
from bench.measure import Turn

_WARM_UP: Final = 0.5
"""Seconds before each measurement: new connections, caches and the branch predictor settle."""
_USERS: Final = 1000
_ALONE: Final = {
    "database": database.main,
    "siege": siege.main,
    "slowhttptest": siege.main,
}
"""Scenarios that have no other contestants."""
_NAMES: Final = ("nginx", "envoy", "gatelodge")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark. Return 0, or 1 when a number would have been worth nothing."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if sys.platform != "linux":
            raise BenchError("it reads /proc and uses epoll, so it runs on Linux only")
        _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.scenario in _ALONE:
        with tempfile.TemporaryDirectory(prefix="gatelodge-bench-") as name:
            _write(options, _ALONE[options.scenario](options, Path(name)))
        return
    chosen = {one.name: one for one in _contestants(options)}
    facts = machine.facts() | {name: one.version() for name, one in chosen.items()}
    facts["run"] = (
        f"{options.scenario}, {options.rounds} rounds of {options.duration:g} s each, "
        f"{options.connections} connections"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatelodge-bench-")))
        servers = _start(chosen, folder, stack)
        turns = _rounds(options, chosen, servers)
    table = report.rows(turns)
    jobs = {name: one.job for name, one in chosen.items()}
    text = report.markdown(table, jobs, facts)
    _write(options, text)
    if options.json:
        options.json.write_text(report.as_json(turns, table, facts))


def _write(options: argparse.Namespace, text: str) -> None:
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    now = time.time()
    users = _USERS if options.scenario == "traced" else 1
    cookies = tuple((tokens.COOKIE, tokens.authjs(now, user)) for user in range(users))
    makers = {
        "nginx": lambda: contestants.nginx(cookies, options.nginx),
        "envoy": lambda: contestants.envoy(tokens.signed(now, users)),
        "gatelodge": lambda: contestants.gatelodge(cookies),
    }
    return [makers[name]() for name in options.only]


def _start(chosen: Mapping[str, Contestant], folder: Path, stack: ExitStack) -> dict[str, Server]:
    (folder / "upstream").mkdir()
    upstream = contestants.start_upstream(folder / "upstream", hot.BODY)
    stack.enter_context(upstream.child)
    servers = {}
    for name, contestant in chosen.items():
        (folder / name).mkdir()
        servers[name] = contestant.start(folder / name, upstream.port)
        stack.enter_context(servers[name].child)
        hot.check(contestant, servers[name].port)
    return servers


def _rounds(
    options: argparse.Namespace, chosen: Mapping[str, Contestant], servers: Mapping[str, Server]
) -> list[Turn]:
    turns = []
    for number in range(options.rounds):
        for name in measure.order(list(chosen), number):
            turn = _turn(options, number, chosen[name], servers[name])
            _note(turn, options.rounds)
            turns.append(turn)
    return turns


def _turn(options: argparse.Namespace, number: int, contestant: Contestant, server: Server) -> Turn:
    requests = hot.requests(options.scenario, contestant.cookies)
    session = server.child.session
    try:
        with Load(server.port, requests, hot.BODY, options.connections) as load:
            load.run(_WARM_UP)
            before = measure.usage(session)
            sent = load.run(options.duration)
            after = measure.usage(session)
    except BenchError as error:
        raise BenchError(f"{contestant.name}, round {number + 1}: {error}") from error
    return Turn(
        contestant=contestant.name,
        round=number,
        requests=sent.requests,
        seconds=sent.seconds,
        user=after.user - before.user,
        system=after.system - before.system,
        resident_bytes=after.resident_bytes,
    )


def _note(turn: Turn, rounds: int) -> None:
    speed = turn.requests / turn.seconds
    line = (
        f"{turn.contestant:<10} {turn.cpu_us:7.1f} µs per request, "
        f"{speed:,.0f}/s, {turn.busy:.0%} of a core"
    )
    print(f"round {turn.round + 1}/{rounds}  {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add(
        "--scenario",
        choices=("hot", "traced", "fresh", *_ALONE),
        default="hot",
        help="against nginx and Envoy: hot (default), the same request again and again; traced, a "
        "thousand users with a trace for each request; fresh, a target that nobody has seen for "
        "each request. Against PostgreSQL: database. Under attack: siege, slowhttptest",
    )
    add("--sessions", type=_count, default=10_000, help="database: sessions (default 10000)")
    add("--pool", type=_count, default=10, help="database: connections to it (default 10)")
    add("--attackers", type=_count, default=1000, help="siege: their connections (default 1000)")
    add("--siege-seconds", type=_seconds, default=20.0, help="siege: of each attack (default 20)")
    add("--attacks", type=lambda text: text.split(","), help="siege: some of them (default all)")
    add("--limits", default="", metavar="YAML", help="siege: such as 'connections: 1000'")
    add("--rounds", type=_count, default=5, help="how often each takes its turn (default 5)")
    add("--duration", type=_seconds, default=2.0, help="seconds measured in each turn (default 2)")
    add("--connections", type=_count, default=64, help="kept-alive connections (default 64)")
    add("--only", type=_names, default=_NAMES, help=f"some of {','.join(_NAMES)} (default all)")
    add("--nginx", metavar="PATH", help="compare with this nginx instead of the wheel's")
    add("--json", type=Path, metavar="FILE", help="also write every turn as JSON")
    add("--markdown", type=Path, metavar="FILE", help="also write the table as Markdown")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 600:
        raise argparse.ArgumentTypeError("0.1 to 600 seconds make sense")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(_NAMES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
