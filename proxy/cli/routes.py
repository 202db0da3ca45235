"""`gatelodge routes`: the routing table, in the order in which it is tried."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from proxy.cli import configfile
from proxy.cli.output import print_json, table

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.core.routing import Route

_HEAD: Final = ("HOST", "PATH", "METHODS", "AUTH", "SESSIONS", "LIMITS", "UPSTREAM")


def configure(parser: argparse.ArgumentParser) -> None:
    configfile.add_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from proxy.core.rules import compile_rules

    config = configfile.load(args).config
    rows = [_row(config, route) for route in compile_rules(config).routes.rows()]
    if args.json:
        print_json(rows)
    else:
        print(table(_HEAD, [_cells(row) for row in rows]))
    return 0


def _row(config: Config, route: Route) -> dict[str, Any]:
    from proxy.cli.steps import config_of, limits_of, requirements

    written = config_of(config, route)
    return {
        "host": route.host,
        "path": route.path,
        "methods": None if route.methods is None else sorted(route.methods),
        "auth": written.auth,
        "require": requirements(written),
        "sessions": list(route.sessions),
        "rate_limits": limits_of(route),
        "upstream": route.upstream,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from proxy.cli.prose import demands, rate_of

    return (
        row["host"] or "*",
        row["path"],
        ",".join(row["methods"] or ["*"]),
        demands(row["auth"], row["require"]),
        ",".join(row["sessions"]) or "-",
        ", ".join(map(rate_of, row["rate_limits"])) or "-",
        row["upstream"],
    )
