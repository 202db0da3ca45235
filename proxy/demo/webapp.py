"""The demo's web app: one static page, and the sign-in side that Auth.js plays in a real app.

It makes session cookies in Auth.js's own format, and rows in its tables, which is all that the
gateway needs from an app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from proxy.demo.guard import guarded_application
from proxy.demo.people import PEOPLE
from proxy.demo.sessions import COOKIE, LIFETIME, Sessions

_STATIC: Final = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/calls.js": ("calls.js", "text/javascript"),
    "/elements.js": ("elements.js", "text/javascript"),
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


@dataclass(frozen=True)
class Setting:
    """Where the app is (`origin`) and what its page shows: the gateway, an origin too, and the
    configuration of that; `remembered` is how long it goes by what it has found out, in seconds.
    """

    origin: str
    gateway: str
    config: str
    remembered: float


class WebApp:
    """The app. It keeps sessions in two kinds, `jwt` and (with a database) `database`."""

    def __init__(self, setting: Setting, jwts: Sessions, rows: Sessions | None = None) -> None:
        self._kinds = {"jwt": jwts} if rows is None else {"jwt": jwts, "database": rows}
        self._origin = setting.origin
        self._policy = content_security_policy(setting.gateway)
        self._about = {
            **asdict(setting),
            "cookie": COOKIE,
            "people": [{"key": key, **person.shown()} for key, person in PEOPLE.items()],
            "kinds": {kind: list(sessions.flaws) for kind, sessions in self._kinds.items()},
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
        app.router.add_post("/api/auth/demo-end", self._end)
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
        return await self._described(request.cookies.get(COOKIE))

    async def _sign_in(self, request: web.Request) -> web.Response:
        self._refuse_foreign(request)
        wish = _wish(await request.read())
        person, flaw = PEOPLE.get(wish.get("person", "")), wish.get("flaw", "none")
        sessions = self._kinds.get(wish.get("kind", "jwt"))
        if person is None or sessions is None or flaw not in ("none", *sessions.flaws):
            raise web.HTTPBadRequest(text="No such person, kind or flaw.\n")
        token = await sessions.make(person, flaw)
        response = await self._described(token)
        # As Auth.js sets it on http: no Secure and no Domain. Cookies do not know ports, so the
        # gateway on another port of localhost gets it too.
        response.set_cookie(
            COOKIE, token, max_age=LIFETIME, path="/", httponly=True, samesite="Lax"
        )
        return response

    async def _sign_out(self, request: web.Request) -> web.Response:
        """Sign out as Auth.js does: the row goes, if there is one, and this browser's cookie."""
        self._refuse_foreign(request)
        token = request.cookies.get(COOKIE)
        if token:
            await self._kinds[self._kind_of(token)].end(token)
        response = await self._described(None)
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")
        return response

    async def _end(self, request: web.Request) -> web.Response:
        """End the session and leave the cookie, as when an administrator deletes the row."""
        self._refuse_foreign(request)
        token = request.cookies.get(COOKIE, "")
        if not await self._kinds[self._kind_of(token)].end(token):
            raise web.HTTPConflict(text="The cookie is the key of no row.\n")
        return await self._described(token)

    async def _described(self, token: str | None) -> web.Response:
        if not token:
            return _json({"kind": None, "user": None, "code": None})
        kind = self._kind_of(token)
        return _json({"kind": kind, **await self._kinds[kind].describe(token)})

    def _kind_of(self, token: str) -> str:
        """Return the kind of a token, as the gateway tells it: JWTs have three parts, or five."""
        return "database" if "database" in self._kinds and token.count(".") not in (2, 4) else "jwt"

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
