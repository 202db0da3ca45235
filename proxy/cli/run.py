"""`gatelodge run`: runs the gateway, from a file or, for a first try, from a few flags."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from proxy.cli import configfile
from proxy.cli.filesource import FileSource
from proxy.cli.output import UsageError

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.worker.source import ConfigSource

_DESCRIPTION: Final = (
    "Runs the gateway until SIGTERM or SIGINT, which it answers by finishing what is in flight. "
    "The configuration is a file, or --upstream with AUTH_SECRET (or NEXTAUTH_SECRET) in the "
    "environment; one or the other, never both."
)
_ADMIN: Final = "GATELODGE_ADMIN"
_TERMINATED: Final = 143  # 128 + SIGTERM, as shells have it
_NOTHING: Final = (
    f"there is no configuration. Either write ./{configfile.DEFAULT} (or name a file with -c FILE "
    f"or {configfile.VARIABLE}), or do without a file: AUTH_SECRET=... gatelodge run "
    "--upstream http://127.0.0.1:8000 --origin https://app.example.com"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = _DESCRIPTION
    configfile.add_option(parser)
    flags = parser.add_argument_group("without a file")
    flags.add_argument(
        "--upstream",
        metavar="URL",
        help="where requests go: http://HOST:PORT, https://HOST:PORT or unix:/path "
        "($GATELODGE_UPSTREAM)",
    )
    flags.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web app's origin, whose pages may call; may be repeated ($GATELODGE_ORIGIN, with "
        "commas between several)",
    )
    flags.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="where clients connect: HOST:PORT or unix:/path ($GATELODGE_LISTEN; default: "
        "0.0.0.0:8080)",
    )
    flags.add_argument(
        "--admin",
        metavar="ADDRESS",
        help="where health and metrics are ($GATELODGE_ADMIN; default: 127.0.0.1:9090)",
    )


def run(args: argparse.Namespace) -> int:
    """Run until told to stop; return the worker's exit code."""
    # Process 1 of a container is not ended by a TERM that it has no handler for: one which came
    # before the worker's own would be lost, and KILL would follow (pid_namespaces(7)).
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(_TERMINATED))
    # HUP would end it, too; who serves lets it through (`on_hangup`).
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    config, source = _configuration(args)

    if config.workers != 1:
        from proxy.supervisor import supervise

        return supervise(config, source)

    from proxy.worker import serve

    return serve(config, source)


def _configuration(args: argparse.Namespace) -> tuple[Config, ConfigSource]:
    from proxy.config.flags import Flags, from_flags, given
    from proxy.worker.source import FixedSource

    flags = Flags(args.upstream, tuple(args.origin), args.listen, args.admin)
    also = given(flags, os.environ)
    path = configfile.find(args.config)
    if path is None:
        if not also:
            raise UsageError(_NOTHING)
        by_flags = from_flags(flags, os.environ)
        return by_flags, FixedSource(by_flags)
    source = FileSource(path)
    config = source.read()
    # `healthcheck` reads this variable too, so a container may set it, to what the file says.
    if os.environ.get(_ADMIN) == str(config.admin):
        also = [name for name in also if name != _ADMIN]
    if also:
        raise UsageError(
            f"the configuration is {path}, so {' and '.join(also)} must not be given too; put the "
            "setting into the file"
        )
    return config, source
