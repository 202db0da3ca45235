"""The service behind a besieged gateway: `python -m bench.besieged` prints its port.

/public/small and /api/me are small, /public/large is 16 MiB; whatever has a body is read to its
end.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

BODY: Final = b'{"id":"usr_01HZY3V9K7Q4W8","name":"Ada Lovelace"}'
_PIECE: Final = b"x" * 65536
_PIECES: Final = 256


async def _answer(request: web.Request) -> web.StreamResponse:
    async for _ in request.content.iter_any():
        pass
    if request.path != "/public/large":
        return web.Response(body=BODY, content_type="application/json")
    answer = web.StreamResponse(headers={"Content-Length": str(len(_PIECE) * _PIECES)})
    await answer.prepare(request)
    for _ in range(_PIECES):
        await answer.write(_PIECE)
    return answer


async def _serve() -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(f"port {runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve())
