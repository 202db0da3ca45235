"""The admin listener's pages, and the one way through which each of them is asked for.

Pages are asked for by GET and HEAD and change nothing; a change of the process is asked for by
POST. What either needs is asked of the process when it is asked for and allowed, not before: the
metrics are rendered on the loop that forwards requests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

from proxy.admin import answers
from proxy.admin.guard import MEANT, Asked, judge
from proxy.admin.state import AdminState
from proxy.config.redact import redacted

_CONNECTIONS: Final = 64
"""Connections that may be open. Whoever connects costs a file of the process that also forwards
requests or starts workers, and nothing ends a connection that says nothing.
"""
_END: Final = 1.0
"""Seconds that answers under way have at the end, and once more for those that are cut off then."""
_READ: Final = ("GET", "HEAD")
_CHANGE: Final = ("POST",)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a fault is the listener's, and not that of bytes that are no request.

    aiohttp's report of those repeats the line that it could not read, maybe one with the token.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_log: Final = logging.getLogger("gatelodge.admin")
_log.addFilter(_is_ours)


@dataclass(frozen=True, slots=True)
class _Page:
    """One address.

    `is_open`: also without a token where the listener can be reached from elsewhere. `is_current`:
    what it tells of has to be gathered first. `methods`: those of a page, or that of a change.
    """

    answer: Callable[[AdminState], Awaitable[web.Response]]
    about: str
    is_open: bool = False
    is_current: bool = False
    methods: tuple[str, ...] = _READ


def admin_app(state: AdminState) -> web.Application:
    """Return the application that answers operators."""
    app = web.Application()

    async def handle(request: web.Request) -> web.Response:
        return await _answer(request, state)

    app.router.add_route("*", "/{path:.*}", handle)
    app.on_response_prepare.append(answers.harden)
    return app


async def serve_admin(
    state: AdminState, bound: socket.socket
) -> Callable[[], Coroutine[None, None, None]]:
    """Serve the application on a socket that listens; return what ends that."""
    runner = web.AppRunner(admin_app(state), access_log=None, logger=_log, shutdown_timeout=_END)
    await runner.setup()
    http = runner.server
    assert http is not None  # noqa: S101 - it is there after setup

    def connected() -> asyncio.BaseProtocol:
        # The oldest go, so that a probe is answered whoever holds all the others.
        for oldest in http.connections[: 1 - _CONNECTIONS]:
            if oldest.transport is not None:
                oldest.transport.abort()
        return http()

    server = await asyncio.get_running_loop().create_server(connected, sock=bound)

    async def end() -> None:
        server.close()
        await runner.cleanup()

    return end


async def _answer(request: web.Request, state: AdminState) -> web.Response:
    page = _PAGES.get(request.path)
    config, headers = state.config, request.headers
    asked = Asked(
        headers.getall("Host", ()),
        headers.getall("Origin", ()),
        headers.get("Authorization"),
        changes=page is not None and page.methods == _CHANGE,
        is_meant=MEANT in headers,
    )
    is_open = page is None or page.is_open
    denial = judge(asked, config.admin, config.admin_token, is_open=is_open)
    if denial is not None:
        return answers.problem(denial.status, denial.detail, denial.headers)
    if page is None:
        return answers.problem(404, "There is no such page; /-/help lists them.")
    if request.method not in page.methods:
        allowed = ", ".join(page.methods)
        return answers.problem(405, f"This takes {allowed} only.", {"Allow": allowed})
    if page.is_current:
        await state.gather()
    return await page.answer(state)


async def _healthy(_state: AdminState) -> web.Response:
    return answers.text("ok")


async def _ready(state: AdminState) -> web.Response:
    ready, reason = state.ready()
    return answers.text(reason, status=200 if ready else 503)


async def _metrics(state: AdminState) -> web.Response:
    return answers.raw(*state.metrics_text())


async def _status(state: AdminState) -> web.Response:
    return answers.data(state.status())


async def _config(state: AdminState) -> web.Response:
    return answers.data(redacted(state.config))


async def _help(state: AdminState) -> web.Response:
    listed = [f"  {path:<16}{page.about}" for path, page in _PAGES.items() if page.about]
    return answers.text("\n".join([f"Gatelodge {state.version}", "", *listed]))


async def _reload(state: AdminState) -> web.Response:
    generation, problems = await state.reload()
    if not problems:
        return answers.data({"generation": generation})
    detail = "The configuration cannot be used; nothing has changed."
    return answers.problem(422, detail, more={"generation": generation, "problems": problems})


async def _drain(state: AdminState) -> web.Response:
    await state.depart()
    return answers.data({"state": state.ready()[1]})


def _static(name: str, content_type: str) -> Callable[[AdminState], Awaitable[web.Response]]:
    body = (files("proxy.admin") / "static" / name).read_bytes()

    async def answer(_state: AdminState) -> web.Response:
        return answers.raw(body, f"{content_type}; charset=utf-8")

    return answer


_PAGES: Final = {
    "/": _Page(_help, ""),
    "/-/healthy": _Page(_healthy, "200 while the process lives", is_open=True),
    "/-/ready": _Page(_ready, "200 when requests are welcome, else 503 and why", is_open=True),
    "/metrics": _Page(_metrics, "metrics for Prometheus", is_open=True, is_current=True),
    "/-/status": _Page(_static("status.html", "text/html"), "what goes on, as a page"),
    "/-/status.css": _Page(_static("status.css", "text/css"), ""),
    "/-/status.js": _Page(_static("status.js", "text/javascript"), ""),
    "/-/status.json": _Page(_status, "what goes on, for programs", is_current=True),
    "/-/config": _Page(_config, "the configuration in use, without its secrets"),
    "/-/reload": _Page(_reload, "POST: read the configuration anew and use it", methods=_CHANGE),
    "/-/drain": _Page(_drain, "POST: send clients elsewhere, before TERM", methods=_CHANGE),
    "/-/help": _Page(_help, "this list"),
}
