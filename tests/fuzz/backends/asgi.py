"""The site of tests/support/backends.py as a Starlette app, for uvicorn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def _serving(handler: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_request: Request) -> Response:
        return Response(headers={"X-Handler": handler})

    return serve


_SITE = (
    ("/admin", "guarded"),
    ("/users/{name}/admin", "guarded"),
    ("/public", "open"),
    ("/users", "open"),
)

app = Starlette(
    routes=[
        *(
            Route(path + rest, _serving(handler))
            for path, handler in _SITE
            for rest in ("", "/{rest:path}")
        ),
        Route("/{rest:path}", _serving("nothing")),
    ]
)
