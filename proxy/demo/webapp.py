"""The demo's web app: one static page, and the sign-in side that Auth.js plays in a real app.

It makes session cookies in Auth.js's own format, which is all that the gateway needs from an app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from proxy.demo.guard import guarded_application
from proxy.demo.people import PEOPLE
from proxy.demo.sessions import COOKIE, FLAWS, LIFETIME, DemoSessions

_STATIC: Final = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/scenarios.js": ("scenarios.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_MAX_BODY_BYTES: Final = 1024


def content_security_policy(gateway: str) -> str:
    """Return the page's policy: its own files, and calls to itself and to the gateway's origin."""
    websocket = gateway.replace("http://", "ws://", 1)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {gateway} {websocket}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class WebApp:
    """The app at `origin`, whose page calls `gateway` (an origin too) and shows `config`."""

    def __init__(self, sessions: DemoSessions, origin: str, gateway: str, config: str) -> None:
        self._sessions = sessions
        self._origin = origin
        self._policy = content_security_policy(gateway)
        self._about = {
            "gateway": gateway,
            "cookie": COOKIE,
            "config": config,
            "people": [asdict(person) for person in PEOPLE.values()],
        }
        folder = files("proxy.demo") / "static"
        self._files = {
            path: (folder.joinpath(name).read_bytes(), kind)
            for path, (name, kind) in _STATIC.items()
        }

    def application(self) -> web.Application:
        headers = {
            "Content-Security-Policy": self._policy,
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        app = guarded_application(headers, _MAX_BODY_BYTES)
        for path in self._files:
            app.router.add_get(path, self._file)
        app.router.add_get("/demo.json", self._describe)
        app.router.add_get("/api/auth/session", self._session)
        app.router.add_post("/api/auth/demo-signin", self._sign_in)
        app.router.add_post("/api/auth/signout", self._sign_out)
        return app

    async def _file(self, request: web.Request) -> web.Response:
        if f"http://{request.host}" != self._origin:
            # By another loopback name the page would be of another origin, and of another site
            # than the gateway: the cookie would not travel.
            raise web.HTTPTemporaryRedirect(self._origin + "/")
        body, kind = self._files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _describe(self, _: web.Request) -> web.Response:
        return _json(self._about)

    async def _session(self, request: web.Request) -> web.Response:
        return _json(self._sessions.describe(request.cookies.get(COOKIE)))

    async def _sign_in(self, request: web.Request) -> web.Response:
        self._refuse_foreign(request)
        wish = _wish(await request.read())
        person, flaw = PEOPLE.get(wish.get("person", "")), wish.get("flaw", "none")
        if person is None or flaw not in FLAWS:
            raise web.HTTPBadRequest(text="No such person or flaw.\n")
        token = self._sessions.token(person, flaw)
        response = _json(self._sessions.describe(token))
        # As Auth.js sets it on http: no Secure and no Domain. Cookies do not know ports, so the
        # gateway on another port of localhost gets it too.
        response.set_cookie(
            COOKIE, token, max_age=LIFETIME, path="/", httponly=True, samesite="Lax"
        )
        return response

    async def _sign_out(self, request: web.Request) -> web.Response:
        self._refuse_foreign(request)
        response = _json(self._sessions.describe(None))
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")
        return response

    def _refuse_foreign(self, request: web.Request) -> None:
        """Only our own page may sign in or out: other sites could sign a visitor in as somebody."""
        if request.headers.get("Origin") != self._origin:
            raise web.HTTPForbidden(text="Only the demo's own page may do this.\n")


def _wish(body: bytes) -> Mapping[str, str]:
    try:
        wish = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(wish, dict):
        return {}
    return {name: value for name, value in wish.items() if isinstance(value, str)}


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
