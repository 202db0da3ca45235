"""An API as it is in a pod: `python pod_api.py PORT`. It answers as tests/support/load.py expects,
and ends as aiohttp does: it takes no more connections, finishes what it has, and then exits.
"""

from __future__ import annotations

import sys

from aiohttp import WSCloseCode, web

_open: set[web.WebSocketResponse] = set()


async def _answer(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        return await _echo(request)
    size = len(await request.read())
    return web.Response(body=b"api %s %d" % (request.raw_path.encode(), size))


async def _echo(request: web.Request) -> web.WebSocketResponse:
    # No masks, no compression: what comes back is what the load has sent.
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    _open.add(socket)
    async for message in socket:
        await socket.send_str(message.data)
    _open.discard(socket)
    return socket


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


async def _close(_: web.Application) -> None:
    for socket in list(_open):
        await socket.close(code=WSCloseCode.SERVICE_RESTART)


def main(port: int) -> None:
    """Serve until TERM."""
    app = web.Application()
    app.on_shutdown.append(_close)
    app.router.add_get("/ready", _ready)
    app.router.add_route("*", "/{rest:.*}", _answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, shutdown_timeout=20)


if __name__ == "__main__":
    main(int(sys.argv[1]))
