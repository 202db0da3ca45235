"""`gatelodge check`: everything that is wrong with a configuration, before it runs anywhere."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.cli import configfile
from proxy.cli.output import print_json
from proxy.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from proxy.cli.connect import Asked, Reached
    from proxy.config.load import Loaded
    from proxy.config.problems import Loc


@dataclass
class _Findings:
    """What was found. `reached`, `asked` and `redis` are empty unless `--connect` asked for it;
    `warnings` are no fault of the configuration, which can be used.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    reached: list[Reached] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    redis: str | None = None

    @property
    def ok(self) -> bool:
        reached = not any(each.problem for each in self.reached)
        asked = not self.redis and not any(each.problem for each in self.asked)
        return not self.problems and reached and asked


def configure(parser: argparse.ArgumentParser) -> None:
    configfile.add_option(parser)
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also connect to every endpoint (nothing is sent), every database (and find its "
        "tables) and Redis (nothing is counted)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 if it is nothing."""
    try:
        findings = _check(configfile.load(args), connect=args.connect)
    except ConfigError as error:
        findings = _Findings(problems=error.problems)
    if args.json:
        print_json(_as_json(findings))
    else:
        _print(findings)
    return 0 if findings.ok else 1


def _check(loaded: Loaded, *, connect: bool) -> _Findings:
    import asyncio

    from proxy.cli.certificates import certificate_advice, certificate_problems
    from proxy.cli.connect import ask_all, ask_redis, connect_all

    config, document = loaded.config, loaded.document
    findings = _Findings(
        counts={
            "routes": len(config.routes),
            "upstreams": len(config.upstreams),
            "tests": len(config.tests),
        }
    )
    found = list(certificate_problems(config))
    # Without its certificates an upstream cannot be connected to.
    if connect and not found:
        findings.reached = asyncio.run(connect_all(config))
        findings.asked = asyncio.run(ask_all(config))
        findings.redis = asyncio.run(ask_redis(config))
    found += asyncio.run(_failed_cases(loaded))
    findings.problems = [document.problem(loc, message) for loc, message in found]
    advice = certificate_advice(config, time.time())
    findings.warnings = [document.problem(loc, f"warning: {message}") for loc, message in advice]
    return findings


async def _failed_cases(loaded: Loaded) -> list[tuple[Loc, str]]:
    from proxy.cli.cases import run_case
    from proxy.core.rules import compile_rules
    from proxy.session.resolver import Resolver
    from proxy.telemetry.metrics import Metrics

    config = loaded.config
    rules = compile_rules(config)
    resolve = Resolver(config, rules, Metrics()).resolve
    failed: list[tuple[Loc, str]] = []
    for position, case in enumerate(config.tests):
        message = await run_case(config, rules, resolve, case, time.time())
        if message is not None:
            failed.append((("tests", position, "expect"), f"the test fails: {message}"))
    return failed


def _print(findings: _Findings) -> None:
    for problem in [*findings.problems, *findings.warnings]:
        print(problem, file=sys.stderr)
    for each in findings.reached:
        state = f"cannot be reached: {each.problem}" if each.problem else "can be reached"
        print(f"upstream {each.upstream}: {each.endpoint} {state}", file=sys.stderr)
    for asked in findings.asked:
        state = f"cannot be asked: {asked.problem}" if asked.problem else f"has {asked.tables}"
        print(f"session {asked.session}: the database {state}", file=sys.stderr)
        if asked.advice:
            print(f"session {asked.session}: {asked.advice}", file=sys.stderr)
    if findings.redis is not None:
        state = f"cannot be asked: {findings.redis}" if findings.redis else "can be asked"
        print(f"redis: it {state}", file=sys.stderr)
    if findings.ok:
        counts = (f"{count} {what}" for what, count in findings.counts.items())
        print(f"OK: {', '.join(counts)}")


def _as_json(findings: _Findings) -> dict[str, Any]:
    return {
        "ok": findings.ok,
        "problems": [_problem_as_json(problem) for problem in findings.problems],
        "warnings": [_problem_as_json(problem) for problem in findings.warnings],
        **findings.counts,
        "endpoints": [asdict(each) for each in findings.reached],
        "databases": [asdict(each) for each in findings.asked],
        "redis": None if findings.redis is None else {"problem": findings.redis},
    }


def _problem_as_json(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": list(problem.loc),
        "message": problem.message,
    }
