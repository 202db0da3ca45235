"""`gatelodge healthcheck`: asks the admin listener whether the process lives. For a container's
HEALTHCHECK.

The question is "does it live", not "is it ready": a container that starts or drains must not be
killed for it. Nothing heavy is imported; this runs every few seconds beside the gateway and on the
same cores.
"""

from __future__ import annotations

import argparse

from proxy.cli import adminask


def configure(parser: argparse.ArgumentParser) -> None:
    adminask.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Return 0 if the gateway answers 200, else 1 after one line that says what happened."""
    address = adminask.address_of(args) or adminask.parse(adminask.DEFAULT)
    question = adminask.Question("GET /-/healthy", args.timeout)
    return 0 if adminask.succeeds("healthcheck", address, question) else 1
