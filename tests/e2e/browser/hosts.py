"""The origins of the tests, by names as in production, and the server of their pages.

`example.com` is one site: the web app, previews of it, a blog that is not ours, and the API behind
the gateway. `partner.test` and `evil.test` are other sites; the gateway lists the partner's origin.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

API: Final = "https://api.example.com"
APP: Final = "https://app.example.com"
PREVIEW: Final = "https://pr-7.preview.example.com"
BLOG: Final = "https://blog.example.com"
PLAIN_APP: Final = "http://app.example.com"
PARTNER: Final = "https://app.partner.test"
EVIL: Final = "https://evil.test"

LISTED: Final = (APP, "https://*.preview.example.com", PARTNER)
"""What the gateway's `cors.origins` says."""

SANDBOXED: Final = f"{APP}/sandboxed"
"""A page whose one frame has the origin `null`."""

_BLANK: Final = '<!doctype html><link rel="icon" href="data:,"><title>blank</title>'
_FRAME: Final = f'{_BLANK}<iframe sandbox="allow-scripts allow-forms" src="/"></iframe>'


async def _page(request: web.Request) -> web.Response:
    """Serve any path of any host; of the query, two become headers."""
    body = _FRAME if request.path == "/sandboxed" else _BLANK
    response = web.Response(text=body, content_type="text/html")
    for name in ("set-cookie", "referrer-policy"):
        for value in request.query.getall(name, []):
            response.headers.add(name, value)
    return response


@dataclass(frozen=True)
class PagePorts:
    """Where the pages are, on 127.0.0.1."""

    http: int
    https: int


@asynccontextmanager
async def serving_pages(tls: ssl.SSLContext) -> AsyncIterator[PagePorts]:
    """Serve the pages of all hosts for as long as the context lasts."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        http, https = (address[1] for address in runner.addresses)
        yield PagePorts(http, https)
    finally:
        await runner.cleanup()


def key_digest(certificate: Path) -> str:
    """Return the SHA-256 of a certificate's public key, base64 (RFC 7469 section 2.4)."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()
