"""What keeps the demo's servers safe: they answer to loopback names only, and say how to be read.

A page of another site can point its own name at 127.0.0.1 (DNS rebinding), and would then be of one
origin with a server that does not look at Host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

PLAIN: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of every answer of the demo's servers."""


def host_name(host: str) -> str:
    """Return the name in a Host header without its port, lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


@web.middleware
async def _loopback_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if host_name(request.headers.get("Host", "")) not in LOOPBACK_NAMES:
        return web.Response(status=421, text="This is a demo; it answers to localhost only.\n")
    return await handler(request)


def guarded_application(headers: Mapping[str, str], max_body_bytes: int) -> web.Application:
    """Return an application without routes that refuses foreign names and adds `headers`."""

    async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(PLAIN)
        response.headers.update(headers)

    app = web.Application(middlewares=[_loopback_only], client_max_size=max_body_bytes)
    app.on_response_prepare.append(add_headers)
    return app
