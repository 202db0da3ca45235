"""The command `python -m tests.hostile`, behind `make conformance`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hostile import report as reports
from tests.hostile.arena import Arena
from tests.hostile.cases import load, load_left_out
from tests.hostile.engine import (
    control_problems,
    controls,
    judge,
    log_problems,
    plan,
    profile_of,
    reachable,
    runs,
)
from tests.hostile.peers import ALL, started
from tests.hostile.profiles import GATEWAYS, PROFILES, UPSTREAM, gateway_of, render
from tests.hostile.report import Report
from tests.hostile.signed import KINDS
from tests.hostile.target import Address, CannotRun, Target, place_of
from tests.hostile.tokens import resolver
from tests.support.gateway import GatewayFailed

LISTEN = "127.0.0.1:8080"


async def run_own(folder: Path) -> Report:
    """Start our own gateways, one after the other, and run every case that is not left out."""
    planned = plan(load()[1], load_left_out())
    arena = Arena(folder)
    verdicts, checks = [], {}
    try:
        for case, variant in runs(planned):
            place = await arena.place(gateway_of(profile_of(case)))
            verdicts.append(await judge(place, case, variant))
        for name, place in arena.places.items():
            # The control's route needs a session, and the database holds none that it could name.
            for control in controls(GATEWAYS[name]) if name != "stored" else ():
                checks[f"{name}: {control.name}"] = await control_problems(place, control)
            checks[f"{name}: log"] = log_problems(place)
    finally:
        await arena.aclose()
    return Report("our own gateways", list(PROFILES), "authjs", planned, verdicts, checks)


async def run_target(target: Target, name: str = "") -> Report:
    """Run the cases of the target's profiles against it. Raises CannotRun."""
    planned = plan(
        load()[1], load_left_out(), profiles=target.profiles, kind=target.kind, our_process=False
    )
    verdicts = []
    async with place_of(target) as place:
        for case, variant in runs(planned, target.kind):
            verdict = await judge(place, case, variant)
            verdicts.append(verdict)
            if verdict.problems and not await reachable(place):
                raise CannotRun(
                    f"the target {target.address} serves nobody any more after {verdict.name} "
                    f"({case.title}): {verdict.problems[0]}.\nThat is a failure of this case; "
                    "the others cannot be judged before the target is restarted."
                )
        checks = {
            control.name: await control_problems(place, control)
            for control in controls(target.profiles, target.kind)
        }
    name, profiles = name or str(target.address), list(target.profiles)
    return Report(name, profiles, target.kind.name, planned, verdicts, checks)


def config(gateway: str, listen: str, upstream: str) -> str:
    """Return the configuration of Gatelodge for the profiles of `gateway`, ready to be run."""
    profiles = ",".join(GATEWAYS[gateway])
    return (
        f"# Gatelodge for the profiles {profiles} of the conformance suite:\n"
        f"#   gatelodge run -c FILE\n"
        f"#   make conformance TARGET={listen} UPSTREAM={upstream} PROFILES={profiles}\n"
        f"{render(gateway, f'http://{upstream}', listen)}"
    )


def show(report: Report, *, json: bool, verbose: bool) -> None:
    """Print the report."""
    if json:
        print(reports.as_json(report))
        return
    if text := reports.details(report, verbose=verbose):
        print(text, end="\n\n")
    print(reports.table(report))
    print(reports.summary(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the cases and print a table")
    run.add_argument("--target", type=_address, metavar="HOST:PORT", help="default: our own")
    run.add_argument("--upstream", type=_address, metavar="HOST:PORT", default=UPSTREAM)
    run.add_argument("--profiles", type=_profiles, metavar="NAME,...", default="base")
    run.add_argument("--tokens", choices=sorted(KINDS), default="authjs")
    run.add_argument("--own-errors", action="store_true", help="errors must look as Gatelodge's do")
    run.add_argument("--json", action="store_true")
    run.add_argument("--verbose", action="store_true", help="tell of every case")
    show = commands.add_parser("config", help="print Gatelodge's configuration for a target")
    show.add_argument("gateway", choices=sorted(GATEWAYS))
    show.add_argument("--listen", default=LISTEN, metavar="HOST:PORT")
    show.add_argument("--upstream", default=UPSTREAM, metavar="HOST:PORT")
    peers = commands.add_parser("peers", help="run the cases against the proxies of deploy/peers")
    peers.add_argument("--only", choices=sorted(ALL), action="append")
    peers.add_argument("--verbose", action="store_true", help="tell of every case")
    token = commands.add_parser("token", help="print a session, to try a target with")
    token.add_argument("name", metavar="NAME", help="a placeholder of attacks.json, such as USER")
    token.add_argument("--tokens", choices=sorted(KINDS), default="authjs")
    return parser


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _profiles(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or (unknown := sorted(set(names) - set(PROFILES))):
        wrong = f"unknown: {', '.join(unknown)}" if names else "none named"
        raise argparse.ArgumentTypeError(f"{wrong}; there are {', '.join(PROFILES)}")
    return names


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        if options.target is None:
            with tempfile.TemporaryDirectory(prefix="gatelodge-conformance-") as folder:
                report = asyncio.run(run_own(Path(folder)))
        else:
            target = Target(
                options.target,
                options.upstream,
                options.profiles,
                KINDS[options.tokens],
                own_errors=options.own_errors,
            )
            report = asyncio.run(run_target(target))
    except (CannotRun, GatewayFailed) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    show(report, json=options.json, verbose=options.verbose)
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if report.good else 1


def _peers(options: argparse.Namespace) -> int:
    """Print a table for each peer: figures, which no exit status judges."""
    try:
        for name in options.only or ALL:
            peer = ALL[name]
            with (
                tempfile.TemporaryDirectory(prefix="gatelodge-conformance-") as folder,
                started(peer, Path(folder)) as target,
            ):
                report = asyncio.run(run_target(target, peer.version()))
            show(report, json=False, verbose=options.verbose)
            print()
    except (CannotRun, GatewayFailed) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    return 0


def _token(options: argparse.Namespace) -> int:
    try:
        print(resolver(kind=KINDS[options.tokens])(options.name).decode())
    except KeyError:
        known = ", ".join(sorted(KINDS[options.tokens].recipes))
        print(f"no session is called {options.name!r}; there are {known}", file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit status: 0 passed, 1 failed, 2 could not run."""
    options = _parser().parse_args(arguments)
    if options.command == "config":
        print(config(options.gateway, options.listen, options.upstream), end="")
        return 0
    try:
        return {"run": _run, "peers": _peers, "token": _token}[options.command](options)
    except KeyboardInterrupt:
        return 130
