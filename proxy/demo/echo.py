"""The demo's API: it answers with what it received, and believes the X-User-* headers.

It stands for any backend behind the gateway, so it checks no cookie and knows no secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import WSMsgType, web

from proxy.demo.guard import guarded_application

MAX_BODY_BYTES: Final = 64 * 1024
EVENTS: Final = 5
"""Events in one stream: enough to see that each arrives by itself."""


def user_of(headers: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the user that the gateway names, decoded, or None when it names nobody."""
    if "X-User-Id" not in headers:
        return None
    roles = headers.get("X-User-Roles", "")
    return {
        "id": unquote(headers["X-User-Id"]),
        "email": unquote(headers.get("X-User-Email", "")) or None,
        "name": unquote(headers.get("X-User-Name", "")) or None,
        "roles": [unquote(role) for role in roles.split(",") if role],
    }


class EchoApi:
    """The API; `pace` is the time between two events of a stream, in seconds."""

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace

    def application(self) -> web.Application:
        app = guarded_application({}, MAX_BODY_BYTES)
        app.router.add_get("/api/events", self._events)
        app.router.add_get("/api/ws", self._websocket)
        app.router.add_route("*", "/{path:.*}", self._echo)
        return app

    async def _echo(self, request: web.Request) -> web.Response:
        received = {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[_text(name), _text(value)] for name, value in request.raw_headers],
            "user": user_of(request.headers),
            "body": _text(await request.read()),
        }
        return web.Response(body=orjson.dumps(received), content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        user = user_of(request.headers)
        for number in range(1, EVENTS + 1):
            if number > 1:
                await asyncio.sleep(self._pace)
            event = orjson.dumps({"event": number, "of": EVENTS, "user": user})
            await response.write(b"data: %b\n\n" % event)
        return response

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_BODY_BYTES)
        await socket.prepare(request)
        await socket.send_json({"user": user_of(request.headers)})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_json({"echo": message.data})
        return socket


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
