"""The forms that answers of the admin listener take, and the headers that all of them carry."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

_ON_EVERY_ANSWER: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def harden(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Set what every answer carries, aiohttp's own errors included, and take away its banner."""
    response.headers.update(_ON_EVERY_ANSWER)
    response.headers.popall("Server", None)


def text(body: str, status: int = 200) -> web.Response:
    """Return a short plain text, one line or a few."""
    return web.Response(status=status, text=f"{body}\n")


def data(body: object) -> web.Response:
    """Return JSON, indented: it is read by people as often as by programs."""
    encoded = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=encoded, content_type="application/json")


def raw(body: bytes, content_type: str) -> web.Response:
    """Return bytes with the very content type, parameters included."""
    return web.Response(body=body, headers={"Content-Type": content_type})


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> web.Response:
    """Return an error (RFC 9457), with `more` members. The codes of the main listener are not used:
    its clients never come here.
    """
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **(more or {}),
    }
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/problem+json",
        headers=headers,
    )
