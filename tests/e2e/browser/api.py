"""The API that the pages call: what it answers, and the gateway's configuration in front of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Final

import yaml

from tests.e2e.browser.hosts import API, APP, LISTED
from tests.support import mint
from tests.support.upstream import Exchange

SECRET: Final = "kX2vB8sQ5nW1tZ7mR4cJ9pL6hF3dG0yA"
COOKIE: Final = mint.V5_SECURE_COOKIE

SMALL: Final = 4
"""Bytes that the routes below /small take."""
EVENTS: Final = 3

ANSWER_FIELDS: Final = {
    "Content-Type": "text/plain",
    "Cache-Control": "max-age=0",
    "ETag": '"7"',
    "X-Total-Count": "7",
    "X-Page": "1",
    "X-Hidden": "1",
    # Of the API's own CORS headers only the list of names counts.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Page",
}
"""What the API sends with every answer that is not a stream."""


def config(upstream: str, nowhere: str, certificate: Path, key: Path) -> str:
    """Return the gateway's configuration; nobody listens at the URL `nowhere`."""
    api = {"upstream": "api"}
    return yaml.safe_dump(
        {
            "listen": {
                "address": "127.0.0.1:0",
                "tls": {"cert": str(certificate), "key": str(key)},
            },
            "admin": "127.0.0.1:0",
            "public_origin": API,
            "log": {"format": "json"},
            "drain": {"delay": "0s", "timeout": "1s"},
            "sessions": {"web": {"kind": "authjs", "secret": SECRET, "bearer": True}},
            "cors": {"origins": list(LISTED), "expose": ["X-Request-Id", "X-Total-Count"]},
            "upstreams": {"api": {"endpoints": [upstream]}, "gone": {"endpoints": [nowhere]}},
            "routes": [
                {"path": "/any/**", **api},
                {"path": "/listed/**", **api, "cors": {"headers": ["Content-Type", "X-Custom"]}},
                {"path": "/readonly/**", **api, "cors": {"methods": ["GET", "HEAD"]}},
                {"path": "/null/**", **api, "cors": {"origins": ["null"]}},
                {"path": "/fresh/**", **api, "cors": {"max_age": "0s"}},
                {"path": "/gets/**", **api, "methods": ["GET"]},
                {"path": "/admin/**", **api, "require": {"roles": ["admin"]}},
                {"path": "/small/**", **api, "limits": {"body": f"{SMALL}B"}},
                {"path": "/gone/**", "upstream": "gone"},
                {"path": "/pages/**", **api, "login_url": f"{APP}/sign-in"},
                {"path": "/public/**", **api, "auth": "public"},
            ],
        },
        sort_keys=False,
    )


def token(sub: str = "u-1", *, ttl: int = 3600, cookie: str = COOKIE) -> str:
    """Return the session of a user with the role `user`, as the app's Auth.js makes it."""
    return mint.v5(mint.claims(sub, ttl=ttl, role="user"), SECRET, cookie=cookie)


async def answer(exchange: Exchange) -> None:
    """Be the API: `.../events`, `.../ws` and `/public/page` are what they say; `.../204/...` is a
    204; everything else is a 200 with its path.
    """
    segments = exchange.request.path.split("/")
    if segments[-1] == "ws":
        await _websocket(exchange)
    elif segments[-1] == "events":
        await _events(exchange)
    else:
        await exchange.read_body()
        await exchange.send(_plain(exchange.request.method, segments))


def _plain(method: str, segments: list[str]) -> bytes:
    fields, body = dict(ANSWER_FIELDS), "/".join(segments).encode()
    status = "200 OK"
    if segments == ["", "public", "page"]:
        fields["Content-Type"] = "text/html"
        body = b'<!doctype html><link rel="icon" href="data:,"><title>of the API</title>'
    if "204" in segments:
        status, body = "204 No Content", b""
        del fields["Content-Type"]
    else:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + (b"" if method == "HEAD" else body)


async def _events(exchange: Exchange) -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    user = exchange.request.get("X-User-Id")
    await exchange.send(head.encode())
    for number in range(EVENTS):
        await exchange.send(f"data: {json.dumps([number, user])}\n\n".encode())
    exchange.close()


async def _websocket(exchange: Exchange) -> None:
    """Accept (RFC 6455), say who the user is, and send back each short text that comes."""
    key = exchange.request.get("Sec-WebSocket-Key") or ""
    magic = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()  # noqa: S324
    await exchange.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    await exchange.send(_frame(0x81, (exchange.request.get("X-User-Id") or "nobody").encode()))
    data = b""
    while piece := await exchange.read():
        data += piece
        while len(data) >= 6 and len(data) >= 6 + (size := data[1] & 0x7F):
            mask, masked, first, data = data[2:6], data[6 : 6 + size], data[0], data[6 + size :]
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
            await exchange.send(_frame(first, payload))
            if first & 0x0F == 8:
                exchange.close()
                return


def _frame(first: int, payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([first, len(payload)]) + payload
