"""`gatelodge drain`: lets the clients of a running gateway go elsewhere, before it is ended.

For a `preStop` hook. The process goes on, and serves whoever still comes, until it gets TERM; so
what comes behind it may be stopped in between (a native sidecar in Kubernetes is ended last).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from proxy.admin.guard import MEANT, is_private
from proxy.cli import adminask, configfile
from proxy.cli.output import complain
from proxy.config.problems import ConfigError

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.config.units import Address

_DESCRIPTION: Final = (
    "Withdraws readiness at once; after drain.delay every answer is the last on its connection, "
    "idle connections are closed and WebSockets are told to come back. New connections are served "
    "until the process gets TERM, which then waits for no more than what is left of drain.delay. "
    "Where the admin listener can be reached from elsewhere, its token is read from the "
    "configuration."
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = _DESCRIPTION
    configfile.add_option(parser)
    adminask.add_options(parser, default=f"the configuration's, else {adminask.DEFAULT}")


def run(args: argparse.Namespace) -> int:
    """Return 0 once the gateway lets its clients go, else 1 after saying what happened."""
    address = adminask.address_of(args)
    config = _config(args)
    if address is None:
        address = config.admin if config is not None else adminask.parse(adminask.DEFAULT)
    headers = [f"{MEANT}: drain", "Content-Length: 0"]
    # The token is for the listener that it belongs to, and for nobody else who is asked.
    if config is not None and config.admin_token is not None and _reaches(address, config.admin):
        headers.append(f"Authorization: Bearer {config.admin_token.get_secret_value()}")
    question = adminask.Question("POST /-/drain", args.timeout, tuple(headers), b'"draining"')
    return 0 if adminask.succeeds("drain", address, question) else 1


def _reaches(asked: Address, bound: Address) -> bool:
    """Whether who asks at `asked` gets to the listener at `bound`."""
    if asked.path is not None or bound.path is not None:
        return asked.path == bound.path
    return asked.port == bound.port and (asked.host == bound.host or is_private(asked))


def _config(args: argparse.Namespace) -> Config | None:
    """Return the configuration, if there is one that can be read. The gateway may run by an older
    one; then what is usual is the best guess.
    """
    path = configfile.find(args.config)
    if path is None:
        return None
    try:
        return configfile.load_file(path).config
    except ConfigError as error:
        complain("drain", f"{path} cannot be used, so its admin and admin_token are unknown")
        complain("drain", str(error).splitlines()[0])
        return None
