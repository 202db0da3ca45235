"""Starts and stops the parts of the demo: the web app, the echo API, the gateway between them.

Law of the file: everything listens on loopback, and what was started is stopped, last first.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.config.load import loads
from proxy.demo.echo import EchoApi
from proxy.demo.ports import bind_first_free, bind_loopback
from proxy.demo.rows import session_rows
from proxy.demo.sessions import COOKIE, JwtSessions
from proxy.demo.webapp import Setting, WebApp
from proxy.worker import FixedSource, Worker

REMEMBERED: Final = 2
"""Seconds for which the gateway goes by a row that it has read. It is short here, so that a session
whose row was deleted is refused while somebody watches."""

_DATABASE: Final = f"""\
    database:
      url: ${{DATABASE_URL}}
      columns: [role]
    cache: {{ttl: {REMEMBERED}s}}
"""

_SHUTDOWN: Final = 0.5
"""Seconds for what is in flight at the end; a stream that a page keeps open is cut after them."""


@dataclass(frozen=True)
class Addresses:
    """Where the parts are, as URLs without a path."""

    web: str
    gateway: str
    api: str
    admin: str


def gateway_config(*, database: bool) -> str:
    """Return the configuration of the demo's gateway, as YAML with variables."""
    # The cookie is named, since other apps under development leave their cookies on localhost, too.
    return f"""\
listen: 127.0.0.1:0
admin: 127.0.0.1:0

sessions:
  web:
    kind: authjs
    secret: ${{AUTH_SECRET}}
    cookie: {COOKIE}
{_DATABASE if database else ""}
cors:
  origins: ["${{WEB_ORIGIN}}"]

upstreams:
  api:
    endpoints: ["${{API_ENDPOINT}}"]

routes:
  - {{path: /public/**, upstream: api, auth: public}}
  - {{path: /api/admin/**, upstream: api, require: {{roles: [admin]}}}}
  - {{path: /api/**, upstream: api}}

log: {{format: text}}
"""


@asynccontextmanager
async def running(
    port: int | None = None, *, pace: float = 1.0, database_url: str | None = None
) -> AsyncIterator[Addresses]:
    """Run the demo for as long as the context lasts; its page is on `port` of localhost.

    Without a port it is the first free one from 3000 on. `pace` is the time between two events of
    the API's stream, in seconds. The database must be empty; without one there are JWTs only.
    Raises OSError when the port is taken.
    """
    async with AsyncExitStack() as stack:
        # Bound first, since the gateway's configuration names the page's origin; served last.
        page_sockets = bind_first_free() if port is None else bind_loopback(port)
        for bound in page_sockets:
            stack.enter_context(bound)
        origin = f"http://localhost:{_port(page_sockets)}"
        jwts, rows = JwtSessions(secret := secrets.token_urlsafe(32), time.time), None
        environment = {"AUTH_SECRET": secret, "WEB_ORIGIN": origin}
        if database_url is not None:
            rows = await stack.enter_async_context(session_rows(database_url))
            environment["DATABASE_URL"] = database_url

        api_sockets = bind_loopback(0)
        await _serve(stack, EchoApi(pace).application(), api_sockets)
        environment["API_ENDPOINT"] = api = f"http://127.0.0.1:{_port(api_sockets)}"

        config = gateway_config(database=rows is not None)
        loaded = loads(config, "demo.yaml", environment).config
        worker = Worker(loaded, FixedSource(loaded))
        await worker.start()
        stack.push_async_callback(worker.stop)
        gateway = f"http://localhost:{worker.addresses['main'].rpartition(':')[2]}"

        page = WebApp(Setting(origin, gateway, config, REMEMBERED), jwts, rows)
        await _serve(stack, page.application(), page_sockets)
        yield Addresses(origin, gateway, api, f"http://{worker.addresses['admin']}")


async def _serve(
    stack: AsyncExitStack, app: web.Application, sockets: Sequence[socket.socket]
) -> None:
    # A stream whose reader has gone ends at once, and not only when it next writes.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    for bound in sockets:
        await web.SockSite(runner, bound).start()


def _port(sockets: Sequence[socket.socket]) -> int:
    port: int = sockets[0].getsockname()[1]
    return port
