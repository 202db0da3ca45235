"""`gatelodge explain`: what would happen to a request, and why, without sending it anywhere."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from proxy.cli import configfile
from proxy.cli.moment import unix_time
from proxy.cli.output import UsageError, print_json
from proxy.errors import SessionStoreDown

if TYPE_CHECKING:
    from proxy.cli.request import Request
    from proxy.cli.trial import Trial
    from proxy.config.model import Config
    from proxy.core.head import RequestHead
    from proxy.core.rules import Rules

FORWARDED, ANSWERED = "forwarded", "answered"


def configure(parser: argparse.ArgumentParser) -> None:
    configfile.add_option(parser)
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("url", metavar="URL", help="https://HOST/PATH as a client has it, or /PATH")
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a request header; may be repeated",
    )
    parser.add_argument(
        "--cookie",
        action="append",
        default=[],
        metavar="'A=B; C=D'",
        help="cookies; may be repeated",
    )
    parser.add_argument("--bearer", metavar="TOKEN", help="a token in Authorization: Bearer")
    parser.add_argument(
        "--peer",
        metavar="ADDRESS",
        help="where the connection comes from: an IP address or unix (default: 127.0.0.1)",
    )
    parser.add_argument("--at", type=unix_time, metavar="UNIX", help="the time (default: now)")
    parser.add_argument(
        "--connect", action="store_true", help="look the session up, if a database holds it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the steps; 0 if the request would be forwarded or is a granted preflight, else 1."""
    config = configfile.load(args).config
    request = _request(args)
    now = time.time() if args.at is None else args.at
    steps = _explain(config, request, now, connect=args.connect)
    if args.json:
        print_json(steps)
    else:
        from proxy.cli.prose import prose

        print(prose(steps, now))
    outcome = steps["outcome"]
    return 0 if outcome["verdict"] == FORWARDED or outcome.get("status") in (200, 204) else 1


def _explain(config: Config, request: Request, now: float, *, connect: bool) -> dict[str, Any]:
    import asyncio

    from proxy.cli.steps import explanation, readable
    from proxy.core.framing import is_served
    from proxy.core.rules import compile_rules

    head = request.head(config)
    if head.target == config.health_path and is_served(head, config.limits):
        return {
            "request": {"method": head.method, "target": readable(head.target)},
            "outcome": {"verdict": ANSWERED, "status": 200, "headers": [], "by": "health_path"},
        }
    rules = compile_rules(config)
    trial = asyncio.run(_attempt(config, rules, head, now, connect=connect))
    steps = explanation(config, rules, trial)
    seen = "https" if (config.public_origin or "").startswith("https:") else trial.x.client.scheme
    steps["notes"] = _notes(request.url.scheme, seen)
    if steps["outcome"].get("code") == SessionStoreDown.code and not connect:
        steps["notes"].append("The session is looked up in the database with --connect.")
    return steps


async def _attempt(
    config: Config, rules: Rules, head: RequestHead, now: float, *, connect: bool
) -> Trial:
    from proxy.cli.connect import stores_of
    from proxy.cli.trial import attempt
    from proxy.session.resolver import Resolver
    from proxy.telemetry.metrics import Metrics

    if not connect:
        return await attempt(rules, head, Resolver(config, rules, Metrics()).resolve, now)
    async with stores_of(config) as stores:
        return await attempt(rules, head, Resolver(config, rules, Metrics(), stores).resolve, now)


def _notes(asked: str, seen: str) -> list[str]:
    if asked == "https" and seen == "http":
        return [
            "The URL is https, but the gateway cannot know: it has no TLS of its own, "
            "public_origin is not https, and no trusted proxy says so. To ask as one, add --peer "
            "with its address and -H 'X-Forwarded-Proto: https'."
        ]
    return []


def _request(args: argparse.Namespace) -> Request:
    from proxy.cli.request import (
        PEER,
        Request,
        Url,
        bare_cookies,
        parse_header,
        parse_method,
        parse_peer,
    )

    try:
        url = Url.parse(args.url)
        headers = [parse_header(text) for text in args.header]
        if args.cookie:
            cookies = "; ".join(map(bare_cookies, args.cookie))
            headers.append(parse_header(f"Cookie: {cookies}"))
        if args.bearer is not None:
            headers.append(parse_header(f"Authorization: Bearer {args.bearer}"))
        method = parse_method(args.method)
        peer = PEER if args.peer is None else parse_peer(args.peer)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Request(method, url, headers, peer)
