"""`gatelodge demo`: runs the demo until Ctrl-C, and says where it is."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import signal
import sys

DESCRIPTION = (
    "Runs a web app that signs in, a PostgreSQL for its sessions, an API, and the gateway between "
    "them, on this machine only. Open the address that it prints. Ctrl-C stops everything and "
    "leaves nothing behind."
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="port of the page on localhost (default: the first free one from 3000 on)",
    )
    parser.add_argument(
        "--no-database",
        action="store_true",
        help="without PostgreSQL: sessions are JWTs only",
    )


def run(args: argparse.Namespace) -> int:
    """Run until a signal comes; 1 when the port is taken or PostgreSQL cannot run."""
    from proxy.demo.programs import PostgresError

    try:
        asyncio.run(_serve(args.port, database=not args.no_database))
    except PostgresError as error:
        hint = "Without it, sessions are JWTs only: gatelodge demo --no-database"
        print(f"{error}\n\n{hint}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        print(f"port {args.port} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Where signals cannot be waited for (Windows), or at the second Ctrl-C.
        pass
    return 0


async def _serve(port: int | None, *, database: bool) -> None:
    from proxy.demo import postgres
    from proxy.demo.stack import running

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        # The next one is not ours: whoever asks twice does not want to wait.
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(name, ask_to_stop)
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(postgres.running()) if database else None
        url = server.url() if server is not None else None
        addresses = await stack.enter_async_context(running(port, database_url=url))
        print(f"Open {addresses.web} in a browser.\n")
        print(f"  web app   {addresses.web}  signs in and makes the sessions")
        print(f"  gateway   {addresses.gateway}  Gatelodge; the page calls it across origins")
        print(f"  API       {addresses.api}  answers with what it received")
        print(f"  admin     {addresses.admin}  the gateway's health and metrics: /-/help")
        if server is not None:
            print(f"  database  127.0.0.1:{server.port}  PostgreSQL, for sessions that are rows")
        print("\nCtrl-C stops everything.", flush=True)
        await stop.wait()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return int(text)
