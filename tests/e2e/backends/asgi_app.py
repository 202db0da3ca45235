"""An ASGI application that notes each POST in the file that $NOTES names. Run by uvicorn."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

_NOTES = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND)


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer `ok`."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["method"] == "POST":
        os.write(_NOTES, body + b"\n")
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
